package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
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

// readTable fetches what a worker does, and looks keys up in it.
func (k *keysRig) readTable(ctx context.Context) error {
	client := overSocket(k.path("sidecar.sock"))
	defer client.CloseIdleConnections()
	body, err := get(ctx, client, fmt.Sprintf("%s?%s=%d", wire.PathWatch, wire.WatchVersion, wire.Version))
	if err != nil {
		return err
	}
	k.snapshot = int64(len(body))
	var s wire.Snapshot
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	pages := wire.Pages{}
	for _, digest := range s.Missing(func(wire.Digest) bool { return false }) {
		page, err := get(ctx, client, wire.PathPages+"?"+wire.PagesDigest+"="+digest.String())
		if err != nil {
			return err
		}
		pages.Add(page[4:]) // after its length
		k.pages += int64(len(page) - 4)
	}
	k.numberOfPages = len(pages)
	table, err := wire.OpenPages(s, pages, wire.KeyTable{})
	if err != nil {
		return err
	}
	return k.lookUpAlone(table, s.Pepper)
}

// lookUpAlone measures what the filter does with a key that it does not remember, compiled
// for this machine: its digest, its MAC, and the search. It takes the fastest of rounds.
func (k *keysRig) lookUpAlone(table wire.KeyTable, pepper []byte) error {
	const keys, rounds = 50_000, 9
	all := make([]string, keys)
	for i := range all {
		all[i] = k.key(1+rand.IntN(k.subscriptions), 1+i%2)
	}
	for range rounds {
		began := time.Now()
		for _, key := range all {
			if _, _, ok := table.Find(apikey.MAC(pepper, apikey.Digest(key))); !ok {
				return errors.New("a key is not in the table")
			}
		}
		if took := time.Since(began) / keys; k.alone == 0 || took < k.alone {
			k.alone = took
		}
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
// another, and with one of them again and again, which the filter remembers. The gateways
// take turns: what else the machine does meets all of them.
func lookUp(ctx context.Context, c keysConfig, rigs []*keysRig) error {
	var kinds []kind
	for _, k := range rigs {
		each, err := k.eachWorker(ctx)
		if err != nil {
			return err
		}
		defer closeAll(each)
		add := func(figure *float64, key func(i int) string) {
			kinds = append(kinds, kind{rig: k, each: each, figure: figure, key: key})
		}
		add(&k.unknown, func(int) string { return k.key(rand.IntN(1<<29), 3) })
		add(&k.again, func(int) string { return k.key(suspendedEach, 1) })
		suspended := k.subscriptions / suspendedEach
		if next := rand.IntN(suspended); 2*suspended > 3*rememberedKeys {
			add(&k.known, func(i int) string {
				next = (next + 7919) % suspended
				return k.key((1+next)*suspendedEach, 1+i%2)
			})
		}
	}
	for range c.rounds {
		for i := range kinds {
			if err := kinds[i].refuse(c.requests); err != nil {
				return err
			}
		}
	}
	for i, kind := range kinds {
		if kind.figure == &kind.rig.again {
			kind.rig.module = median(difference(kinds[i-1].rounds, kind.rounds)) // of the round
		}
		*kind.figure = median(kind.rounds)
	}
	return nil
}

func median(figures []float64) float64 {
	return slices.Sorted(slices.Values(figures))[len(figures)/2]
}

func difference(a, b []float64) []float64 {
	d := slices.Clone(a)
	for i := range d {
		d[i] -= b[i]
	}
	return d
}

// kind is one kind of requests to one gateway.
type kind struct {
	rig    *keysRig
	each   []*caller // a connection to each of its workers
	figure *float64
	key    func(i int) string
	rounds []float64 // Envoy's CPU time for a request, in microseconds
}

// refuse makes requests, each worker its share, that are refused.
func (k *kind) refuse(requests int) error {
	before, err := cpuTime(k.rig.envoyPID())
	if err != nil {
		return err
	}
	for i := range requests {
		if err := k.each[i%len(k.each)].answers(executePath, k.key(i), http.StatusUnauthorized); err != nil {
			return err
		}
	}
	after, err := cpuTime(k.rig.envoyPID())
	k.rounds = append(k.rounds, float64((after-before).Nanoseconds())/1000/float64(requests))
	return err
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
	admin := overSocket(k.path("admin-api.sock"))
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
