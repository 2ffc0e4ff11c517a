package filter

import (
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/tollgate/tollgate/internal/jsontext"
	"github.com/tollgate/tollgate/internal/wire"
)

// encoding/json costs a module a megabyte (RATIONALE.md), so this file reads the messages
// of internal/wire with fastjson, and writes them itself: fastjson writes control
// characters as Go does, not as JSON. A property test holds both against encoding/json and
// the struct tags.

var errMessage = errors.New("the sidecar's message is not readable")

// object reads the members of one JSON object; the first mismatch of types is kept.
type object struct {
	value *fastjson.Value
	bad   *bool
}

func parseObject(body []byte) (object, error) {
	value, err := fastjson.ParseBytes(body)
	if err != nil || value.Type() != fastjson.TypeObject {
		return object{}, errMessage
	}
	return object{value, new(bool)}, nil
}

// member is nil when it is absent or null.
func (o object) member(name string, types ...fastjson.Type) *fastjson.Value {
	v := o.value.Get(name)
	if v == nil || v.Type() == fastjson.TypeNull {
		return nil
	}
	for _, t := range types {
		if v.Type() == t {
			return v
		}
	}
	*o.bad = true
	return nil
}

func (o object) text(name string) string {
	if v := o.member(name, fastjson.TypeString); v != nil {
		return string(v.GetStringBytes())
	}
	return ""
}

func (o object) flag(name string) bool {
	v := o.member(name, fastjson.TypeTrue, fastjson.TypeFalse)
	return v != nil && v.GetBool()
}

func (o object) number(name string) int64 {
	v := o.member(name, fastjson.TypeNumber)
	if v == nil {
		return 0
	}
	n, err := v.Int64()
	if err != nil {
		*o.bad = true
	}
	return n
}

func (o object) bytes(name string) []byte {
	v := o.member(name, fastjson.TypeString)
	if v == nil {
		return nil
	}
	encoded := v.GetStringBytes()
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := base64.StdEncoding.Decode(decoded, encoded)
	if err != nil {
		*o.bad = true
	}
	return decoded[:n]
}

func (o object) object(name string) (object, bool) {
	v := o.member(name, fastjson.TypeObject)
	return object{v, o.bad}, v != nil
}

// list reads an array; nil when it is absent or empty.
func list[T any](o object, name string, read func(object) T) []T {
	v := o.member(name, fastjson.TypeArray)
	if v == nil || len(v.GetArray()) == 0 {
		return nil
	}
	items := make([]T, 0, len(v.GetArray()))
	for _, item := range v.GetArray() {
		items = append(items, read(object{item, o.bad}))
	}
	return items
}

func (o object) asText() string {
	if o.value.Type() != fastjson.TypeString {
		*o.bad = true
	}
	return string(o.value.GetStringBytes())
}

func (o object) asInt() int {
	n, err := o.value.Int()
	if err != nil {
		*o.bad = true
	}
	return n
}

func (o object) asField() wire.Field {
	if o.value.Type() != fastjson.TypeArray {
		*o.bad = true
	}
	var field wire.Field
	for _, item := range o.value.GetArray() {
		field = append(field, object{item, o.bad}.asText())
	}
	return field
}

func readSnapshot(body []byte) (wire.Snapshot, error) {
	o, err := parseObject(body)
	if err != nil {
		return wire.Snapshot{}, err
	}
	revision, _ := o.object("revision")
	gateway, _ := o.object("gateway")
	policy, whole := o.object("policy")
	if revision.value == nil || gateway.value == nil || !whole {
		return wire.Snapshot{}, errMessage
	}
	s := wire.Snapshot{
		Version:  int(o.number("version")),
		Revision: wire.Revision{Store: revision.text("store"), Number: uint64(revision.number("number"))},
		Gateway:  wire.Gateway{Name: gateway.text("name"), Region: gateway.text("region"), MaxStaleSeconds: int(gateway.number("max_stale_seconds"))},
		Pepper:   o.bytes("pepper"),
		Policy:   readPolicy(policy),
		APIs:     list(o, "apis", readAPI),
		Scopes: list(o, "scopes", func(o object) wire.Scope {
			return wire.Scope{Product: o.text("product"), APIs: list(o, "apis", object.asInt)}
		}),
		Keys: o.bytes("keys"),
	}
	return s, o.outcome()
}

func (o object) outcome() error {
	if *o.bad {
		return errMessage
	}
	return nil
}

func readPolicy(o object) wire.Policy {
	return wire.Policy{Revision: o.text("revision"), Full: o.flag("full"), Vary: list(o, "vary", object.asField)}
}

func readAPI(o object) wire.API {
	keys, _ := o.object("keys")
	return wire.API{
		Name: o.text("name"), Suffix: o.text("suffix"), Hosts: list(o, "hosts", object.asText),
		Errors:        wire.Dialect(o.text("errors")),
		Keys:          wire.Keys{Header: keys.text("header"), HeaderName: keys.text("header_name"), Query: keys.text("query"), Bearer: keys.flag("bearer")},
		Authorization: wire.Authorization(o.text("authorization")), BackendKey: o.text("backend_key"),
		Open: int(o.number("open")), AllowWhenUnavailable: o.flag("allow_when_unavailable"),
		HideResponseHeaders: list(o, "hide_response_headers", object.asText),
		Operations: list(o, "operations", func(o object) wire.Operation {
			return wire.Operation{
				Name: o.text("name"), Method: o.text("method"), Template: o.text("template"),
				Creates: o.text("creates"), Requires: o.text("requires"),
			}
		}),
	}
}

