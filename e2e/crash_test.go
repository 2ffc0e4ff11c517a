package e2e_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
)

// I5: a filter that panics refuses that request in the API's dialect and serves the next; one
// whose virtual machine dies is started again by Envoy, and until then nothing passes.
func TestACrashFailsClosed(t *testing.T) {
	module := filepath.Join(t.TempDir(), "faults.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildmode=c-shared", "-tags", "tollgate_faults", "-o", module, "./plugin")
	build.Dir, build.Env = harness.Root(), append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the module: %v: %s", err, out)
	}
	g := harness.Start(t, harness.Options{Concurrency: 1, Bootstrap: func(filled []byte) ([]byte, error) {
		return bytes.ReplaceAll(filled, []byte(harness.Plugin(t)), []byte(module)), nil
	}})
	call := func(fault string) harness.Response {
		r, err := g.Try(t.Context(), harness.Call{Method: "POST", Path: harness.ExecutePath, Key: g.Keys.Unlimited, Body: harness.GoodDay,
			Header: http.Header{"Content-Type": {"application/json"}, "X-Fault": {fault}}})
		if err != nil {
			return harness.Response{} // the connection was closed without an answer
		}
		return r
	}
	if r := call("none"); r.Status != http.StatusOK {
		t.Fatalf("before: %d %s", r.Status, r.Body)
	}
	g.Backend.Reset()
	r := call("panic")
	want := `{ "statusCode": 500, "message": "Internal server error", "activityId": "` + r.Header.Get("X-Request-Id") + `" }`
	if r.Status != http.StatusInternalServerError || r.Body != want || r.Header.Get("X-Tollgate-Reason") != "internal_error" {
		t.Errorf("a panic: %d %s, want %s", r.Status, r.Body, want)
	}
	if r := call("none"); r.Status != http.StatusOK {
		t.Errorf("after a panic: %d %s", r.Status, r.Body)
	}
	g.Backend.Reset()
	for range 3 {
		if r := call("throw"); r.Status == http.StatusOK {
			t.Errorf("a crash: %d %s", r.Status, r.Body)
		}
	}
	if n := g.Backend.Counts().Requests; n != 0 {
		t.Errorf("%d requests reached the backend past a crash", n)
	}
	g.Eventually(30*time.Second, "the filter is started again", func() bool { return call("none").Status == http.StatusOK })
}
