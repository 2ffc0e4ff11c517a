package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/sidecar/bootstrap"
	"github.com/tollgate/tollgate/sidecar/xds"
)

// TestMissingFilterFailsClosed: routes to a backend need the filter's header, and clients
// cannot bring it along (I5, I7).
func TestMissingFilterFailsClosed(t *testing.T) {
	g := harness.Start(t, harness.Options{Unready: true, Bootstrap: func(filled []byte) ([]byte, error) {
		return bootstrap.Without(filled, bootstrap.WasmFilter)
	}})
	tests := map[string]http.Header{
		"as it should be": {},
		"forged":          {"X-Tollgate-Api": {harness.DemoSuffix}},
		"forged, lower":   {"x-tollgate-api": {harness.DemoSuffix}},
		"forged twice":    {"X-Tollgate-Api": {harness.DemoSuffix, harness.DemoSuffix}},
	}
	for name, header := range tests {
		t.Run(name, func(t *testing.T) {
			r := g.For(t).Do(harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Unlimited, Header: header, Body: harness.GoodDay})
			if r.Status != http.StatusServiceUnavailable || r.Body != xds.Unfiltered {
				t.Errorf("answer %d %s", r.Status, r.Body)
			}
			if got := r.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
			if r.Header.Get("X-Request-Id") == "" {
				t.Error("no x-request-id")
			}
		})
	}
	t.Run("encoded slashes are refused by Envoy itself", func(t *testing.T) {
		r := g.For(t).Do(harness.Call{Path: "/" + harness.DemoSuffix + "/a%2fb"})
		if r.Status != http.StatusBadRequest || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("answer %d %s", r.Status, r.Body)
		}
	})
	if got := g.Backend.Counts().Requests; got != 0 {
		t.Errorf("%d requests reached the backend", got)
	}
}

// TestGateway holds what Envoy's configuration promises, with the filter in its place. The
// subtests share one gateway.
func TestGateway(t *testing.T) {
	g := harness.Start(t, harness.Options{})
	subtests := []struct {
		name string
		run  func(*testing.T, *harness.Gateway)
	}{
		{"the experiment answers", experimentAnswers},
		{"nothing internal reaches the backend", nothingInternalReachesBackend},
		{"headers cannot be forged", headersCannotBeForged},
		{"odd requests are refused", oddRequestsAreRefused},
		{"the access log names no client bytes", accessLogNamesNoClientBytes},
		{"administration only reads", administrationOnlyReads},
	}
	for _, s := range subtests {
		t.Run(s.name, func(t *testing.T) { s.run(t, g.For(t)) })
	}
}

func experimentAnswers(t *testing.T, g *harness.Gateway) {
	r := g.Execute(g.Keys.Unlimited)
	if r.Status != http.StatusOK || !strings.Contains(r.Body, `"1","1","2","2","0","2","0","1"`) {
		t.Fatalf("answer %d %s", r.Status, r.Body)
	}
	a := g.AwaitAccess(r.Header.Get("X-Request-Id"))
	if a.Status != http.StatusOK || a.Cluster != "api."+harness.DemoSuffix || a.Operation != "RRS Execute" || a.Subscription == "" {
		t.Errorf("access log %+v", a)
	}
}

