package emulator

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ServeHTTP answers one request. Every error is an envelope, paths that do not exist included.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, id := time.Now(), newGUID()
	seen := s.record.arrived(r, start, id)
	rt := match(r.URL.EscapedPath())
	answer, e := s.answer(w, r, rt)
	leaked := ""
	if e != nil {
		answer = e.response()
		if e.Status == http.StatusMethodNotAllowed {
			answer.allow = rt.allow()
		}
		if e.Code == LeakCode {
			leaked = e.Message
		}
	}
	s.record.answered(seen, rt.name, answer.status, leaked)
	if !s.config.NoRequestID {
		w.Header().Set("X-Ms-Request-Id", id)
	}
	answer.write(w)
	if s.config.Logger != nil {
		s.config.Logger.InfoContext(r.Context(), "request", "method", r.Method, "route", rt.name, "status", answer.status,
			"request_id", id, "duration", time.Since(start))
	}
}

// answer decides; what a gateway leaked is looked for before anything else can be wrong.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, rt route) (response, *Error) {
	if e := s.leak(r); e != nil {
		return response{}, e
	}
	if rt.name == "" {
		return response{}, NewError("NotFound")
	}
	if rt.operator == "jobs" && (r.Method == http.MethodGet || r.Method == http.MethodDelete) {
		rt.operator, rt.methods = "job", operations["job"] // a status or delete without its id
	}
	allowed, ok := rt.methods[r.Method]
	if !ok {
		return response{}, NewError("MethodNotAllowed")
	}
	if rt.operator == "swagger.json" { // real clients fetch it without Authorization
		if e := s.find(rt); e != nil {
			return response{}, e
		}
		_, e := parseQuery(r.URL.RawQuery, allowed, true)
		return s.swagger(r.Host, r.URL.EscapedPath()), e
	}
	if !s.authorized(r.Header["Authorization"]) {
		return response{}, NewError("ScoreRequestUnauthorized")
	}
	if e := s.find(rt); e != nil {
		return response{}, e
	}
	if rt.operator == "execute" && s.slots != nil {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			return response{}, NewError("RequestThrottled", "default", strconv.Itoa(cap(s.slots)))
		}
	}
	if s.config.Fault != nil {
		if e := s.config.Fault(r); e != nil {
			return response{}, e
		}
	}
	o, e := parseQuery(r.URL.RawQuery, allowed, false)
	if e != nil {
		return response{}, e
	}
	return s.operate(w, r, rt, o)
}

func (s *Server) operate(w http.ResponseWriter, r *http.Request, rt route, o options) (response, *Error) {
	var body []byte
	if r.Method == http.MethodPost {
		var e *Error
		if body, e = s.body(w, r); e != nil {
			return response{}, e
		}
		if rt.operator != "start" && !isJSON(r.Header.Get("Content-Type")) {
			return response{}, NewError("RequestBodyInvalid")
		}
	}
	switch {
	case rt.operator == "execute":
		return s.execute(body, o)
	case rt.operator == "jobs":
		return s.submit(r.Context(), body)
	case rt.job == "":
		return response{}, NewError("MissingJobId")
	case rt.operator == "start":
		return s.start(rt.job, body)
	case r.Method == http.MethodDelete:
		return s.cancel(rt.job)
	default:
		return s.status(rt.job)
	}
}

// authorized takes one Authorization header: the scheme in any letter case, then either key.
func (s *Server) authorized(values []string) bool {
	if len(values) != 1 {
		return false
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	given := sha256.Sum256([]byte(strings.TrimLeft(key, " ")))
	match := 0
	for _, known := range s.keys {
		match |= subtle.ConstantTimeCompare(given[:], known[:])
	}
	return strings.EqualFold(scheme, "bearer") && match == 1
}

// body reads a POST's body. AzureML needs a Content-Length, so chunks are refused: a gateway that re-frames a body is found out.
// Content-Encoding is ignored: a sample client sends `Content-Encoding: UTF-8`.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, *Error) {
	if r.Header.Get("Content-Length") == "" { // net/http drops it when there are chunks
		return nil, NewError("LengthRequired")
	}
	if r.ContentLength > s.config.MaxBodyBytes {
		return nil, NewError("RequestEntityTooLarge")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBodyBytes))
	if err != nil {
		return nil, NewError("RequestCanceled")
	}
	return body, nil
}

// isJSON takes the content types that real clients send: application/json with any parameters, text/json (a Java sample) and the
// typo applicaton/json (another one).
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" {
		return false
	}
	return media == "application/json" || media == "text/json" || media == "applicaton/json"
}

// members reads a JSON object with no member but the allowed ones; nulls count as absent. Names are case-sensitive.
func members(body []byte, allowed ...string) (map[string]json.RawMessage, *Error) {
	if !utf8.Valid(body) {
		return nil, NewError("RequestBodyInvalid")
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil || all == nil {
		return nil, NewError("RequestBodyInvalid")
	}
	for name, value := range all {
		known := false
		for _, a := range allowed {
			known = known || a == name
		}
		if !known {
			return nil, NewError("UnexpectedParameter")
		}
		if string(value) == "null" {
			delete(all, name)
		}
	}
	return all, nil
}

// noParameters accepts GlobalParameters that are missing or {}: the experiment has none.
func noParameters(value json.RawMessage) *Error {
	if value == nil {
		return nil
	}
	var parameters map[string]json.RawMessage
	if err := json.Unmarshal(value, &parameters); err != nil {
		return NewError("RequestBodyInvalid")
	}
	if len(parameters) > 0 {
		return NewError("UnexpectedParameter")
	}
	return nil
}
