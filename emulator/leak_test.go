package emulator_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/emulator"
)

const (
	consumer = "0123456789ABCDEFabcdef0123456789"
	escaped  = "01234%356789ABCDEFabcdef0123456789"
)

func TestLeaksFailLoudly(t *testing.T) {
	s := serve(t, emulator.Config{ConsumerKeys: []string{consumer}})
	const execute = base + "/execute?api-version=2.0"
	for name, c := range map[string]struct{ path, line, want string }{
		"key header":            {execute, "Ocp-Apim-Subscription-Key: anything", `a consumer's key in header "ocp-apim-subscription-key"`},
		"AzureML token header":  {execute, "x-ms-metaanalytics-authorizationtoken: anything", `a consumer's key in header "x-ms-metaanalytics-authorizationtoken"`},
		"key parameter":         {execute + "&subscription-key=anything", "", `a consumer's key in query parameter "subscription-key"`},
		"escaped key parameter": {execute + "&subscription%2Dkey=anything", "", `a consumer's key in query parameter "subscription-key"`},
		"key parameter, case":   {execute + "&Subscription-Key=anything", "", `a consumer's key in query parameter "Subscription-Key"`},
		"gateway header":        {execute, "x-tollgate-api: demo", `a gateway's header in header "x-tollgate-api"`},
		"original path":         {execute, "x-envoy-original-path: /azureml-demo", `the public path in header "x-envoy-original-path"`},
		"original host":         {execute, "x-envoy-original-host: api.example.com", `the public path in header "x-envoy-original-host"`},
		"as the bearer":         {execute, "Authorization: Bearer " + consumer, `a consumer's key in header "authorization"`},
		"in any header":         {execute, "X-Trace: id=" + consumer + ";", `a consumer's key in header "x-trace"`},
		"in other letter case":  {execute, "X-Trace: " + strings.ToLower(consumer), `a consumer's key in header "x-trace"`},
		"in a header's name":    {execute, "X-" + consumer + ": 1", `a consumer's key in a header's name`},
		"in the host":           {execute, "Host: " + consumer, `a consumer's key in header "host"`},
		"in a parameter":        {execute + "&k=" + consumer, "", `a consumer's key in query parameter "k"`},
		"percent-encoded":       {execute + "&k=" + escaped, "", `a consumer's key in query parameter "k"`},
		"as a parameter's name": {execute + "&" + consumer + "=1", "", `a consumer's key in a query parameter's name`},
		"behind a bad escape":   {execute + "&k=%zz" + escaped, "", `a consumer's key in query parameter "k"`},
		"in the path":           {"/workspaces/" + consumer + "/x", "", `a consumer's key in the path`},
		"in an escaped path":    {"/workspaces/" + escaped + "/x", "", `a consumer's key in the path`},
		"where nothing is":      {"/?subscription-key=anything", "", `a consumer's key in query parameter "subscription-key"`},
		"without Authorization": {base + "/swagger.json", "Ocp-Apim-Subscription-Key: anything", `a consumer's key in header "ocp-apim-subscription-key"`},
	} {
		t.Run(name, func(t *testing.T) {
			s.Reset()
			a := s.leakCall(c.path, c.line)
			if got := outcome(t, a); got != "Internal Server Error ConsumerKeyLeaked ConsumerKeyLeaked" {
				t.Fatalf("outcome %q: %s", got, a.body)
			}
			var e envelope
			if err := json.Unmarshal([]byte(a.body), &e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("The request still carries "+c.want+".", e.Error.Message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if lower := strings.ToLower(a.body); strings.Contains(lower, strings.ToLower(consumer)) || strings.Contains(lower, "anything") {
				t.Errorf("the body repeats the value: %s", a.body)
			}
			if got := s.Counts().Leaks; got != 1 {
				t.Errorf("%d leaks counted, want 1", got)
			}
			if got := s.Requests()[0].Leak; got != e.Error.Message {
				t.Errorf("recorded leak %q", got)
			}
		})
	}
}

// leakCall posts with one more header line, the host included.
func (s *service) leakCall(path, line string) answer {
	if host, ok := strings.CutPrefix(line, "Host: "); ok {
		return s.raw("POST "+path+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 0\r\n\r\n", "")
	}
	if line == "" {
		return s.raw("POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "")
	}
	return s.raw("POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"+line+"\r\n\r\n", "")
}

func TestForbidKeyWhileRunning(t *testing.T) {
	s := serve(t, emulator.Config{})
	call := func() int {
		return s.call("POST", base+"/execute?api-version=2.0", tableForm, "X-Trace: "+consumer).status
	}
	if got := call(); got != 200 {
		t.Errorf("before: status %d", got)
	}
	if err := s.ForbidKey(consumer); err != nil {
		t.Fatal(err)
	}
	if got := call(); got != 500 {
		t.Errorf("after: status %d", got)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]emulator.Config{
		"no key":              {},
		"space in key":        {PrimaryKey: "a b"},
		"space in second key": {PrimaryKey: primary, SecondaryKey: "a\n"},
		"workspace":           {PrimaryKey: primary, Workspace: "demo"},
		"service":             {PrimaryKey: primary, Service: "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"},
		"short consumer key":  {PrimaryKey: primary, ConsumerKeys: []string{"short"}},
		"own key forbidden":   {PrimaryKey: primary, ConsumerKeys: []string{primary}},
		"start status":        {PrimaryKey: primary, StartStatus: 202},
		"concurrency":         {PrimaryKey: primary, Concurrency: 201},
		"storage":             {PrimaryKey: primary, Storage: "UseDevelopmentStorage=true", StorageContainer: "outputs"},
		"storage container":   {PrimaryKey: primary, Storage: "AccountName=a;AccountKey=YQ=="},
	} {
		if _, err := emulator.New(c); err == nil {
			t.Errorf("%s: New accepted it", name)
		} else if c.PrimaryKey != "" && strings.Contains(err.Error(), c.PrimaryKey) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestRecord(t *testing.T) {
	s := serve(t, emulator.Config{Record: 2, Control: true})
	s.call("POST", "/nowhere?a=1", "")
	s.call("POST", base+"/execute?api-version=2.0", tableForm, "X-Seen: yes")
	s.call("GET", base+"/swagger.json", "")
	w := httptest.NewRecorder()
	s.Control().ServeHTTP(w, httptest.NewRequest("GET", "/_emulator/requests", nil))
	var control struct {
		Counts   emulator.Counts
		Requests []emulator.Request
	}
	if err := json.Unmarshal(w.Body.Bytes(), &control); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]emulator.Request{"Requests": s.Requests(), "Control": control.Requests} {
		if len(got) != 2 || got[0].Path != base+"/execute" || got[0].Query != "api-version=2.0" || got[0].Status != 200 ||
			got[0].Header.Get("X-Seen") != "yes" || got[0].Header.Get("Authorization") != "Bearer "+primary ||
			got[0].Route != "/workspaces/{id}/services/{service}/execute" || got[0].ContentLength != int64(len(tableForm)) ||
			got[1].Method != "GET" {
			t.Errorf("%s = %+v", name, got)
		}
	}
	want := emulator.Counts{Requests: 3, Statuses: map[int]int{200: 2, 404: 1}, Routes: map[string]int{
		"POST ": 1, "POST /workspaces/{id}/services/{service}/execute": 1, "GET /workspaces/{id}/services/{service}/swagger.json": 1}}
	if diff := cmp.Diff(want, s.Counts()); diff != "" {
		t.Errorf("Counts (-want +got):\n%s", diff)
	}
	s.Control().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("DELETE", "/_emulator/requests", nil))
	if got := s.Counts().Requests + len(s.Requests()); got != 0 {
		t.Errorf("%d left after the reset", got)
	}
}

func TestControlIsOffTheServiceAndOffByDefault(t *testing.T) {
	s := serve(t, emulator.Config{})
	if a := s.call("GET", "/_emulator/requests", ""); a.status != 404 {
		t.Errorf("on the service: status %d", a.status)
	}
	w := httptest.NewRecorder()
	s.Control().ServeHTTP(w, httptest.NewRequest("GET", "/_emulator/requests", nil))
	if w.Code != 404 {
		t.Errorf("not asked for: status %d", w.Code)
	}
}

func TestLogHasNoBodyKeyOrPath(t *testing.T) {
	var log bytes.Buffer
	s := serve(t, emulator.Config{Logger: slog.New(slog.NewJSONHandler(&log, nil)), Fault: func(r *http.Request) *emulator.Error { return nil }})
	a := s.call("POST", base+"/execute?api-version=2.0", tableForm)
	s.call("POST", "/secret-path?secret-query", "")
	var line map[string]any
	if err := json.NewDecoder(bytes.NewReader(log.Bytes())).Decode(&line); err != nil {
		t.Fatal(err)
	}
	if _, ok := line["duration"]; !ok {
		t.Error("no duration")
	}
	delete(line, "duration")
	delete(line, "time")
	want := map[string]any{"level": "INFO", "msg": "request", "method": "POST", "route": "/workspaces/{id}/services/{service}/execute",
		"status": 200.0, "request_id": a.header.Get("X-Ms-Request-Id")}
	if diff := cmp.Diff(want, line); diff != "" {
		t.Errorf("log line (-want +got):\n%s", diff)
	}
	for _, secret := range []string{primary, "good day", "secret", emulator.DefaultService} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, log.String())
		}
	}
}
