package e2e_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/internal/wire"
)

// submit is a batch job's request over the blob that put wrote. Like every client's, its
// body carries the storage account's key.
func submit(g *harness.Gateway, key string) harness.Response {
	blob := func(name string) string {
		return `{"ConnectionString":` + strconv.Quote(g.Storage.ConnectionString) + `,"RelativeLocation":"/jobs/` + name + `"}`
	}
	return g.Do(harness.Call{
		Method: "POST", Path: harness.JobsPath, Key: key,
		Header: http.Header{"Content-Type": {"application/json"}, "Accept-Encoding": {"gzip"}},
		Body:   `{"Input":` + blob("in.csv") + `,"Outputs":{"output1":` + blob("out.csv") + `},"GlobalParameters":{}}`,
	})
}

func put(t *testing.T, g *harness.Gateway) {
	t.Helper()
	client, err := azblob.NewClientFromConnectionString(g.Storage.ConnectionString, nil)
	if err == nil {
		_, err = client.CreateContainer(t.Context(), "jobs", nil)
	}
	if err == nil {
		_, err = client.UploadBuffer(t.Context(), "jobs", "in.csv", []byte("Col2\nThis is a good day\n"), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// I6: a job is reachable only by the subscription that submitted it, and another sees what
// it sees of a job that does not exist.
func TestAJobBelongsToItsSubscription(t *testing.T) {
	g := harness.Start(t, harness.Options{Storage: true})
	put(t, g)
	submitted := submit(g, g.Keys.Unlimited)
	if submitted.Status != http.StatusOK || len(submitted.Body) != 34 {
		t.Fatalf("submit: %d %s", submitted.Status, submitted.Body)
	}
	id := strings.Trim(submitted.Body, `"`)
	steps := []struct {
		name, method, action string
	}{{"status", "GET", ""}, {"start", "POST", "/start"}, {"delete", "DELETE", ""}}
	for _, step := range steps {
		other := g.Do(harness.Call{Method: step.method, Path: harness.JobPath(id, step.action), Key: g.Keys.Starter})
		missing := g.Do(harness.Call{Method: step.method, Path: harness.JobPath(strings.Repeat("0", 32), step.action), Key: g.Keys.Starter})
		if other.Status != http.StatusNotFound || other.Body != missing.Body || other.Body != `{ "statusCode": 404, "message": "Resource not found" }` {
			t.Errorf("%s of another's job: %d %s; of a missing one: %s", step.name, other.Status, other.Body, missing.Body)
		}
	}
	for _, spelling := range []string{strings.ToUpper(id), "%" + hex(id[0]) + id[1:], id + "/", "./" + id} {
		if r := g.Do(harness.Call{Path: harness.JobPath(spelling, ""), Key: g.Keys.Starter}); r.Status == http.StatusOK {
			t.Errorf("another's job, spelt %s: %d", spelling, r.Status)
		}
	}
	for _, step := range steps {
		if r := g.Do(harness.Call{Method: step.method, Path: harness.JobPath(id, step.action), Key: g.Keys.Unlimited}); r.Status/100 != 2 {
			t.Errorf("%s by its owner: %d %s", step.name, r.Status, r.Body)
		}
	}
}

func hex(c byte) string { return string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15]) }

// A job whose id cannot be recorded stays unseen, and one that cannot be announced is not
// submitted.
func TestAnUnrecordedJobStaysUnseen(t *testing.T) {
	g := harness.Start(t, harness.Options{Storage: true, Concurrency: 1})
	put(t, g)
	refuse := harness.Answer(http.StatusServiceUnavailable, "")

	g.Faults.Set(wire.PathResources, refuse)
	r := submit(g, g.Keys.Unlimited)
	if r.Status != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || g.Backend.Counts().Requests != 0 {
		t.Errorf("without an intent: %d %s, %d requests reached the backend", r.Status, r.Body, g.Backend.Counts().Requests)
	}

	g.Faults.Set(wire.PathResources, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if g.Backend.Counts().Requests > 0 {
			refuse(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	r = submit(g, g.Keys.Unlimited)
	if r.Status != http.StatusServiceUnavailable || r.Header.Get("X-Tollgate-Reason") != "job_not_recorded" {
		t.Errorf("without a record: %d %s %s", r.Status, r.Header.Get("X-Tollgate-Reason"), r.Body)
	}
	if g.Backend.Counts().Requests != 1 {
		t.Errorf("%d requests reached the backend, want the submit", g.Backend.Counts().Requests)
	}
}

// The sample clients work against the gateway, given GATEWAY and KEY.
func TestSampleClients(t *testing.T) {
	g := harness.Start(t, harness.Options{Storage: true})
	clients := filepath.Join(harness.Root(), "examples/clients")
	for name, command := range map[string][]string{
		"RRS in Python": {"python3", clients + "/python/rrs.py"},
		"RRS in Go":     {"go", "run", clients + "/go/rrs"},
		"BES in Python": {"python3", clients + "/python/bes.py"},
		"BES in Go":     {"go", "run", clients + "/go/bes"},
	} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), command[0], command[1:]...)
			c.Dir = t.TempDir()
			if command[0] == "go" {
				c.Dir = harness.Root()
			}
			c.Env = append(os.Environ(), "GATEWAY="+g.URL, "SUFFIX="+harness.DemoSuffix, "KEY="+g.Keys.Unlimited, "WORKSPACE="+harness.DemoWorkspace,
				"SERVICE="+harness.DemoService, "BLOB_CONNECTION="+g.Storage.ConnectionString, "OUTPUT="+filepath.Join(t.TempDir(), "result.csv"))
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if strings.Contains(string(out), g.Keys.Unlimited) {
				t.Error("the client printed its key")
			}
		})
	}
}
