package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate/tollgate/sidecar/socket"
)

// guarded cuts the answer off when a call panics.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				s.log.Error("panic", "path", r.URL.Path, "panic", socket.Cause(p), "stack", string(debug.Stack()))
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(w, r)
	})
}

// answering answers calls of those whom identify knows.
func (s *Server) answering(identify identify) http.Handler {
	crossOrigin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		err := crossOrigin.Check(r)
		if err != nil {
			s.refuse(w, r, problem(http.StatusForbidden, "cross_origin", "a page of another origin may not use the admin API"))
			return
		}
		c, err := identify(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		if err := s.admit(w, r.WithContext(withCaller(r.Context(), c))); err != nil {
			s.refuse(w, r, err)
		}
	})
}

// admit has a call handled that may be made, and says why one may not.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) error {
	route, err := s.routes.of(r)
	if err != nil {
		return err
	}
	c := calledBy(r.Context())
	if !May(c.role, route.Right) {
		return problem(http.StatusForbidden, "forbidden", "the role %s may not do this: it takes the right %s", c.role, route.Right)
	}
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return err
	}
	if err := checkHeader(r.Header); err != nil {
		return err
	}
	control := http.NewResponseController(w)
	if route.most > maxBody {
		if err := control.SetReadDeadline(time.Now().Add(longWork)); err != nil {
			return err
		}
	}
	body, err := route.body(w, r)
	if err != nil {
		return err
	}
	work := cmp.Or(route.work, shortWork)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Now().Add(work+2*ioTimeout))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), work)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if route.creates && r.Header.Get("Idempotency-Key") != "" {
		return s.once(w, r, route, body)
	}
	s.routes.mux.ServeHTTP(w, r)
	return nil
}

// checkQuery refuses what huma would overlook.
func checkQuery(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return bad("bad_query", "the query cannot be read: it is not NAME=VALUE&NAME=VALUE, with other characters as %%XX")
	}
	for name, values := range query {
		switch {
		case len(values) > 1:
			return invalidField("query."+name, "stands there %d times", len(values))
		case values[0] == "":
			return invalidField("query."+name, "is empty: leave it out, or give a value")
		case !plain(name), !plain(values[0]):
			return invalidField("query", "must be UTF-8 without zero bytes")
		}
	}
	return nil
}

// checkHeader refuses conditions that would count for none.
func checkHeader(h http.Header) error {
	for _, name := range []string{"If-Match", "If-None-Match", "Idempotency-Key"} {
		switch values := h.Values(name); {
		case len(values) > 1:
			return invalidField("header."+name, "stands there %d times", len(values))
		case len(values) == 1 && strings.TrimSpace(values[0]) == "":
			return invalidField("header."+name, "is empty: leave it out, or give a value")
		}
	}
	return nil
}

// plain says whether a text is UTF-8 without zero bytes: only that can be stored.
func plain(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// body reads the body of a call, in one of the route's types.
func (r *Route) body(w http.ResponseWriter, request *http.Request) ([]byte, error) {
	if len(r.types) == 0 {
		return nil, nil
	}
	most := cmp.Or(r.most, maxBody)
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, most))
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &large):
		return nil, problem(http.StatusRequestEntityTooLarge, "too_large", "a body has at most %d bytes here", most)
	case errors.As(err, &network) && network.Timeout():
		return nil, problem(http.StatusRequestTimeout, "too_slow", "the body did not arrive in time")
	case err != nil:
		return nil, bad("bad_body", "the body did not arrive as a whole")
	case len(bytes.TrimSpace(body)) == 0 && r.optional:
		return nil, nil
	}
	kind := r.types[0]
	if given := request.Header.Get("Content-Type"); given != "" {
		if kind, _, err = mime.ParseMediaType(given); err != nil || !slices.Contains(r.types, yamlNames(kind)) {
			return nil, problem(http.StatusUnsupportedMediaType, "content_type", "the body must be %s (Content-Type)", strings.Join(r.types, " or "))
		}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, bad("body_missing", "this call needs a body, as %s", r.types[0])
	}
	if !utf8.Valid(body) {
		return nil, bad("bad_body", "the body is not UTF-8")
	}
	if kind == typeJSON {
		return checkJSON(body)
	}
	return body, nil
}

// yamlNames is application/yaml for what it was called before RFC 9512.
func yamlNames(kind string) string {
	if slices.Contains([]string{"text/yaml", "text/x-yaml", "application/x-yaml"}, kind) {
		return typeYAML
	}
	return kind
}

// checkJSON says where a body is not JSON. What it returns is JSON that YAML reads the same.
func checkJSON(body []byte) ([]byte, error) {
	var v json.RawMessage
	err := json.Unmarshal(body, &v)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(body[:min(int(syntax.Offset), len(body))], []byte("\n"))
		p := problem(http.StatusBadRequest, "bad_json", "the body is not JSON: line %d: %s", line, syntax)
		p.Errors = []FieldError{{Message: syntax.Error(), Line: line}}
		return nil, p
	case err != nil:
		return nil, bad("bad_json", "the body is not JSON: %s", err)
	}
	return joinSurrogates(body), nil
}

// refuse answers with a problem.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problemOf(r.Context(), err)
	for name, values := range p.header {
		w.Header()[name] = values
	}
	write(w, p.Status, p.ContentType(""), p)
}

func write(w http.ResponseWriter, status int, kind string, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // none of our messages: all are plain structs
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client is gone, and sees that itself
}
