package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// overSocket calls what listens on a Unix socket.
func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
}

func get(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://unix"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", path, response.Status)
	}
	return body, err
}

// readTable fetches what a worker does.
func (k *keysRig) readTable(ctx context.Context, f *keysFigures) error {
	client := overSocket(k.path("sidecar.sock"))
	defer client.CloseIdleConnections()
	body, err := get(ctx, client, fmt.Sprintf("%s?%s=%d", wire.PathWatch, wire.WatchVersion, wire.Version))
	if err != nil {
		return err
	}
	f.snapshot = int64(len(body))
	var s wire.Snapshot
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	for _, digest := range s.Missing(func(wire.Digest) bool { return false }) {
		page, err := get(ctx, client, wire.PathPages+"?"+wire.PagesDigest+"="+digest.String())
		if err != nil {
			return err
		}
		f.numberOfPages++
		f.pages += int64(len(page) - 4)
	}
	return nil
}

// caller is a connection to one of Envoy's workers, which is kept.
type caller struct {
	net.Conn
	reader *bufio.Reader
	host   string
}

func closeAll(callers []*caller) {
	for _, c := range callers {
		c.Close()
	}
}

// call makes one request without a body and returns the status.
func (c *caller) call(path, key string) (int, error) {
	if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nOcp-Apim-Subscription-Key: %s\r\nContent-Length: 0\r\n\r\n", path, c.host, key); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func (c *caller) answers(path, key string, want int) error {
	status, err := c.call(path, key)
	if err == nil && status != want {
		err = fmt.Errorf("answered %d, want %d", status, want)
	}
	return err
}

// workerConnections are in Envoy's statistics, by worker.
var workerConnections = regexp.MustCompile(`(?m)^listener\.[^ ]*worker_(\d+)\.downstream_cx_total: (\d+)$`)

// eachWorker opens connections until each worker has one, and keeps those.
func (k *keysRig) eachWorker(ctx context.Context) ([]*caller, error) {
	admin := overSocket(k.path("admin.sock"))
	defer admin.CloseIdleConnections()
	taken := func() (map[string]int, error) {
		body, err := get(ctx, admin, "/stats?filter=worker_")
		if err != nil {
			return nil, err
		}
		workers := map[string]int{}
		for _, match := range workerConnections.FindAllSubmatch(body, -1) {
			workers[string(match[1])], _ = strconv.Atoi(string(match[2])) // digits
		}
		return workers, nil
	}
	callers := map[string]*caller{}
	for range 200 {
		before, err := taken()
		if err != nil {
			return nil, err
		}
		c, err := k.dial(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := c.call("/.tollgate/ready", ""); err != nil { // now a worker has it
			return nil, err
		}
		after, err := taken()
		if err != nil {
			return nil, err
		}
		kept := false
		for worker, n := range after {
			if n == before[worker]+1 && callers[worker] == nil {
				callers[worker], kept = c, true
				break
			}
		}
		if !kept {
			c.Close()
		}
		if len(callers) == k.workers {
			var each []*caller
			for _, c := range callers {
				each = append(each, c)
			}
			return each, nil
		}
	}
	return nil, fmt.Errorf("only %d of %d workers take connections", len(callers), k.workers)
}

func (k *keysRig) dial(ctx context.Context) (*caller, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", k.address())
	if err != nil {
		return nil, err
	}
	return &caller{c, bufio.NewReader(c), k.address()}, nil
}

const executePath = "/" + apiSuffix + requestPath + requestQuery

// lookUp measures requests that are refused by the key alone, so that only Envoy and the
// filter work: with keys that nobody has, with keys of suspended subscriptions, each time
// another, and with one of them again and again, which the filter remembers.
func (k *keysRig) lookUp(ctx context.Context, c keysConfig, f *keysFigures) error {
	each, err := k.eachWorker(ctx)
	if err != nil {
		return err
	}
	defer closeAll(each)
	suspended := k.subscriptions / suspendedEach
	next := rand.IntN(suspended)
	kinds := map[*float64]func(i int) string{
		&f.unknown: func(int) string { return k.key(int(rand.Int32N(1<<29)), 3) },
		&f.again:   func(int) string { return k.key(suspendedEach, 1) },
	}
	if 2*suspended > 3*rememberedKeys {
		kinds[&f.known] = func(i int) string {
			next = (next + 7919) % suspended
			return k.key((1+next)*suspendedEach, 1+i%2)
		}
	}
	for figure, key := range kinds {
		var rounds []float64
		for range c.rounds {
			before, err := cpuTime(k.envoyPID())
			if err != nil {
				return err
			}
			for i := range c.requests {
				if err := each[i%len(each)].answers(executePath, key(i), http.StatusUnauthorized); err != nil {
					return err
				}
			}
			after, err := cpuTime(k.envoyPID())
			if err != nil {
				return err
			}
			rounds = append(rounds, float64((after-before).Nanoseconds())/1000/float64(c.requests))
		}
		slices.Sort(rounds)
		*figure = rounds[len(rounds)/2]
	}
	return nil
}

// rememberedKeys is how many keys a worker remembers, see internal/gate.
const rememberedKeys = 4096

// revoke revokes a key through the admin API and returns when the last worker refuses it.
func (k *keysRig) revoke(ctx context.Context, i int) (time.Duration, error) {
	id := 1 + suspendedEach*(i*k.subscriptions/suspendedEach/20)
	key := k.key(id, 1)
	each, err := k.eachWorker(ctx)
	if err != nil {
		return 0, err
	}
	defer closeAll(each)
	for _, c := range each {
		if err := c.answers(executePath, key, http.StatusOK); err != nil {
			return 0, fmt.Errorf("before: %w", err)
		}
	}
	admin := overSocket(k.path("limits.sock"))
	defer admin.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, fmt.Sprintf("http://unix/v1/subscriptions/subscription-%d/keys/primary", id), nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	response, err := admin.Do(r)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	if response.StatusCode >= 300 {
		return 0, fmt.Errorf("the admin API answered %s", response.Status)
	}
	for _, c := range each {
		for {
			status, err := c.call(executePath, key)
			if err != nil {
				return 0, err
			}
			if status == http.StatusUnauthorized {
				break
			}
			if status != http.StatusOK || time.Since(began) > 10*time.Second {
				return 0, fmt.Errorf("%v after it was revoked: answered %d", time.Since(began), status)
			}
		}
	}
	return time.Since(began), each[0].answers(executePath, k.key(id, 2), http.StatusOK)
}
