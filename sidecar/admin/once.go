package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"

	"github.com/tollgate/tollgate/sidecar/store"
)

// once handles a creation with an Idempotency-Key: a repeated one gets the first one's
// answer. A failure is no answer to keep: nothing was changed, and the key is free again.
func (s *Server) once(w http.ResponseWriter, r *http.Request, route *Route, body []byte) error {
	ctx, key, who := r.Context(), r.Header.Get("Idempotency-Key"), calledBy(r.Context()).actor
	earlier, err := s.store.Once(ctx, who, key, digest(r, body))
	switch {
	case err != nil:
		return err
	case earlier != nil && route.secret:
		return &store.StateError{Code: "already_answered", Text: "this was done, and its answer held a secret that is shown once: it was not kept"}
	case earlier != nil:
		return replay(w, earlier)
	}
	recorded := &recorder{header: w.Header().Clone()}
	s.routes.mux.ServeHTTP(recorded, r.WithContext(context.WithValue(ctx, onceKey{}, &store.OnceKey{Actor: who, Key: key})))
	after := context.WithoutCancel(ctx) // the answer is kept for a client that is gone, too
	if recorded.status >= 200 && recorded.status < 300 {
		kept := store.Answer{Status: recorded.status}
		if !route.secret {
			kept.Body = recorded.kept()
		}
		err = s.store.Answered(after, who, key, kept)
	} else {
		err = s.store.Unanswered(after, who, key)
	}
	if err != nil { // what was asked for is done, or not, all the same
		s.log.Error("keeping an answer to give it again", "error", err)
	}
	recorded.send(w)
	return nil
}

type onceKey struct{}

// onceOf is the key of a creation that may be sent again, which the store marks with what it
// creates: where the answer is lost, nothing is made twice. nil: the call has none.
func onceOf(ctx context.Context) *store.OnceKey {
	key, _ := ctx.Value(onceKey{}).(*store.OnceKey)
	return key
}

// digest tells requests apart.
func digest(r *http.Request, body []byte) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range []string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Content-Type"), r.Header.Get("If-Match")} {
		h.Write([]byte(part + "\x00"))
	}
	h.Write(body)
	return [sha256.Size]byte(h.Sum(nil))
}

// keptAnswer is an answer as the store keeps it.
type keptAnswer struct {
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
}

// replay gives an answer again.
func replay(w http.ResponseWriter, earlier *store.Answer) error {
	var kept keptAnswer
	if err := json.Unmarshal(earlier.Body, &kept); err != nil {
		return err
	}
	for name, value := range kept.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(earlier.Status)
	_, _ = w.Write([]byte(kept.Body)) // the client is gone, and sees that itself
	return nil
}

// recorder keeps an answer back.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// kept is the answer for the store.
func (r *recorder) kept() []byte {
	k := keptAnswer{Header: map[string]string{}, Body: r.body.String()}
	for _, name := range []string{"Content-Type", "Etag", "Location"} {
		if value := r.header.Get(name); value != "" {
			k.Header[name] = value
		}
	}
	text, _ := json.Marshal(k) // plain texts: it always works
	return text
}

func (r *recorder) send(w http.ResponseWriter) {
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes()) // the client is gone, and sees that itself
}