// nothingInternalReachesBackend lists every header that may: an allowlist finds what Envoy's
// next version adds.
func nothingInternalReachesBackend(t *testing.T, g *harness.Gateway) {
	g.Backend.Reset()
	r := g.Do(harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Unlimited, Body: harness.GoodDay, Header: http.Header{
		"Content-Type":                       {"application/json"},
		"X-Envoy-Retry-On":                   {"5xx"},
		"X-Envoy-Expected-Rq-Timeout-Ms":     {"7"},
		"X-Envoy-Upstream-Rq-Timeout-Ms":     {"1"},
		"X-Envoy-Original-Path":              {"/x"},
		"X-Envoy-Decorator-Operation":        {"x"},
		"X-Forwarded-For":                    {"203.0.113.9"},
		"X-Forwarded-Host":                   {"evil.example"},
		"X-Request-Id":                       {"the-clients-own"},
		"Forwarded":                          {"host=evil.example"},
		"X-Original-Url":                     {"/admin"},
		"X-Rewrite-Url":                      {"/admin"},
		"X-Http-Method-Override":             {"DELETE"},
		"Ocp-Apim-Subscription-Key-Mistyped": {"kept"},
	}})
	if r.Status != http.StatusOK {
		t.Fatalf("answer %d %s", r.Status, r.Body)
	}
	requests := g.Backend.Requests()
	if len(requests) != 1 {
		t.Fatalf("%d requests reached the backend", len(requests))
	}
	got := requests[0]
	allowed := []string{"Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "Ocp-Apim-Subscription-Key-Mistyped",
		"User-Agent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"}
	for name := range got.Header {
		if !slices.Contains(allowed, name) {
			t.Errorf("the backend got %s: %s", name, got.Header[name])
		}
	}
	if address := got.Header.Get("X-Forwarded-For"); strings.Contains(address, "203.0.113.9") {
		t.Errorf("the backend got the client's word for its address: %s", address)
	}
	if id := got.Header.Get("X-Request-Id"); id == "the-clients-own" || id != r.Header.Get("X-Request-Id") {
		t.Errorf("the backend got request id %q, the client %q", id, r.Header.Get("X-Request-Id"))
	}
	if want := strings.TrimPrefix(g.BackendURL, "http://"); got.Host != want {
		t.Errorf("the backend got host %q, want %q", got.Host, want)
	}
	if want := strings.TrimPrefix(strings.Split(harness.ExecutePath, "?")[0], "/"+harness.DemoSuffix); got.Path != want {
		t.Errorf("the backend got path %q, want %q", got.Path, want)
	}
}

func headersCannotBeForged(t *testing.T, g *harness.Gateway) {
	for _, name := range []string{"x-tollgate-api", "X-TOLLGATE-API", "X-Tollgate-Anything"} {
		g.Backend.Reset()
		r := g.Do(harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Unlimited, Body: harness.GoodDay,
			Header: http.Header{name: {"other"}, "Content-Type": {"application/json"}}})
		if r.Status != http.StatusOK {
			t.Errorf("with %s: answer %d %s", name, r.Status, r.Body)
		}
		if counts := g.Backend.Counts(); counts.Requests != 1 || counts.Leaks != 0 {
			t.Errorf("with %s: %+v", name, counts)
		}
	}
}

