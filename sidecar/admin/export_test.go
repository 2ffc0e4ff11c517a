package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

// whole is the catalog of a store as one document, in JSON and in YAML.
func whole(t *testing.T, s *store.Store) (asJSON, asYAML string) {
	t.Helper()
	c, err := s.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	elsewhere := regexp.MustCompile(`^(?i:y|n|yes|no|on|off|[-+0-9][-+0-9_.:]*)$`)
	var plain func(*yaml.Node)
	plain = func(n *yaml.Node) {
		n.Style = 0
		if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && elsewhere.MatchString(n.Value) {
			n.Style = yaml.DoubleQuotedStyle
		}
		for _, child := range n.Content {
			plain(child)
		}
	}
	plain(&document)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&document), e.Close()); err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n", b.String()
}

// It is written item by item, and looks as if it were written at once.
func TestAnExportIsOneDocument(t *testing.T) {
	odd := bare(t)
	odd.apply(`
organization: {name: "a: <b> & 'c'", administrator: admin@example.org}
apis: [{name: Demo, suffix: demo, description: "two\n  lines\n\n", backend: {url: "https://backend.example.org"}, operations: [{name: Call, method: POST, template: /call}]}]
products:
  - {name: P, apis: [Demo], terms: "ends with lines\n\n\n"}
groups: [{name: G, description: "the last of all\n\n"}]
developers: [{email: a@example.org, name: "no"}, {email: b@example.org, name: "ü \U0001F600"}]
subscriptions: [{name: last, developer: a@example.org, api: Demo, attributes: {end: "0", text: "end: 0\n\n"}}]
`)
	many := open(t)
	many.subscribe(2000)
	for name, o := range map[string]*office{"nothing": bare(t), "few": open(t), "odd texts": odd, "more than a chunk": many} {
		asJSON, asYAML := whole(t, o.store)
		for accept, want := range map[string]string{"application/json": asJSON, "application/yaml": asYAML} {
			r := o.socket().call("GET", "/v1/catalog", "", "Accept", accept).is(200)
			if diff := cmp.Diff(want, string(r.body)); diff != "" || r.header.Get("Content-Type") != accept {
				t.Errorf("%s: %s (-one document +export):\n%s", name, r.header.Get("Content-Type"), diff)
			}
		}
	}
}

