// Package clients_test runs the sample clients against the AzureML emulator and Azurite: directly, and through a stand-in for the
// gateway that does the one thing they rely on, swapping the consumer's key for the service's.
package clients_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/emulator"
	"github.com/tollgate/tollgate/emulator/azurite"
)

const (
	serviceKey  = "service-key=="
	consumerKey = "consumer-key-0123456789"
)

// gateway stands in for tollgate.
func gateway(t *testing.T, service string) string {
	target, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Ocp-Apim-Subscription-Key")
		r.Out.Header.Set("Authorization", "Bearer "+serviceKey)
	}}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ocp-Apim-Subscription-Key") != consumerKey {
			w.Header().Set("Retry-After", "57")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte(`{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds." }`))
			return
		}
		http.StripPrefix("/azureml-demo", proxy).ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	return h.URL
}

// programs are the command lines of the clients of one kind; a missing Python or Go fails the test.
func programs(t *testing.T, kind string) map[string][]string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("python/" + kind + ".py")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), kind)
	if out, err := exec.Command("go", "build", "-o", program, "./go/"+kind).CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return map[string][]string{"Python": {python, "-B", script}, "Go": {program}}
}

// run returns a client's output and whether it exited with 0; it runs in a folder of its own with only these settings.
func run(t *testing.T, command []string, settings map[string]string) (output string, ok bool) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "WORKSPACE=" + emulator.DefaultWorkspace, "SERVICE=" + emulator.DefaultService}
	for name, value := range settings {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), err == nil
}

func TestClients(t *testing.T) {
	storage, err := azurite.Start(t.Context(), azurite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	s, err := emulator.New(emulator.Config{PrimaryKey: serviceKey, ConsumerKeys: []string{consumerKey}})
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(s)
	defer service.Close()
	defer s.Close()
	front := gateway(t, service.URL)

	for kind, want := range map[string]string{"rrs": `"This is a good day"`, "bes": "deleted job"} {
		for language, command := range programs(t, kind) {
			for name, c := range map[string]struct {
				settings map[string]string
				want     string
				ok       bool
			}{
				"direct":          {map[string]string{"GATEWAY": service.URL, "SUFFIX": "", "KEY": serviceKey}, want, true},
				"through gateway": {map[string]string{"GATEWAY": front, "KEY": consumerKey}, want, true},
				"service refuses": {map[string]string{"GATEWAY": service.URL, "SUFFIX": "", "KEY": "wrong"},
					"status 401: Unauthorized: Request is unauthorized to access resource. (ScoreRequestUnauthorized: Invalid credentials provided.)", false},
				"gateway refuses": {map[string]string{"GATEWAY": front, "KEY": "wrong"},
					"status 429: Rate limit is exceeded. Try again in 57 seconds. Retry after 57 s.", false},
				"no settings": {map[string]string{}, "; see README.md", false},
			} {
				t.Run(kind+"/"+language+"/"+name, func(t *testing.T) {
					result := filepath.Join(t.TempDir(), "result.csv")
					c.settings["BLOB_CONNECTION"], c.settings["OUTPUT"] = storage.ConnectionString, result
					output, ok := run(t, command, c.settings)
					if ok != c.ok || !strings.Contains(output, c.want) {
						t.Errorf("exited with 0: %t, want %t; output lacks %q:\n%s", ok, c.ok, c.want, output)
					}
					for _, secret := range []string{serviceKey, consumerKey, azurite.AccountKey, "sig="} {
						if strings.Contains(output, secret) {
							t.Errorf("the output has %q", secret)
						}
					}
					if kind != "bes" || !c.ok {
						return
					}
					data, err := os.ReadFile(result)
					if err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(string(data), "\nThis is a good day,1,1,2,2,0,2,0,1\nI loved this book,0,1,1,2,1,0,2,0\n") {
						t.Errorf("result:\n%s", data)
					}
				})
			}
		}
	}
	if n := s.Counts().Leaks; n != 0 {
		t.Errorf("%d requests leaked a consumer's key", n)
	}
}
