// Package schemathesis has Schemathesis make calls of the admin API from its own OpenAPI
// document, good and bad ones, against a sidecar that runs as in production. No call may be
// answered 5xx, and every answer must be what the document says.
package schemathesis

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
	"github.com/tollgate/tollgate/e2e/harness"
)

// fewest is how many calls each run makes at least.
const fewest = 1000

// within is for two cores that are busy otherwise.
const within = 10 * time.Minute

func TestTheAdminAPI(t *testing.T) {
	tool := filepath.Join(harness.Root(), ".tools/schemathesis")
	if _, err := os.Stat(filepath.Join(tool, "schemathesis")); err != nil {
		t.Fatal("Schemathesis is missing: run `make schemathesis`")
	}
	for _, calls := range []string{"free", "known"} {
		t.Run(calls, func(t *testing.T) {
			t.Parallel()
			config, err := filepath.Abs("testdata/" + calls + ".toml")
			if err != nil {
				t.Fatal(err)
			}
			s := serve(t)
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			run := exec.CommandContext(ctx, cmp.Or(os.Getenv("PYTHON"), "python3"), "-m", "schemathesis.cli", "--config-file", config,
				"run", s.base+"/openapi.json", "--header", "Authorization: Bearer "+s.token, "--no-color")
			run.Dir = t.TempDir() // where it leaves what it learned
			run.Env = append(os.Environ(), "PYTHONPATH="+tool, "PYTHONDONTWRITEBYTECODE=1")
			out, err := run.CombinedOutput()
			if err != nil {
				t.Errorf("Schemathesis: %v\n%s", err, out)
			}
			found := regexp.MustCompile(`(\d+) generated, (\d+) passed`).FindSubmatch(out)
			if found == nil {
				t.Fatalf("Schemathesis does not say what it did:\n%s", out)
			}
			if n, _ := strconv.Atoi(string(found[2])); n < fewest {
				t.Errorf("%d calls, want %d at least:\n%s", n, fewest, out)
			}
			t.Logf("%s calls", found[2])
			s.checkLog()
		})
	}
}

// served is a sidecar that is a process of its own.
type served struct {
	t           *testing.T
	log         string
	base, token string
}

func serve(t *testing.T) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	port, err := process.Port("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := filepath.Abs("testdata/catalog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	address := fmt.Sprintf("127.0.0.1:%d", port)
	s := &served{t: t, log: in("log"), base: "http://" + address}
	sidecar, err := process.Start(process.Program{Name: "the sidecar", Path: harness.Binary(t), Log: s.log, Args: []string{
		"serve", "--store", in("s.db"), "--socket", in("s.sock"), "--admin", in("a.sock"), "--catalog", catalog,
		"--admin-address", address, "--first-token", in("token"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sidecar.Stop(10 * time.Second)
		os.RemoveAll(dir)
	})
	s.wait(sidecar, in("token"))
	return s
}

// wait polls until the admin API answers who holds the first token.
func (s *served) wait(sidecar *process.Process, token string) {
	s.t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.Tick(50 * time.Millisecond); ; {
		text, err := os.ReadFile(token)
		if s.token = strings.TrimSpace(string(text)); err == nil {
			err = s.answers()
		}
		if err == nil {
			return
		}
		select {
		case <-tick:
		case <-sidecar.Done():
			s.t.Fatalf("the sidecar ended: %s", process.LastLine(s.log))
		case <-deadline:
			s.t.Fatalf("the admin API does not answer: %v", err)
		}
	}
}

func (s *served) answers() error {
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.base+"/v1/apis", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

// checkLog looks for what went wrong inside, and for the token.
func (s *served) checkLog() {
	s.t.Helper()
	log, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			s.t.Errorf("the sidecar's log: %s", line)
		}
	}
	if strings.Contains(string(log), s.token) {
		s.t.Error("the token is in the sidecar's log")
	}
}