// subscribe makes n subscriptions with keys at once.
func (o *office) subscribe(n int) {
	o.t.Helper()
	err := o.config.Database.Transact(context.Background(), "subscribing many", func(tx *database.Tx) error {
		_, err := tx.Exec(context.Background(), `
			INSERT INTO subscription (id, name, developer, scope_kind, scope_name, state, expires, attributes, revision, removed, started, look, source, change, updated)
			  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			SELECT i + 1000, printf('many-%06d', i), 'a@example.org', 'api', 'Demo', ?, 0, '{}', 1, 0, 1, printf('many-%06d', i), '', 1, 1 FROM n`,
			n, int(wire.StateActive))
		if err != nil {
			return err
		}
		_, err = tx.Exec(context.Background(), `
			INSERT INTO key (digest, subscription, slot, expires, source, created, used) SELECT randomblob(32), id, ?, 0, '', 1, 0 FROM subscription WHERE id > 1000`,
			int(wire.SlotPrimary))
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// watched is a store whose export is looked at.
type watched struct {
	admin.Reader
	item func(n int64) // before the nth is given out
	n    atomic.Int64
}

func (w *watched) EachExported(ctx context.Context, each func(any) error) error {
	return w.Reader.EachExported(ctx, func(item any) error {
		w.item(w.n.Add(1))
		return each(item)
	})
}

// watch serves an office whose export is looked at to an administrator over TCP.
func (o *office) watch(wait time.Duration, item func(n int64)) (line, *watched) {
	o.t.Helper()
	w := &watched{Reader: o.config.Reader, item: item}
	c := o.config
	c.Reader, c.TurnWait = w, wait
	o.server = admin.New(c)
	return line{o.t, http.DefaultClient, o.listen(), o.issue(store.RoleAdministrator, time.Time{})}, w
}

// However much there is, little of it is held.
func TestAnExportIsBounded(t *testing.T) {
	const n, most = 50_000, 16 << 20
	o := open(t)
	o.subscribe(n)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before, highest atomic.Uint64
	l, w := o.watch(time.Minute, func(i int64) {
		if i%(n/5) == 0 {
			highest.Store(max(highest.Load(), live()))
		}
	})
	for _, accept := range []string{"application/json", "application/yaml"} {
		w.n.Store(0)
		before.Store(live())
		highest.Store(0)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.base+"/v1/catalog", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"Accept": {accept}, "Authorization": {"Bearer " + l.token}}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(response.Body, first); err != nil {
			t.Fatal(err)
		}
		if begun := w.n.Load(); begun == n {
			t.Errorf("%s: it began when all was read", accept)
		}
		written, err := io.Copy(io.Discard, response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil || written < 100*n || w.n.Load() < n {
			t.Errorf("%s: %d bytes of %d: %v", accept, written, w.n.Load(), err)
		}
		if grown := int64(highest.Load()) - int64(before.Load()); highest.Load() == 0 || grown > most {
			t.Errorf("%s: %d MiB were held on the way", accept, grown>>20)
		}
	}
}

// One at a time: who comes second waits a while.
func TestExportsTakeTurns(t *testing.T) {
	o := open(t)
	o.issue(store.RoleReader, time.Time{})
	begun, leave := make(chan struct{}), make(chan struct{})
	l, _ := o.watch(20*time.Millisecond, func(n int64) {
		if n == 1 {
			close(begun)
			<-leave
		}
	})
	first := make(chan reply)
	go func() { first <- l.call("GET", "/v1/catalog", "") }()
	<-begun
	second := l.call("GET", "/v1/catalog", "")
	if second.problem(503, "busy", "another export"); second.header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", second.header)
	}
	l.call("GET", "/v1/audit/verify", "").is(200) // which is another turn
	l.call("GET", "/v1/usage", "").is(200)
	close(leave)
	(<-first).is(200)
	l.call("GET", "/v1/catalog", "").is(200)
}

// occupy takes connections for reading until release.
func occupy(t *testing.T, db *database.DB, n int) (release func()) {
	t.Helper()
	leave, left := make(chan struct{}), make(chan error, n)
	for range n {
		taken := make(chan struct{})
		go func() {
			left <- db.View(context.Background(), "occupying", func(*database.Tx) error {
				close(taken)
				<-leave
				return nil
			})
		}()
		<-taken
	}
	return func() {
		close(leave)
		for range n {
			if err := <-left; err != nil {
				t.Error(err)
			}
		}
	}
}

// Whoever reads much keeps no connection from what filters need.
func TestReadsHaveConnectionsOfTheirOwn(t *testing.T) {
	o := open(t)
	release := occupy(t, o.config.Database, 4)
	for _, path := range []string{"/v1/catalog", "/v1/usage", "/v1/audit", "/v1/audit/verify", "/v1/apis", "/v1/subscriptions"} {
		o.socket().call("GET", path, "").is(200)
	}
	o.socket().call("GET", "/v1/apis/Demo", "").problem(503, "unavailable", "") // of the others none is left
	release()

	// All who read much at once wait for each other alone.
	release = occupy(t, o.config.Reading, 4)
	c := o.config
	c.TurnWait = 20 * time.Millisecond
	o.server = admin.New(c)
	l := line{t, http.DefaultClient, o.listen(), o.issue(store.RoleAdministrator, time.Time{})}
	for _, path := range []string{"/v1/audit/verify", "/v1/usage"} {
		replies := make(chan reply, 2)
		for range 2 {
			go func() { replies <- l.call("GET", path, "") }()
		}
		(<-replies).problem(503, "busy", "another")
		go func() { replies <- l.call("GET", path, "") }()
		(<-replies).problem(503, "busy", "another")
	}
	l.call("GET", "/v1/apis/Demo", "").is(200)
	if _, err := o.store.Changed(t.Context(), 0, func(store.Subscription, bool) error { return nil }); err != nil {
		t.Errorf("what is published: %v", err)
	}
	release()
	l.call("GET", "/v1/audit/verify", "").is(200)
}

// An error on the way is seen: the answer is cut off.
func TestAnExportThatBreaks(t *testing.T) {
	o := open(t)
	o.subscribe(2000)
	if err := o.config.Database.Transact(t.Context(), "spoiling a subscription", func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE subscription SET attributes = '{' WHERE name = 'many-001900'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	response, err := o.http.Get("http://sidecar/v1/catalog")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("%d, and an answer that seems whole: %s", response.StatusCode, fmt.Sprintf("%.200s", text))
	}
	if !strings.Contains(o.log.String(), "exporting the catalog") {
		t.Errorf("log: %s", o.log)
	}
}
