package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/store"
)

// line is a way to the API: the socket, or TCP with a token.
type line struct {
	t     *testing.T
	http  *http.Client
	base  string
	token string
}

// reply is an answer.
type reply struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// socket is the line of an administrator.
func (o *office) socket() line { return line{o.t, o.http, "http://sidecar", ""} }

// listen serves the API over TCP until the test ends, and returns where.
func (o *office) listen() string {
	o.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func(s *admin.Server) { served <- s.ServeTokens(ctx, l) }(o.server)
	o.t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			o.t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// issue makes a token of a role.
func (o *office) issue(role string, expires time.Time) string {
	o.t.Helper()
	_, clear, err := o.store.CreateToken(context.Background(), store.NewToken{Name: role + "s", Role: role, Expires: expires}, store.Write{Actor: "test"})
	if err != nil {
		o.t.Fatal(err)
	}
	return clear
}

// call sends a body, JSON unless a header says otherwise; header is names and values.
func (l line) call(method, path, body string, header ...string) reply {
	l.t.Helper()
	r, err := http.NewRequest(method, l.base+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if l.token != "" {
		r.Header.Set("Authorization", "Bearer "+l.token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := l.http.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	if response.Header.Get("Cache-Control") != "no-store" {
		l.t.Errorf("%s %s: Cache-Control %q", method, path, response.Header.Get("Cache-Control"))
	}
	return reply{l.t, method + " " + path, response.StatusCode, response.Header, text}
}

// is checks the status.
func (r reply) is(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d %s, want %d", r.what, r.status, r.body, status)
	}
	return r
}

// problem checks that the answer is a problem, and a part of its detail.
func (r reply) problem(status int, code, detail string) admin.Problem {
	r.t.Helper()
	var p admin.Problem
	if err := json.Unmarshal(r.body, &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" {
		r.t.Fatalf("%s: %d %s %s: no problem: %v", r.what, r.status, r.header.Get("Content-Type"), r.body, err)
	}
	if r.status != status || p.Status != status || p.Title != http.StatusText(status) || p.Code != code || !strings.Contains(p.Detail, detail) {
		r.t.Errorf("%s: %d %s\nwant %d %s: %s", r.what, r.status, r.body, status, code, detail)
	}
	return p
}

// field checks that the problem is about a field.
func (r reply) field(field, message string) {
	r.t.Helper()
	p := r.problem(http.StatusUnprocessableEntity, "invalid", "")
	for _, e := range p.Errors {
		if e.Field == field && strings.Contains(e.Message, message) {
			return
		}
	}
	r.t.Errorf("%s: %s\nwant a mistake in %q: %s", r.what, r.body, field, message)
}

// read reads the answer.
func read[T any](r reply, status int) T {
	r.t.Helper()
	r.is(status)
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil || r.header.Get("Content-Type") != "application/json" {
		r.t.Fatalf("%s: %s %s: %v", r.what, r.header.Get("Content-Type"), r.body, err)
	}
	return v
}

func asProblem(err error, p **admin.Problem) bool { return errors.As(err, p) }
