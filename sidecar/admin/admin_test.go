package admin_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/socket"
	"github.com/tollgate/tollgate/sidecar/store"
)

// office is a server on a real socket, with a real store and a real ledger.
type office struct {
	t      *testing.T
	dir    string
	store  *store.Store
	ledger *ledger.Ledger
	server *admin.Server
	client *admin.Client
	http   *http.Client
	log    *lockedBuffer
	config admin.Config
	taken  uint64 // ids of takes
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// people have ids 1 to 3.
func people(names ...string) string {
	text := `
organization: {name: Example, administrator: admin@example.org}
apis: [{name: Demo, suffix: demo, backend: {url: "https://backend.example.org"}, operations: [{name: Call, method: POST, template: /call}]}]
developers: [{email: a@example.org}]
subscriptions:
`
	for _, name := range names {
		text += fmt.Sprintf("  - {name: %s, developer: a@example.org, api: Demo}\n", name)
	}
	return text
}

// open is an office with alice, alina and bob.
func open(t *testing.T) *office {
	t.Helper()
	o := bare(t)
	o.apply(people("alice", "alina", "bob"))
	return o
}

// bare is an office whose store is empty.
func bare(t *testing.T) *office {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := &office{t: t, dir: dir, log: &lockedBuffer{}}
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(o.log, nil))
	db, err := database.Open(ctx, database.Config{Source: filepath.Join(dir, "s.db"), Busy: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if o.store, err = store.Open(ctx, db, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if o.ledger, err = ledger.Open(ctx, db, ledger.Options{Log: log}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.sock")
	l, err := socket.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	reading, err := db.Again(ctx, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	o.config = admin.Config{Ledger: o.ledger, Store: o.store, Database: db, Reader: o.store.Through(reading), Reading: reading, Log: log}
	o.server = admin.New(o.config)
	serving, stop := context.WithCancel(ctx)
	counting, uncount := context.WithCancel(ctx)
	served, counted := make(chan error, 1), make(chan error, 1)
	go func(s *admin.Server) { served <- s.Serve(serving, l) }(o.server)
	go func() { counted <- o.ledger.Run(counting) }()
	t.Cleanup(func() {
		stop()
		err := <-served
		uncount()
		if err := errors.Join(err, <-counted, reading.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	o.client = admin.NewSocketClient(path, 10*time.Second)
	o.http = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	return o
}

// apply applies a catalog file, which takes over what it declares.
func (o *office) apply(file string) {
	o.t.Helper()
	c, mistakes := catalog.Parse("people.yaml", []byte(file), catalog.Options{})
	if len(mistakes) > 0 {
		o.t.Fatal(mistakes)
	}
	if _, err := o.store.Apply(context.Background(), store.Application{Catalog: c, Conflicts: store.ConflictsTakeOver,
		Write: store.Write{Actor: "file:people.yaml", Origin: "file", Source: store.FileSource("people.yaml"), Operator: true}}); err != nil {
		o.t.Fatal(err)
	}
}

var (
	minute = wire.Limit{Name: "minute", Key: "subscription:1", Kind: wire.KindRate, Unit: wire.UnitCalls, Amount: 5, WindowMillis: 60_000}
	week   = wire.Limit{Name: "week", Key: "subscription:1", Kind: wire.KindQuota, Unit: wire.UnitCalls, Amount: 100, WindowMillis: 7 * 24 * 3_600_000}
)

// spend spends one unit of limits; a limit that is only leased stays open.
func (o *office) spend(subscription uint32, open bool, limits ...wire.Limit) {
	o.t.Helper()
	o.taken++
	take := ledger.Take{ID: o.taken, Waiting: true, Subscription: subscription}
	for _, l := range limits {
		take.Limits = append(take.Limits, ledger.Limit{Limit: l})
	}
	grants, err := o.ledger.Take(context.Background(), ledger.Batch{Worker: "w", Takes: []ledger.Take{take}})
	if err != nil || len(grants[0].Leases) != len(limits) {
		o.t.Fatalf("taking: %+v, %v", grants, err)
	}
	if open {
		return
	}
	var settle []wire.Settlement
	for _, l := range grants[0].Leases {
		settle = append(settle, wire.Settlement{Take: o.taken, Counter: l.Counter, Spent: 1, AgeMillis: 1})
	}
	if _, err := o.ledger.Take(context.Background(), ledger.Batch{Worker: "w", Settlements: settle}); err != nil {
		o.t.Fatal(err)
	}
}

// limits are the counters, without what moves.
func (o *office) limits(subscription string) []admin.Counter {
	o.t.Helper()
	got, err := o.client.Limits(context.Background(), subscription)
	if err != nil {
		o.t.Fatal(err)
	}
	if since := time.Since(got.Now); since < 0 || since > time.Minute || got.Cut {
		o.t.Errorf("now %v, cut %v", got.Now, got.Cut)
	}
	for i, c := range got.Counters {
		if c.ID == 0 || c.Reset == nil || !c.Reset.After(got.Now) {
			o.t.Errorf("counter %+v at %v", c, got.Now)
		}
		got.Counters[i].ID, got.Counters[i].Reset, got.Counters[i].Period = 0, nil, 0
	}
	return got.Counters
}

func TestLimitsAreShown(t *testing.T) {
	o := open(t)
	if got := o.limits("alice"); len(got) != 0 {
		t.Errorf("before any call: %+v", got)
	}
	bobs := minute
	bobs.Key = "subscription:3"
	o.spend(3, false, bobs)
	o.spend(1, false, week, minute)
	o.spend(1, true, week, minute)
	alice := []admin.Counter{
		{Subscription: 1, SubscriptionName: "alice", Limit: minute, Used: 1, Leased: 1, Left: 3},
		{Subscription: 1, SubscriptionName: "alice", Limit: week, Used: 1, Leased: 1, Left: 98},
	}
	all := append(append([]admin.Counter{}, alice...), admin.Counter{Subscription: 3, SubscriptionName: "bob", Limit: bobs, Used: 1, Left: 4})
	for subscription, want := range map[string][]admin.Counter{"alice": alice, "1": alice, "": all, "alina": {}} {
		if diff := cmp.Diff(want, o.limits(subscription)); diff != "" {
			t.Errorf("limits of %q (-want +got):\n%s", subscription, diff)
		}
	}
	// A name that is the id of another one is nobody else's.
	if err := o.config.Database.Transact(t.Context(), "naming one so, as was allowed once", func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE subscription SET name = '3' WHERE name = 'alina'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := o.limits(""); got[2].Subscription != 3 || got[2].SubscriptionName == "3" {
		t.Errorf("bob's: %+v", got[2])
	}
	// One that was removed is found by its id for as long as it has counters.
	o.apply(people("alina", "bob"))
	if got := o.limits("1"); len(got) != 2 || got[0].SubscriptionName != "" {
		t.Errorf("of a removed subscription: %+v", got)
	}
}

func TestUnknownSubscriptions(t *testing.T) {
	o := open(t)
	for name, want := range map[string]string{
		"alic":                   `there is no subscription "alic"; did you mean "alice" or "alina"?`,
		"Bob":                    `there is no subscription "Bob"; did you mean "bob"?`,
		"zacharias":              `there is no subscription "zacharias"`,
		"17":                     `there is no subscription "17"`,
		"0":                      `there is no subscription "0"`,
		strings.Repeat("x", 500): `there is no subscription "` + strings.Repeat("x", 60) + `"`,
	} {
		_, err := o.client.Limits(t.Context(), name)
		var p *admin.Problem
		if !errors.As(err, &p) || p.Status != http.StatusNotFound || p.Code != "subscription_unknown" || p.Detail != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// self is this process's user as the audit has it.
func self(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username + " (uid " + u.Uid + ")"
}

func TestReset(t *testing.T) {
	o := open(t)
	for range 5 {
		o.spend(1, false, week, minute)
	}
	before := o.ledger.Resets()
	done, err := o.client.Reset(t.Context(), admin.Reset{Subscription: "alice", Limit: "minute"})
	if err != nil {
		t.Fatal(err)
	}
	want := admin.Adjustments{Adjustments: []admin.Adjustment{{Actor: self(t), Action: "limit.reset", Subscription: 1, SubscriptionName: "alice",
		Before: ledger.State{Limit: "minute", Key: "subscription:1", Amount: 5, Used: 5},
		After:  ledger.State{Limit: "minute", Key: "subscription:1", Amount: 5, Left: 5}}}}
	moving := cmpopts.IgnoreFields(admin.Adjustment{}, "Time", "Counter")
	if diff := cmp.Diff(want, done, moving); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, subscription := range []string{"alice", ""} {
		audited, err := o.client.Adjustments(t.Context(), subscription)
		if diff := cmp.Diff(done, audited); err != nil || diff != "" {
			t.Errorf("on record for %q: %v (-done +on record):\n%s", subscription, err, diff)
		}
	}
	if other, err := o.client.Adjustments(t.Context(), "bob"); err != nil || len(other.Adjustments) != 0 {
		t.Errorf("bob's: %+v, %v", other, err)
	}
	if o.ledger.Resets() <= before {
		t.Error("filters are not told: Resets has not moved")
	}
	if !strings.Contains(o.log.String(), `msg="a limit was adjusted" action=limit.reset actor="`+self(t)+`" limit=minute`) {
		t.Errorf("the log lacks it:\n%s", o.log)
	}
	if done, err := o.client.Reset(t.Context(), admin.Reset{Subscription: "1"}); err != nil || len(done.Adjustments) != 2 {
		t.Errorf("resetting all: %+v, %v", done, err)
	}
	if done, err := o.client.Reset(t.Context(), admin.Reset{Subscription: "bob"}); err != nil || len(done.Adjustments) != 0 {
		t.Errorf("resetting what was never used: %+v, %v", done, err)
	}
}

func TestRaise(t *testing.T) {
	o := open(t)
	start := week
	start.StartMillis = time.Now().Add(-8 * 24 * time.Hour).UnixMilli() // in its second period
	o.spend(1, false, start, minute)
	done, err := o.client.Raise(t.Context(), admin.Raise{Subscription: "alice", Limit: "week", Units: 20})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Adjustments) != 1 || done.Adjustments[0].Units != 20 || done.Adjustments[0].Action != "limit.raise" || done.Adjustments[0].After.Left != 119 {
		t.Errorf("done %+v", done)
	}
	// The next one goes to the counter of the period's new length.
	month := start
	month.WindowMillis *= 4
	o.spend(1, false, month)
	done, err = o.client.Raise(t.Context(), admin.Raise{Subscription: "alice", Limit: "week", Units: 7})
	if err != nil || done.Adjustments[0].After.Raised != 7 {
		t.Errorf("after another period: %+v, %v", done, err)
	}
	if got := o.limits("alice")[1]; got.Raised != 20 || got.Left != 119 || got.Amount != 100 {
		t.Errorf("after the raise: %+v", got)
	}
}

func TestWhatCannotBeChanged(t *testing.T) {
	o := open(t)
	slots := wire.Limit{Name: "slots", Key: "subscription:3", Kind: wire.KindConcurrency, Unit: wire.UnitCalls, Amount: 5}
	one, two := week, week
	one.Key, two.Key = "address:a", "address:b"
	o.spend(1, false, week, minute)
	o.spend(3, true, slots, one)
	o.spend(3, true, two)
	reset := func(r admin.Reset) error { _, err := o.client.Reset(t.Context(), r); return err }
	raise := func(r admin.Raise) error { _, err := o.client.Raise(t.Context(), r); return err }
	for name, tc := range map[string]struct {
		err    error
		status int
		code   string
		detail string // a part of it
	}{
		"whose":           {reset(admin.Reset{}), 400, "subscription_missing", "name or an id"},
		"nobody":          {reset(admin.Reset{Subscription: "alcie"}), 404, "subscription_unknown", `did you mean "alice"`},
		"no such limit":   {reset(admin.Reset{Subscription: "alice", Limit: "day"}), 404, "limit_unknown", `of a limit "day" of alice; counted are minute, week`},
		"no such key":     {reset(admin.Reset{Subscription: "alice", Key: "k"}), 404, "limit_unknown", `limit with the key "k"`},
		"nothing counted": {reset(admin.Reset{Subscription: "alina", Limit: "day"}), 404, "limit_unknown", "nothing is counted of any limit of alina yet"},
		"no units":        {raise(admin.Raise{Subscription: "alice", Limit: "week"}), 400, "units_invalid", "at least 1"},
		"less":            {raise(admin.Raise{Subscription: "alice", Limit: "week", Units: -1}), 400, "units_invalid", "at least 1"},
		"which":           {raise(admin.Raise{Subscription: "alice", Units: 1}), 400, "limit_missing", "name of a quota"},
		"a rate":          {raise(admin.Raise{Subscription: "alice", Limit: "minute", Units: 1}), 409, "not_a_quota", `"minute" is a rate, and only quotas can be raised: what is used of a rate comes back by itself within 1m0s`},
		"slots":           {raise(admin.Raise{Subscription: "bob", Limit: "slots", Units: 1}), 409, "not_a_quota", "under way at once"},
		"two keys":        {raise(admin.Raise{Subscription: "bob", Limit: "week", Units: 1}), 409, "limit_ambiguous", "address:a, address:b"},
		"too many":        {raise(admin.Raise{Subscription: "alice", Limit: "week", Units: 1 << 62}), 409, "conflict", "a raise by"},
	} {
		var p *admin.Problem
		if !errors.As(tc.err, &p) || p.Status != tc.status || p.Code != tc.code || !strings.Contains(p.Detail, tc.detail) {
			t.Errorf("%s: %v (%+v)", name, tc.err, p)
		}
	}
	if err := raise(admin.Raise{Subscription: "bob", Limit: "week", Key: "address:b", Units: 1}); err != nil {
		t.Errorf("with its key: %v", err)
	}
	if audited, err := o.client.Adjustments(t.Context(), ""); err != nil || len(audited.Adjustments) != 1 {
		t.Errorf("on record is more than the one change: %+v, %v", audited, err)
	}
}

func TestEvents(t *testing.T) {
	o := open(t)
	for range 5 {
		o.spend(1, false, minute)
	}
	got, err := o.client.Events(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	percents := map[int]int64{}
	for _, e := range got.Events {
		if e.SubscriptionName != "alice" || e.Name != "minute" || e.Time.IsZero() {
			t.Errorf("event %+v", e)
		}
		percents[e.Percent] = e.Used
	}
	if diff := cmp.Diff(map[int]int64{80: 4, 95: 5, 100: 5}, percents); diff != "" {
		t.Errorf("used at each percentage (-want +got):\n%s", diff)
	}
}

func TestBadMessages(t *testing.T) {
	o := open(t)
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		code, detail       string
	}{
		"no path":         {"GET", "/v1/nothing", "", 404, "path_unknown", "nothing is at this path"},
		"a POST to read":  {"POST", admin.PathLimits, "{}", 405, "method_unknown", "this path is for GET"},
		"a GET to reset":  {"GET", admin.PathReset, "", 405, "method_unknown", "this path is for POST"},
		"a parameter":     {"GET", admin.PathLimits + "?subscriber=alice", "", 422, "invalid", "query.subscriber: there is no such parameter here"},
		"twice":           {"GET", admin.PathLimits + "?subscription=alice&subscription=bob", "", 422, "invalid", "query.subscription: stands there 2 times"},
		"empty":           {"GET", admin.PathEvents + "?subscription=", "", 422, "invalid", "query.subscription: is empty"},
		"a field":         {"POST", admin.PathReset, `{"subscription": "alice", "limits": "week"}`, 422, "invalid", "limits: there is no such field"},
		"a type":          {"POST", admin.PathRaise, `{"subscription": "alice", "limit": "week", "units": "20"}`, 422, "invalid", "units: must be a whole number"},
		"a part":          {"POST", admin.PathRaise, `{"subscription": "alice", "limit": "week", "units": 1.5}`, 422, "invalid", "units: must be a whole number"},
		"too many units":  {"POST", admin.PathRaise, `{"subscription": "alice", "limit": "week", "units": 1e30}`, 422, "invalid", "does not fit its type"},
		"a number's name": {"POST", admin.PathReset, `{"subscription": 1}`, 422, "invalid", "subscription: must be text"},
		"no name":         {"POST", admin.PathReset, `{}`, 422, "invalid", "must have the field subscription"},
		"an empty name":   {"POST", admin.PathReset, `{"subscription": ""}`, 400, "subscription_missing", "not empty"},
		"a list":          {"POST", admin.PathReset, `[]`, 422, "invalid", "must be a mapping"},
		"no JSON":         {"POST", admin.PathReset, "{\n\"subscription\"=alice}", 400, "bad_json", "not JSON: line 2:"},
		"two values":      {"POST", admin.PathReset, `{"subscription": "bob"} {}`, 400, "bad_json", "after top-level value"},
		"nothing":         {"POST", admin.PathReset, ``, 400, "body_missing", "needs a body"},
		"Latin-1":         {"POST", admin.PathReset, "{\"subscription\": \"j\xfcrgen\"}", 400, "bad_body", "not UTF-8"},
		"too much":        {"POST", admin.PathReset, `{"subscription": "` + strings.Repeat("a", 1<<20) + `"}`, 413, "too_large", "1048576 bytes"},
	} {
		r, err := http.NewRequest(tc.method, "http://sidecar"+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := o.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		var p admin.Problem
		if err != nil || json.Unmarshal(text, &p) != nil || response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v, %s %s", name, err, response.Header.Get("Content-Type"), text)
			continue
		}
		if response.StatusCode != tc.status || p.Status != tc.status || p.Title != http.StatusText(tc.status) || p.Code != tc.code || !strings.Contains(p.Detail, tc.detail) {
			t.Errorf("%s: %d %s, want %d %s %s", name, response.StatusCode, text, tc.status, tc.code, tc.detail)
		}
	}
}

func TestALockedDatabaseIsSaid(t *testing.T) {
	o := open(t)
	o.spend(1, false, week)
	other, err := sql.Open("sqlite", filepath.Join(o.dir, "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.SetMaxOpenConns(1)
	for _, statement := range []string{"PRAGMA busy_timeout = 5000", "BEGIN IMMEDIATE"} {
		if _, err := other.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	_, err = o.client.Reset(t.Context(), admin.Reset{Subscription: "alice"})
	var p *admin.Problem
	if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || p.Code != "ledger_unavailable" {
		t.Errorf("resetting: %v (%+v)", err, p)
	}
	if got := o.limits("alice"); len(got) != 1 {
		t.Errorf("reading: %+v", got)
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.client.Reset(t.Context(), admin.Reset{Subscription: "alice"}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestNobodyAtTheSocket(t *testing.T) {
	o := open(t)
	_, err := admin.NewSocketClient(filepath.Join(o.dir, "nowhere.sock"), time.Second).Limits(t.Context(), "")
	if !errors.Is(err, admin.ErrNobody) || !strings.Contains(err.Error(), "nowhere.sock") {
		t.Errorf("no socket: %v", err)
	}
	dead, err := net.Listen("unix", filepath.Join(o.dir, "dead.sock"))
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	if _, err := admin.NewSocketClient(filepath.Join(o.dir, "dead.sock"), time.Second).Limits(t.Context(), ""); !errors.Is(err, admin.ErrNobody) {
		t.Errorf("a dead socket: %v", err)
	}
}

// Who is not known may not administer: a TCP connection has no user.
func TestAStrangerIsRefused(t *testing.T) {
	o := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func(s *admin.Server) { served <- s.Serve(ctx, l) }(o.server)
	response, err := http.Get("http://" + l.Addr().String() + admin.PathLimits)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, want 403", response.StatusCode)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
