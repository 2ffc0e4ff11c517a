package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/tollgate/tollgate/sidecar/ledger"
	"github.com/tollgate/tollgate/sidecar/socket"
)

// Problem is an answer other than 200 (RFC 9457). Code is stable.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"` // for people: what to do
}

func (p *Problem) Error() string { return p.Detail }

func bad(code, format string, args ...any) error {
	return &Problem{Status: http.StatusBadRequest, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// read serves GET. The only parameter is subscription.
func read(s *Server, handle func(context.Context, string) (any, error)) http.Handler {
	return s.answered(http.MethodGet, func(ctx context.Context, r *http.Request, _ io.Reader) (any, error) {
		query := r.URL.Query()
		for name, values := range query {
			if name != "subscription" {
				return nil, bad("parameter_unknown", "unknown parameter %q; known is \"subscription\"", name)
			}
			if len(values) > 1 {
				return nil, bad("parameter_repeated", "the parameter \"subscription\" stands there %d times", len(values))
			}
		}
		if query.Has("subscription") && query.Get("subscription") == "" {
			return nil, bad("subscription_missing", "subscription is a name or an id, and not empty")
		}
		return handle(ctx, query.Get("subscription"))
	})
}

// change serves POST with a JSON message.
func change[Request any](s *Server, handle func(context.Context, *Request) (any, error)) http.Handler {
	return s.answered(http.MethodPost, func(ctx context.Context, r *http.Request, body io.Reader) (any, error) {
		request := new(Request)
		if err := decode(body, request); err != nil {
			return nil, err
		}
		return handle(ctx, request)
	})
}

func decode(body io.Reader, into any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return bad("bad_json", "the body has more than one JSON value")
	}
	var large *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &large):
		return &Problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: fmt.Sprintf("a body has at most %d bytes", maxBody)}
	case errors.As(err, &kind) && kind.Field != "":
		return bad("bad_field", "%s is %s, not a JSON %s", kind.Field, kinds[kind.Type.Kind().String()], kind.Value)
	}
	// encoding/json has no type for it.
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return bad("field_unknown", "unknown field %s", field)
	}
	return bad("bad_json", "the body is not the JSON message of this path")
}

// kinds are Go's kinds of fields in the words of JSON.
var kinds = map[string]string{"string": "a string", "int64": "a whole number"}

// answered serves one method of a path.
func (s *Server) answered(method string, handle func(context.Context, *http.Request, io.Reader) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			s.refuse(w, r, &Problem{Status: http.StatusMethodNotAllowed, Code: "method_unknown", Detail: "this path is for " + method})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		reply, err := handle(ctx, r, http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		write(w, http.StatusOK, "application/json", reply)
	})
}

// guarded lets only those in who may administer, and cuts the answer off when a call panics.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("panic", "path", r.URL.Path, "panic", socket.Cause(p), "stack", string(debug.Stack()))
				panic(http.ErrAbortHandler)
			}
		}()
		if err := admitted(r.Context()); err != nil {
			s.log.Warn("refused an administrator", "error", err)
			s.refuse(w, r, &Problem{Status: http.StatusForbidden, Code: "forbidden", Detail: "only the user that runs the sidecar, and root, administer it"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse alone maps errors to statuses: what is no Problem is a database that cannot be read
// or written.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var p *Problem
	switch {
	case errors.As(err, &p):
		p = new(*p)
	case errors.Is(err, ledger.ErrUnavailable):
		p = &Problem{Status: http.StatusServiceUnavailable, Code: "ledger_unavailable", Detail: "the ledger does not answer now; the sidecar's log says why"}
	case errors.Is(err, ledger.ErrInvalid): // it moved since it was looked at
		p = &Problem{Status: http.StatusConflict, Code: "conflict", Detail: err.Error()}
	default:
		p = &Problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "the store cannot be read or written now; the sidecar's log says why"}
	}
	if p.Status == http.StatusServiceUnavailable {
		s.log.Error("answering an administrator", "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", "1")
	}
	p.Title = http.StatusText(p.Status)
	write(w, p.Status, "application/problem+json", p)
}

func write(w http.ResponseWriter, status int, kind string, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // none of our messages: all are plain structs
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client is gone, and sees that itself
}