// oddRequestsAreRefused sends what some backend may read otherwise than the filter (I7).
func oddRequestsAreRefused(t *testing.T, g *harness.Gateway) {
	good := strings.Split(harness.ExecutePath, "?")[0]
	tests := map[string]struct {
		target, header string
		want           []string // statuses
	}{
		"encoded slash":            {target: "/" + harness.DemoSuffix + "/a%2fb", want: []string{"400"}},
		"encoded backslash":        {target: "/" + harness.DemoSuffix + "/..%5cb", want: []string{"400"}},
		"encoded slash, capitals":  {target: "/" + harness.DemoSuffix + "/a%2Fb", want: []string{"400"}},
		"dots out of the API":      {target: good + "/../../../../../../etc", want: []string{"404"}},
		"encoded dots":             {target: "/" + harness.DemoSuffix + "/%2e%2e/etc", want: []string{"404"}},
		"doubly encoded dots":      {target: "/" + harness.DemoSuffix + "/%252e%252e/etc", want: []string{"400"}},
		"dots with a parameter":    {target: "/" + harness.DemoSuffix + "/..;/etc", want: []string{"404"}}, // Envoy takes it for dots
		"backslash":                {target: "/" + harness.DemoSuffix + "\\..\\etc", want: []string{"400", "404"}},
		"zero byte":                {target: "/" + harness.DemoSuffix + "/a%00b", want: []string{"400"}},
		"underscore in a header":   {target: harness.ExecutePath, header: "x_tollgate_api: azureml-demo\r\n", want: []string{"400"}},
		"space before colon":       {target: harness.ExecutePath, header: "X-Tollgate-Api : azureml-demo\r\n", want: []string{"400"}},
		"two lengths":              {target: harness.ExecutePath, header: "Content-Length: 1\r\nContent-Length: 2\r\n", want: []string{"400"}},
		"length and chunks":        {target: harness.ExecutePath, header: "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", want: []string{"400"}},
		"absolute form, elsewhere": {target: "http://evil.example/x", want: []string{"404"}},
		"a head that is too long":  {target: harness.ExecutePath, header: "X-Long: " + strings.Repeat("x", 40<<10) + "\r\n", want: []string{"431"}},
		"too many headers":         {target: harness.ExecutePath, header: strings.Repeat("X-Many: 1\r\n", 150), want: []string{"431"}},
		"a connect":                {target: "CONNECT", want: []string{"400", "404"}},
	}
	g.Backend.Reset()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := g.For(t)
			head := "GET " + test.target + " HTTP/1.1\r\nHost: gateway\r\n"
			if test.target == "CONNECT" {
				head = "CONNECT backend:443 HTTP/1.1\r\nHost: backend:443\r\n"
			}
			answer := g.Raw(5*time.Second, head+harness.KeyHeader+": "+g.Keys.Unlimited+"\r\nConnection: close\r\n"+test.header+"\r\n")
			_, rest, _ := strings.Cut(answer, " ")
			if status, _, _ := strings.Cut(rest, " "); !slices.Contains(test.want, status) {
				t.Errorf("answer %.300q, want status %v", answer, test.want)
			}
		})
	}
	if got := g.Backend.Counts().Requests; got != 0 {
		t.Errorf("%d requests reached the backend", got)
	}
}

// accessLogNamesNoClientBytes: also where a request is refused before Envoy made an id for it.
func accessLogNamesNoClientBytes(t *testing.T, g *harness.Gateway) {
	planted := harness.NewKey()
	before := len(g.AccessLog())
	requests := []string{
		"GET /" + harness.DemoSuffix + "/..%5c" + planted + " HTTP/1.1\r\nHost: gateway\r\nX-Request-Id: " + planted,
		"GET /" + planted + "?" + planted + "=" + planted + " HTTP/1.1\r\nHost: " + planted + "\r\nUser-Agent: " + planted + "\r\nReferer: " + planted,
		"GET /x HTTP/1.1\r\nHost: gateway\r\nfoo_bar: " + planted + "\r\nX-Request-Id: " + planted,
		"GET " + harness.ExecutePath + "&subscription-kye=" + planted + " HTTP/1.1\r\nHost: gateway\r\nX-Request-Id: " + planted,
		planted + " / HTTP/1.1\r\nHost: gateway",
	}
	for _, request := range requests {
		if answer := g.Raw(5*time.Second, request+"\r\nConnection: close\r\n\r\n"); answer == "" {
			t.Errorf("no answer to %q", request)
		}
	}
	g.Eventually(10*time.Second, "the requests are logged", func() bool { return len(g.AccessLog()) >= before+len(requests) })
	for _, leak := range g.Leaks(planted, g.Keys.Unlimited, g.Keys.Starter, g.Keys.Backend) {
		t.Error(leak)
	}
}

func administrationOnlyReads(t *testing.T, g *harness.Gateway) {
	if r := g.Admin("/ready"); r.Status != http.StatusOK {
		t.Errorf("/ready: %d", r.Status)
	}
	for _, path := range []string{"/quitquitquit", "/logging?level=trace", "/runtime_modify?a=b", "/drain_listeners", "/tap", "/"} {
		if r := g.Admin(path); r.Status != http.StatusForbidden {
			t.Errorf("%s: %d %.100s", path, r.Status, r.Body)
		}
	}
}
