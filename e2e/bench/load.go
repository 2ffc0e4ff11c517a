package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/emulator"
)

// requestPath is RRS Execute of the demo, below the API's suffix.
const requestPath = "/workspaces/" + emulator.DefaultWorkspace + "/services/" + emulator.DefaultService + "/execute"

const requestQuery = "?api-version=2.0&details=true"

const requestBody = `{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[["This is a good day"]]}},"GlobalParameters":{}}`

// freshHeader is the header that headerPolicy reads: 16 hex digits.
const (
	freshHeader = "x-bench"
	freshDigits = 16
)

// freshLast is the last value of freshHeader, so that none is used twice.
var freshLast atomic.Uint64

// client is one connection that is kept. It writes the same bytes again and again, and
// reads no more of an answer than it has to: the load shares the machine with what is
// measured.
type client struct {
	connection net.Conn
	reader     *bufio.Reader
	request    []byte
	fresh      []byte // the value of freshHeader within request; nil: it stays
}

func (l *lane) newClient(ctx context.Context) (*client, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", l.address())
	if err != nil {
		return nil, err
	}
	value := string(bytes.Repeat([]byte{'0'}, freshDigits))
	c := &client{connection: connection, reader: bufio.NewReaderSize(connection, 8<<10)}
	c.request = fmt.Appendf(nil, "POST /%s%s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: application/json\r\n"+
		"Content-Type: application/json\r\nOcp-Apim-Subscription-Key: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
		apiSuffix, requestPath, requestQuery, l.address(), l.rig.keys.consumer, freshHeader, value, len(requestBody), requestBody)
	if l.fresh {
		at := bytes.Index(c.request, []byte(freshHeader+": "+value)) + len(freshHeader+": ")
		c.fresh = c.request[at : at+freshDigits]
	}
	return c, nil
}

func (c *client) close() { c.connection.Close() }

// do makes one request. Anything but 200 is an error.
func (c *client) do() error {
	if c.fresh != nil {
		var b [freshDigits / 2]byte
		binary.BigEndian.PutUint64(b[:], freshLast.Add(1))
		hex.Encode(c.fresh, b[:])
	}
	if _, err := c.connection.Write(c.request); err != nil {
		return err
	}
	status, body, err := c.read()
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("answered %d: %s", status, body)
	}
	return nil
}

// read reads one answer; of its body it keeps only what an error message needs.
func (c *client) read() (status int, body []byte, err error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, nil, errors.New("the answer is no HTTP")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, errors.New("the answer is no HTTP")
	}
	length := -1
	for {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("content-length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, nil, errors.New("the answer's length is no number")
			}
		}
	}
	if length < 0 {
		return 0, nil, errors.New("the answer has no length")
	}
	if status != http.StatusOK {
		body, _ = c.reader.Peek(min(length, 300))
	}
	_, err = c.reader.Discard(length)
	return status, body, err
}

// open waits until the variant answers, checks what reaches the backend, and opens the
// connections.
func (l *lane) open(ctx context.Context, connections int) error {
	if err := l.await(ctx, "Envoy", func() error { return l.try(ctx) }); err != nil {
		return err
	}
	if err := l.rig.backend.check(l); err != nil {
		return err
	}
	if l.limits {
		if err := l.checkLimits(ctx); err != nil {
			return err
		}
	}
	for range connections {
		c, err := l.newClient(ctx)
		if err != nil {
			return err
		}
		l.clients = append(l.clients, c)
	}
	return nil
}

// try makes one request on a connection of its own.
func (l *lane) try(ctx context.Context) error {
	c, err := l.newClient(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.connection.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	return c.do()
}

// limit ends a load: whichever comes first.
type limit struct {
	requests int
	time     time.Duration
}

// load keeps all connections busy, with one request at a time on each. It returns how long
// each request took, in no order, and how long all of them did.
func (l *lane) load(ctx context.Context, until limit) (took []time.Duration, elapsed time.Duration, err error) {
	began := time.Now()
	var left atomic.Int64
	left.Store(int64(until.requests))
	each := make([][]time.Duration, len(l.clients))
	errs := make([]error, len(l.clients))
	var clients sync.WaitGroup
	for i, c := range l.clients {
		if err := c.connection.SetDeadline(began.Add(until.time + 30*time.Second)); err != nil {
			return nil, 0, err
		}
		defer context.AfterFunc(ctx, func() { _ = c.connection.SetDeadline(time.Unix(1, 0)) })()
		clients.Go(func() {
			each[i] = make([]time.Duration, 0, 4096)
			for at := time.Now(); at.Sub(began) < until.time && left.Add(-1) >= 0; {
				if errs[i] = c.do(); errs[i] != nil {
					left.Store(0)
					return
				}
				now := time.Now()
				each[i] = append(each[i], now.Sub(at))
				at = now
			}
		})
	}
	clients.Wait()
	elapsed = time.Since(began)
	if err := errors.Join(errs...); err != nil {
		if ended := l.ended(); ended != nil {
			return nil, 0, ended
		}
		return nil, 0, fmt.Errorf("%w%s", err, l.lastWords())
	}
	return slices.Concat(each...), elapsed, nil
}
