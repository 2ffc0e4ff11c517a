package filterapi_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/filterapi"
)

func TestNotReadyBeforeTheFirstPublish(t *testing.T) {
	s := start(t, options{})
	for path, send := range map[string]any{
		filterapi.PathReady: nil,
		watchPath(""):       nil,
		wire.PathDecide:     wire.DecideRequest{Version: wire.Version, VM: "vm1", Asks: make([]wire.Ask, 1)},
		wire.PathResources:  wire.ResourceRequest{Version: wire.Version, Call: "c", Resource: wire.Resource{Kind: "job"}},
	} {
		method := http.MethodGet
		if send != nil {
			method = http.MethodPost
		}
		if status, header := s.call(method, path, send, nil); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, Retry-After %q, want 503 with one", path, status, header.Get("Retry-After"))
		}
	}
	s.apply(demo())
	if status, _ := s.call(http.MethodGet, filterapi.PathReady, nil, nil); status != http.StatusOK {
		t.Errorf("ready after Publish: %d", status)
	}
}

func TestSnapshot(t *testing.T) {
	s := start(t, options{})
	c := demo()
	c.Subscriptions = append(c.Subscriptions, catalog.Subscription{Name: "dora", Developer: "a@example.org", Product: "Unlimited"}) // alice's scope
	s.apply(c)
	got := s.snapshot()
	want := wire.Snapshot{
		Version: wire.Version, Revision: wire.Revision{Store: s.store.ID(), Number: 1, Content: s.server.Revision().Content},
		Gateway: wire.Gateway{Name: "g", Region: "eu", MaxStaleSeconds: 300},
		Pepper:  s.store.Pepper(), Policy: s.engine.Policy(),
		APIs: []wire.API{{
			Name: "Demo", Suffix: "demo", Errors: wire.DialectAzureML, Keys: wire.Keys{Header: "x-key", HeaderName: "X-Key", Query: "key", Bearer: true},
			Authorization: wire.AuthorizationInject, BackendKey: plantedKey, Open: -1, HideResponseHeaders: []string{"x-powered-by"},
			Operations: []wire.Operation{
				{Name: "Execute", Method: "POST", Template: "/execute"},
				{Name: "Submit", Method: "POST", Template: "/{workspace}/jobs", Creates: "job"},
				{Name: "Status", Method: "GET", Template: "/{workspace}/jobs/{jobid}", Requires: "job"},
			},
		}, {
			Name: "Free", Suffix: "free", Errors: wire.DialectAPIM,
			Keys:          wire.Keys{Header: "ocp-apim-subscription-key", HeaderName: "Ocp-Apim-Subscription-Key", Query: "subscription-key"},
			Authorization: wire.AuthorizationPass, Open: 2, Operations: []wire.Operation{{Name: "Ping", Method: "GET", Template: "/ping"}},
		}, {
			Name: "Public", Suffix: "public", Errors: wire.DialectAPIM,
			Keys:          wire.Keys{Header: "ocp-apim-subscription-key", HeaderName: "Ocp-Apim-Subscription-Key", Query: "subscription-key"},
			Authorization: wire.AuthorizationPass, Open: 5, Operations: []wire.Operation{{Name: "Ping", Method: "GET", Template: "/ping"}},
		}},
		Scopes: []wire.Scope{{APIs: []int{0, 1, 2}}, {APIs: []int{0}}, {APIs: []int{1}}, {APIs: []int{2}}, {Product: "Unlimited", APIs: []int{0}}, {Product: "Open", APIs: []int{2}}},
	}
	w := &worker{sidecar: s}
	w.load()
	number := func(place int) uint32 { return got.Scopes[place].Number }
	for key, want := range map[string]wire.KeyRecord{
		"A1": {Subscription: 1, Revision: 1, Scope: number(4), State: wire.StateActive, Slot: wire.SlotPrimary},
		"A2": {Subscription: 1, Revision: 1, Scope: number(4), State: wire.StateActive, Slot: wire.SlotSecondary},
		"B1": {Subscription: 2, Revision: 1, Scope: number(1), State: wire.StateActive, Slot: wire.SlotPrimary},
		"C1": {Subscription: 3, Revision: 1, Scope: number(0), State: wire.StateActive, Slot: wire.SlotPrimary},
	} {
		want.MAC = apikey.MAC(got.Pepper, apikey.Digest(planted+key))
		record, _, ok := w.table.Find(want.MAC)
		if diff := cmp.Diff(want, record); !ok || diff != "" {
			t.Errorf("key %s: found %v (-want +got):\n%s", key, ok, diff)
		}
	}
	got.Keys, got.Subscriptions = nil, nil // TestTheTableFollowsTheStore
	for i := range got.Scopes {
		got.Scopes[i].Number = 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestWatchAnswers304WhenNothingMoves(t *testing.T) {
	s := start(t, options{watchTimeout: 50 * time.Millisecond})
	s.apply(demo())
	held := s.server.Revision().String()
	began := time.Now()
	status, _ := s.call(http.MethodGet, watchPath(held), nil, nil)
	if took := time.Since(began); status != http.StatusNotModified || took < 50*time.Millisecond {
		t.Errorf("status %d after %v, want 304 after 50ms", status, took)
	}
	s.apply(demo()) // the same again: nothing to hear of
	if got := s.server.Revision().String(); got != held {
		t.Errorf("revision %s after applying the same catalog, want %s", got, held)
	}
	if status, _ := s.call(http.MethodGet, watchPath("another:1"), nil, nil); status != http.StatusOK {
		t.Errorf("with another store's revision: status %d, want 200", status)
	}
}

func TestEveryWatchWakes(t *testing.T) {
	for name, move := range map[string]func(*sidecar){
		"a key is revoked": func(s *sidecar) {
			c := demo()
			c.Subscriptions[0].SecondaryKey = nil
			s.apply(c)
		},
		"an API is new": func(s *sidecar) {
			c := demo()
			c.APIs = append(c.APIs, catalog.API{Name: "New", Suffix: "new", Backend: catalog.Backend{URL: "https://new"}})
			s.apply(c)
		},
		"the policy moves": func(s *sidecar) {
			s.writePolicy("more.rego", "package tollgate.access\n\ndeny contains \"closed\" if input.request.method == \"PUT\"\n")
			if moved, err := s.engine.Reload(t.Context()); err != nil || !moved {
				t.Errorf("reloading: %v, %v", moved, err)
			}
			if err := s.server.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, options{watchTimeout: time.Minute, policies: map[string]string{"empty.rego": "package example\n"}})
			s.apply(demo())
			held := s.server.Revision()
			const watches = 20
			got := make([]wire.Snapshot, watches)
			var waiting sync.WaitGroup
			for i := range watches {
				waiting.Go(func() { s.call(http.MethodGet, watchPath(held.String()), nil, &got[i]) })
			}
			s.await("tollgate_watches", watches)
			move(s)
			waiting.Wait()
			for _, snapshot := range got {
				if snapshot.Revision.Store != held.Store || snapshot.Revision.Number != held.Number+1 {
					t.Fatalf("woken with revision %v after %v", snapshot.Revision, held)
				}
				if diff := cmp.Diff(s.engine.Policy(), snapshot.Policy); diff != "" {
					t.Fatalf("policy (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestAWatchEndsWithItsServer(t *testing.T) {
	s := start(t, options{watchTimeout: time.Minute})
	s.apply(demo())
	status := make(chan int, 1)
	go func() {
		got, _ := s.call(http.MethodGet, watchPath(s.server.Revision().String()), nil, nil)
		status <- got
	}()
	s.await("tollgate_watches", 1)
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("stopping took %v", took)
	}
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", got)
	}
}

// await polls a gauge: the watches are waiting once the server says so.
func (s *sidecar) await(name string, want float64) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		families, err := s.metrics.Gather()
		if err != nil {
			s.t.Fatal(err)
		}
		got := 0.0
		for _, f := range families {
			if f.GetName() == name {
				got = f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s = %v, want %v", name, got, want)
		}
	}
}
