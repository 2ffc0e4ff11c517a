package emulator

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// object is a JSON object whose members keep their order: R clients read swagger.json's paths by position.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(m.name))
		b.WriteByte(':')
		b.Write(encode(m.value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode is JSON without HTML escapes and without a trailing newline: clients cut a job id out of its quotes by position. The
// values are strings, bools, numbers, slices and objects, which always encode.
func encode(value any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// response is an answer before it is written, so that it can be counted first.
type response struct {
	status      int
	contentType string
	allow       string // for 405
	body        []byte
}

func jsonResponse(status int, value any) response {
	return response{status: status, contentType: "application/json; charset=utf-8", body: encode(value)}
}

func (r response) write(w http.ResponseWriter) {
	if r.contentType != "" {
		w.Header().Set("Content-Type", r.contentType)
	}
	if r.allow != "" {
		w.Header().Set("Allow", r.allow)
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // the client is gone: nobody to tell
}
