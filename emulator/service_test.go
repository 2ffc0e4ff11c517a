package emulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/emulator"
)

const (
	primary   = "primary-endpoint-key=="
	secondary = "secondary-endpoint-key=="

	base       = "/workspaces/" + emulator.DefaultWorkspace + "/services/" + emulator.DefaultService
	newer      = "/subscriptions/" + emulator.DefaultSubscription + "/services/" + emulator.DefaultService
	tableForm  = `{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[["This is a good day"]]}},"GlobalParameters":{}}`
	unknownJob = "00000000000000000000000000000000"
)

// service is a running emulator and a client of it.
type service struct {
	t *testing.T
	*emulator.Server
	url string
}

func serve(t *testing.T, c emulator.Config) *service {
	t.Helper()
	c.PrimaryKey, c.SecondaryKey = primary, secondary
	s, err := emulator.New(c)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &service{t, s, h.URL}
}

// answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request with the primary key and a JSON content type; header lines ("Name: value") replace those, and an empty
// value removes one.
func (s *service) call(method, path, body string, lines ...string) answer {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+primary)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if r.Header.Del(name); value != "" {
			r.Header.Set(name, value)
		}
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(data)}
}

// envelope is an error body as clients read it: exactly these members.
type envelope struct {
	Error struct {
		Code    string
		Message string
		Details []emulator.Detail
	}
}

// outcome is an answer in one word: "200", or status, class and detail codes of an error. A body that is no envelope fails.
func outcome(t *testing.T, a answer) string {
	t.Helper()
	text := http.StatusText(a.status)
	if a.status < 400 {
		return text
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	var e envelope
	if err := d.Decode(&e); err != nil || e.Error.Code == "" || e.Error.Message == "" || e.Error.Details == nil {
		t.Errorf("status %d with a body that is no error envelope (%v): %s", a.status, err, a.body)
	}
	text += " " + e.Error.Code
	for _, detail := range e.Error.Details {
		if detail.Message == "" {
			t.Errorf("detail %s has no message", detail.Code)
		}
		text += " " + detail.Code
	}
	return text
}
