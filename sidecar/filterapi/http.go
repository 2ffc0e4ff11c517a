package filterapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/socket"
)

const (
	// maxBody bounds what a filter may send at once.
	maxBody = 1 << 20
	// readTimeout bounds how long a body may take to arrive, writeTimeout how long an
	// answer may take to leave.
	readTimeout  = 5 * time.Second
	writeTimeout = 30 * time.Second
	// callTimeout bounds the work for one call, a watch excepted.
	callTimeout = 5 * time.Second
)

// fault is an answer other than 200. Its code is stable; its text says more to a person and
// holds nothing of what was sent.
type fault struct {
	status int
	code   string
	text   string
}

func (f *fault) Error() string { return f.code + ": " + f.text }

func invalid(code, text string) error { return &fault{http.StatusBadRequest, code, text} }

var errBadJSON = invalid("bad_json", "the body is not the JSON message of this path")

// serveJSON serves POST with a JSON message of type Request; it alone maps errors to
// statuses: 400 and 409 as handle says, 413 for a body beyond 1 MiB, 503 with Retry-After
// for everything else, since what remains is a store that cannot be written or read.
func serveJSON[Request any](s *Server, handle func(context.Context, *Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(readTimeout)) // absent in tests without a connection
		_ = rc.SetWriteDeadline(time.Now().Add(readTimeout + callTimeout + writeTimeout))
		request := new(Request)
		if err := decode(http.MaxBytesReader(w, r.Body, maxBody), request); err != nil {
			s.writeError(w, r, err)
			return
		}
		_ = rc.SetReadDeadline(time.Time{})
		ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
		defer cancel()
		reply, err := handle(ctx, request)
		if err != nil {
			s.writeError(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, reply)
	}
}

func decode(body io.Reader, into any) error {
	d := json.NewDecoder(body)
	if err := d.Decode(into); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return &fault{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("a body has at most %d bytes", maxBody)}
		}
		return errBadJSON
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errBadJSON
	}
	return nil
}

// checkVersion accepts the current wire version and the one before it.
func checkVersion(v int) error {
	if v > wire.Version || v < max(1, wire.Version-1) {
		return invalid("unsupported_version", fmt.Sprintf("this sidecar speaks wire version %d", wire.Version))
	}
	return nil
}

func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var f *fault
	if !errors.As(err, &f) {
		s.log.Error("answering a filter", "path", r.URL.Path, "error", err)
		f = &fault{http.StatusServiceUnavailable, "unavailable", "the sidecar cannot answer now"}
	}
	if f.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, f.status, map[string]string{"error": f.code, "message": f.text})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // none of our messages: all are plain structs
		status, b = http.StatusInternalServerError, nil
	}
	writeBody(w, status, b)
}

func writeBody(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the filter is gone; its next call tells
}

// observed counts the calls of a path and turns a panic into a 500 without a body.
func (s *Server) observed(path string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("panic", "path", path, "panic", socket.Cause(p), "stack", string(debug.Stack()))
				if rec.status != 0 { // half an answer is out: cut it off
					panic(http.ErrAbortHandler)
				}
				rec.WriteHeader(http.StatusInternalServerError)
			}
			s.metrics.calls.WithLabelValues(path, strconv.Itoa(rec.status)).Inc()
		}()
		next.ServeHTTP(rec, r)
	})
}

// recorder remembers the status that was written.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
