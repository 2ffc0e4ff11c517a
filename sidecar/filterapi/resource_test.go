package filterapi_test

import (
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

func TestResources(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	message := func(call string, sub uint32, id string) wire.ResourceRequest {
		return wire.ResourceRequest{Version: wire.Version, Store: s.store.ID(), Call: call, Subscription: sub, API: "Demo", Operation: "Submit", Resource: *job(id)}
	}
	with := func(r wire.ResourceRequest, change func(*wire.ResourceRequest)) wire.ResourceRequest {
		change(&r)
		return r
	}
	for _, step := range []struct {
		name   string
		send   wire.ResourceRequest
		status int
	}{
		{"intent", message("c1", 1, ""), 200},
		{"intent again", message("c1", 1, ""), 200},
		{"id", message("c1", 1, "j1"), 200},
		{"id again", message("c1", 1, "j1"), 200},
		{"another call's", message("c2", 1, "j1"), 409},
		{"another subscription's", message("c1", 2, "j1"), 409},
		{"without an intent", message("c3", 2, "j2"), 200},
		{"API is gone, and no intent", with(message("c4", 1, "j4"), func(r *wire.ResourceRequest) { r.API = "Gone" }), 409},
		{"API is gone after the intent", with(message("c1", 1, "j5"), func(r *wire.ResourceRequest) { r.API = "Gone" }), 200},
		{"intent for an API that is gone", with(message("c5", 1, ""), func(r *wire.ResourceRequest) { r.API = "Gone" }), 409},
		{"intent by a subscription that is gone", message("c6", 77, ""), 409},
		{"intent of an operation that creates nothing", with(message("c7", 1, ""), func(r *wire.ResourceRequest) { r.Operation = "Execute" }), 409},
		{"no call", message("", 1, "j"), 400},
		{"id too long", message("c8", 1, strings.Repeat("j", 257)), 400},
		{"id not printable", message("c8", 1, "j\n"), 400},
		{"longest id", message("c8", 1, strings.Repeat("j", 256)), 200},
		{"another version", with(message("c9", 1, ""), func(r *wire.ResourceRequest) { r.Version = wire.Version + 1 }), 400},
	} {
		if status, _ := s.call(http.MethodPost, wire.PathResources, step.send, nil); status != step.status {
			t.Errorf("%s: status %d, want %d", step.name, status, step.status)
		}
	}
	for id, owner := range map[string]uint32{"j1": 1, "j2": 2, "j5": 1} {
		for sub := uint32(1); sub <= 2; sub++ {
			a := s.decide(wire.Ask{Subscription: sub, API: "Demo", Operation: "Status", Resource: job(id)})[0]
			if a.Allow != (sub == owner) {
				t.Errorf("subscription %d and job %s of %d: allow %v", sub, id, owner, a.Allow)
			}
		}
	}
}

func TestUsageIsTakenOnce(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	report := wire.UsageReport{Version: wire.Version, VM: "vm", Sequence: 3, DenialsDropped: 2, Denials: []wire.Denial{
		{Call: "call-9", TimeMillis: s.clock().UnixMilli(), Status: 401, Reason: "key_unknown", API: "Demo"},
		{Call: "call-9", TimeMillis: s.clock().UnixMilli(), Status: 401, Reason: "a reason with a value: " + planted}}}
	for range 3 {
		if status, _ := s.call(http.MethodPost, wire.PathUsage, report, nil); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	s.await("tollgate_filter_denials_total", 2)
	s.await("tollgate_filter_denials_unreported_total", 2)
	if got := s.explained("call-9"); got.Reasons[0] != "not_a_code" {
		t.Errorf("the newest of the two: %+v", got)
	}
}

func TestWhatIsNotAMessageIsRefused(t *testing.T) {
	s := start(t, options{})
	s.apply(demo())
	ask := `{"version":1,"vm":"a","store":"` + s.store.ID() + `","asks":[{"policy":"` + s.engine.Policy().Revision + `","subscription":1,"api":"Demo","operation":"Execute"}]`
	for name, tc := range map[string]struct {
		method, path string
		send         any
		status       int
	}{
		"an unknown field is fine":     {http.MethodPost, wire.PathDecide, ask + `,"later":1}`, 200},
		"an ask of another store":      {http.MethodPost, wire.PathDecide, strings.Replace(ask, s.store.ID(), "another", 1) + `}`, 409},
		"a resource of another store":  {http.MethodPost, wire.PathResources, `{"version":1,"store":"another","call":"c","subscription":1,"api":"Demo","operation":"Submit","resource":{"kind":"job"}}`, 409},
		"not JSON":                     {http.MethodPost, wire.PathDecide, "{", 400},
		"empty":                        {http.MethodPost, wire.PathDecide, "", 400},
		"two values":                   {http.MethodPost, wire.PathDecide, ask + "}{}", 400},
		"another type":                 {http.MethodPost, wire.PathDecide, `{"version":1,"asks":"x"}`, 400},
		"version missing":              {http.MethodPost, wire.PathUsage, `{}`, 400},
		"beyond 1 MiB":                 {http.MethodPost, wire.PathUsage, `{"version":1,"vm":"` + strings.Repeat("a", 1<<20) + `"}`, 413},
		"GET where POST":               {http.MethodGet, wire.PathDecide, nil, 405},
		"POST where GET":               {http.MethodPost, wire.PathWatch, "{}", 405},
		"watch of another version":     {http.MethodGet, wire.PathWatch + "?version=99", nil, 400},
		"watch without a version":      {http.MethodGet, wire.PathWatch, nil, 400},
		"another path":                 {http.MethodGet, "/v1/else", nil, 404},
		"usage without the VM's name":  {http.MethodPost, wire.PathUsage, `{"version":1,"sequence":1}`, 400},
		"a negative number for a uint": {http.MethodPost, wire.PathUsage, `{"version":1,"vm":"a","sequence":-1}`, 400},
	} {
		t.Run(name, func(t *testing.T) {
			if status, _ := s.call(tc.method, tc.path, tc.send, nil); status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
		})
	}
}

// A slow filter must not hold a connection for ever.
func TestABodyHasToArrive(t *testing.T) {
	t.Parallel()
	s := start(t, options{})
	s.apply(demo())
	c, err := net.Dial("unix", filepath.Join(s.dir, "run", "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("POST /v1/decide HTTP/1.1\r\nHost: s\r\nContent-Length: 100\r\n\r\n{")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 12)
	if _, err := c.Read(b); err != nil || string(b) != "HTTP/1.1 400" {
		t.Errorf("answer %q, %v, want a 400", b, err)
	}
}