func readDecideReply(body []byte) (wire.DecideReply, error) {
	o, err := parseObject(body)
	if err != nil {
		return wire.DecideReply{}, err
	}
	reply := wire.DecideReply{Version: int(o.number("version")), Answers: list(o, "answers", readAnswer)}
	return reply, o.outcome()
}

func readAnswer(o object) wire.Answer {
	a := wire.Answer{
		Error: o.text("error"), Decision: o.text("decision"), Allow: o.flag("allow"),
		Reasons: list(o, "reasons", object.asText), Status: int(o.number("status")), Message: o.text("message"),
		Request: readChange(o, "request"), Response: readChange(o, "response"),
		TTLMillis: o.number("ttl_millis"), ValidUntilMillis: o.number("valid_until_millis"),
		Policy: o.text("policy"), SubscriptionRevision: uint32(o.number("subscription_revision")),
	}
	if stale, ok := o.object("stale"); ok {
		policy := readPolicy(stale)
		a.Stale = &policy
	}
	return a
}

func readChange(o object, name string) wire.Change {
	o, ok := o.object(name)
	if !ok {
		return wire.Change{}
	}
	change := wire.Change{Remove: list(o, "remove", object.asText)}
	if set, ok := o.object("set"); ok {
		set.value.GetObject().Visit(func(name []byte, value *fastjson.Value) {
			if change.Set == nil {
				change.Set = make(map[string]string)
			}
			change.Set[string(name)] = object{value, o.bad}.asText()
		})
	}
	return change
}

// writer builds a message. A comma goes before each value that does not come first.
type writer struct{ b []byte }

func (w *writer) next() {
	if n := len(w.b); n > 0 && w.b[n-1] != '{' && w.b[n-1] != '[' && w.b[n-1] != ':' {
		w.b = append(w.b, ',')
	}
}

func (w *writer) name(name string) {
	w.next()
	w.b = append(jsontext.AppendString(w.b, name), ':')
}

func (w *writer) text(name, text string) {
	w.name(name)
	w.b = jsontext.AppendString(w.b, text)
}

func (w *writer) optional(name string, text *string) {
	if text != nil {
		w.text(name, *text)
	}
}

func (w *writer) number(name string, n int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

func (w *writer) object(name string, members func()) {
	if name != "" {
		w.name(name)
	} else {
		w.next()
	}
	w.b = append(w.b, '{')
	members()
	w.b = append(w.b, '}')
}

func (w *writer) list(name string, items func()) {
	w.name(name)
	w.b = append(w.b, '[')
	items()
	w.b = append(w.b, ']')
}

func (w *writer) texts(name string, values []string) {
	w.list(name, func() {
		for _, v := range values {
			w.next()
			w.b = jsontext.AppendString(w.b, v)
		}
	})
}

// writeMap leaves an empty map out, as the tags of wire.Request do.
func writeMap[V any](w *writer, name string, m map[string]V, write func(name string, value V)) {
	if len(m) == 0 {
		return
	}
	w.object(name, func() {
		for key, value := range m {
			write(key, value)
		}
	})
}

func writeDecideRequest(m wire.DecideRequest) []byte {
	var w writer
	w.object("", func() {
		w.number("version", int64(m.Version))
		w.list("asks", func() {
			for _, ask := range m.Asks {
				w.object("", func() { w.ask(ask) })
			}
		})
	})
	return w.b
}

func (w *writer) ask(a wire.Ask) {
	w.text("call", a.Call)
	w.text("policy", a.Policy)
	w.number("subscription", int64(a.Subscription))
	w.text("product", a.Product)
	w.text("api", a.API)
	w.text("operation", a.Operation)
	w.object("request", func() { w.request(a.Request) })
	if a.Resource != nil {
		w.resource(*a.Resource)
	}
}

func (w *writer) request(r wire.Request) {
	w.optional("method", r.Method)
	w.optional("path", r.Path)
	w.optional("scheme", r.Scheme)
	w.optional("host", r.Host)
	writeMap(w, "params", r.Params, w.text)
	writeMap(w, "query", r.Query, w.texts)
	writeMap(w, "headers", r.Headers, w.texts)
	if r.Source != nil {
		w.object("source", func() { w.text("address", r.Source.Address) })
	}
}

func (w *writer) resource(r wire.Resource) {
	w.object("resource", func() {
		w.text("kind", r.Kind)
		w.object("scope", func() {
			for name, value := range r.Scope {
				w.text(name, value)
			}
		})
		w.text("id", r.ID)
	})
}

func writeResourceRequest(m wire.ResourceRequest) []byte {
	var w writer
	w.object("", func() {
		w.number("version", int64(m.Version))
		w.text("call", m.Call)
		w.number("subscription", int64(m.Subscription))
		w.text("api", m.API)
		w.text("operation", m.Operation)
		w.resource(m.Resource)
	})
	return w.b
}

func writeUsageReport(m wire.UsageReport) []byte {
	var w writer
	w.object("", func() {
		w.number("version", int64(m.Version))
		w.text("vm", m.VM)
		w.number("sequence", int64(m.Sequence))
		w.list("denials", func() {
			for _, d := range m.Denials {
				w.object("", func() { w.denial(d) })
			}
		})
		w.number("denials_dropped", int64(m.DenialsDropped))
	})
	return w.b
}

func (w *writer) denial(d wire.Denial) {
	w.text("call", d.Call)
	w.number("time_millis", d.TimeMillis)
	w.number("status", int64(d.Status))
	w.text("reason", d.Reason)
	w.text("decision", d.Decision)
	w.number("subscription", int64(d.Subscription))
	w.text("api", d.API)
	w.text("operation", d.Operation)
}
