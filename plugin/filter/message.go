package filter

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tollgate/tollgate/internal/wire"
)

// encoding/json brings reflection along, which costs a module a megabyte (RATIONALE.md). So
// this file reads the messages of internal/wire token by token, and writes them itself. A
// property test holds both against encoding/json and the struct tags.

var errMessage = errors.New("the sidecar's message is not readable")

// value is one JSON value on its way into a message. The first mismatch of types is kept.
type value struct {
	kind    jsontext.Kind
	text    string // of a string; of a number as it is written
	members map[string]value
	items   []value
	bad     *bool
}

func parseObject(body []byte) (object, error) {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body))
	v, err := parse(decoder, new(bool))
	if err != nil || v.kind != '{' {
		return object{}, errMessage
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return object{}, errMessage
	}
	return v.asObject(), nil
}

// parse reads one value. The decoder bounds the depth, and refuses a name that stands twice.
func parse(decoder *jsontext.Decoder, bad *bool) (value, error) {
	token, err := decoder.ReadToken()
	if err != nil {
		return value{}, err
	}
	v := value{kind: token.Kind(), bad: bad}
	switch v.kind {
	case '"', '0':
		v.text = token.String()
	case '{':
		v.members = make(map[string]value)
		for decoder.PeekKind() != '}' {
			name, err := decoder.ReadToken()
			if err != nil {
				return v, err
			}
			key := name.String()
			if v.members[key], err = parse(decoder, bad); err != nil {
				return v, err
			}
		}
		_, err = decoder.ReadToken()
	case '[':
		for decoder.PeekKind() != ']' {
			item, err := parse(decoder, bad)
			if err != nil {
				return v, err
			}
			v.items = append(v.items, item)
		}
		_, err = decoder.ReadToken()
	}
	return v, err
}

// object is the members of one JSON object.
type object struct {
	members map[string]value
	bad     *bool
}

func (v value) require(ok bool) bool {
	if !ok {
		*v.bad = true
	}
	return ok
}

func (v value) asObject() object {
	v.require(v.kind == '{')
	return object{v.members, v.bad}
}

func (v value) asText() string {
	if !v.require(v.kind == '"') {
		return ""
	}
	return v.text
}

func (v value) asNumber() int64 {
	n, err := strconv.ParseInt(v.text, 10, 64)
	v.require(v.kind == '0' && err == nil)
	return n
}

func (v value) asInt() int { return int(v.asNumber()) }

func (v value) asField() wire.Field { return items(v, value.asText) }

// items reads an array; nil when it is empty.
func items[T any](v value, read func(value) T) []T {
	v.require(v.kind == '[')
	var list []T
	for _, item := range v.items {
		list = append(list, read(item))
	}
	return list
}

// objects makes a reader of objects one of values.
func objects[T any](read func(object) T) func(value) T {
	return func(v value) T { return read(v.asObject()) }
}

// member is false when it is absent or null.
func (o object) member(name string) (value, bool) {
	v, ok := o.members[name]
	return v, ok && v.kind != 'n'
}

func (o object) text(name string) string {
	if v, ok := o.member(name); ok {
		return v.asText()
	}
	return ""
}

func (o object) flag(name string) bool {
	v, ok := o.member(name)
	return ok && v.require(v.kind == 't' || v.kind == 'f') && v.kind == 't'
}

func (o object) number(name string) int64 {
	if v, ok := o.member(name); ok {
		return v.asNumber()
	}
	return 0
}

func (o object) bytes(name string) []byte {
	decoded, err := base64.StdEncoding.DecodeString(o.text(name))
	if err != nil {
		*o.bad = true
	}
	return decoded
}

func (o object) object(name string) (object, bool) {
	v, ok := o.member(name)
	if !ok {
		return object{nil, o.bad}, false
	}
	return v.asObject(), true
}

func list[T any](o object, name string, read func(value) T) []T {
	if v, ok := o.member(name); ok {
		return items(v, read)
	}
	return nil
}

func (o object) outcome() error {
	if *o.bad {
		return errMessage
	}
	return nil
}

func readSnapshot(body []byte) (wire.Snapshot, error) {
	o, err := parseObject(body)
	if err != nil {
		return wire.Snapshot{}, err
	}
	revision, named := o.object("revision")
	gateway, placed := o.object("gateway")
	policy, decided := o.object("policy")
	if !named || !placed || !decided {
		return wire.Snapshot{}, errMessage
	}
	s := wire.Snapshot{
		Version:  int(o.number("version")),
		Revision: wire.Revision{Store: revision.text("store"), Number: uint64(revision.number("number")), Content: revision.text("content")},
		Gateway:  wire.Gateway{Name: gateway.text("name"), Region: gateway.text("region"), MaxStaleSeconds: int(gateway.number("max_stale_seconds"))},
		Pepper:   o.bytes("pepper"),
		Policy:   readPolicy(policy),
		APIs:     list(o, "apis", objects(readAPI)),
		Scopes: list(o, "scopes", objects(func(o object) wire.Scope {
			return wire.Scope{Number: uint32(o.number("number")), Product: o.text("product"), APIs: list(o, "apis", value.asInt)}
		})),
		Keys: o.bytes("keys"), Subscriptions: o.bytes("subscriptions"),
		Resets: uint64(o.number("resets")),
	}
	return s, o.outcome()
}

func readPolicy(o object) wire.Policy {
	return wire.Policy{Revision: o.text("revision"), Full: o.flag("full"), Vary: list(o, "vary", value.asField)}
}

func readAPI(o object) wire.API {
	keys, _ := o.object("keys")
	open := -1 // an API is not open because a message does not say so
	if v, ok := o.member("open"); ok {
		open = v.asInt()
	}
	return wire.API{
		Name: o.text("name"), Suffix: o.text("suffix"), Hosts: list(o, "hosts", value.asText),
		Errors:        wire.Dialect(o.text("errors")),
		Keys:          wire.Keys{Header: keys.text("header"), HeaderName: keys.text("header_name"), Query: keys.text("query"), Bearer: keys.flag("bearer")},
		Authorization: wire.Authorization(o.text("authorization")), BackendKey: o.text("backend_key"),
		Open: open, AllowWhenUnavailable: o.flag("allow_when_unavailable"),
		HideResponseHeaders: list(o, "hide_response_headers", value.asText),
		Operations: list(o, "operations", objects(func(o object) wire.Operation {
			return wire.Operation{
				Name: o.text("name"), Method: o.text("method"), Template: o.text("template"),
				Creates: o.text("creates"), Requires: o.text("requires"),
			}
		})),
	}
}

func readDecideReply(body []byte) (wire.DecideReply, error) {
	o, err := parseObject(body)
	if err != nil {
		return wire.DecideReply{}, err
	}
	reply := wire.DecideReply{Version: int(o.number("version")), Answers: list(o, "answers", objects(readAnswer)), Settled: o.flag("settled")}
	return reply, o.outcome()
}

func readAnswer(o object) wire.Answer {
	a := wire.Answer{
		Error: o.text("error"), Decision: o.text("decision"), Allow: o.flag("allow"),
		Reasons: list(o, "reasons", value.asText), Status: int(o.number("status")), Message: o.text("message"),
		Request: readChange(o, "request"), Response: readChange(o, "response"),
		Limits: list(o, "limits", objects(readLimit)), Leases: list(o, "leases", objects(readLease)),
		TTLMillis: o.number("ttl_millis"), ValidUntilMillis: o.number("valid_until_millis"),
		Policy: o.text("policy"), SubscriptionRevision: uint32(o.number("subscription_revision")),
	}
	if stale, ok := o.object("stale"); ok {
		policy := readPolicy(stale)
		a.Stale = &policy
	}
	if e, ok := o.object("exhausted"); ok {
		a.Exhausted = &wire.Exhausted{Limit: int(e.number("limit")), RetryMillis: e.number("retry_millis"), Leased: e.flag("leased")}
	}
	return a
}

func readLimit(o object) wire.Limit {
	return wire.Limit{
		Name: o.text("name"), Key: o.text("key"), Kind: wire.LimitKind(o.text("kind")), Unit: wire.LimitUnit(o.text("unit")),
		Amount: o.number("amount"), WindowMillis: o.number("window_millis"), StartMillis: o.number("start_millis"),
		SuccessOnly: o.flag("success_only"), ReportOnly: o.flag("report_only"),
	}
}

func readLease(o object) wire.Lease {
	return wire.Lease{
		Limit: int(o.number("limit")), Counter: o.number("counter"), Units: o.number("units"),
		LifeMillis: o.number("life_millis"), Left: o.number("left"), ResetMillis: o.number("reset_millis"),
	}
}

func readChange(o object, name string) wire.Change {
	o, ok := o.object(name)
	if !ok {
		return wire.Change{}
	}
	change := wire.Change{Remove: list(o, "remove", value.asText)}
	if set, ok := o.object("set"); ok {
		change.Set = make(map[string]string, len(set.members))
		for name, v := range set.members {
			change.Set[name] = v.asText()
		}
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

// quote writes a string. Of its error, bytes that are not UTF-8, U+FFFD remains in their
// place.
func (w *writer) quote(s string) { w.b, _ = jsontext.AppendQuote(w.b, s) }

func (w *writer) name(name string) {
	w.next()
	w.quote(name)
	w.b = append(w.b, ':')
}

func (w *writer) text(name, text string) {
	w.name(name)
	w.quote(text)
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
			w.quote(v)
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
		w.text("store", m.Store)
		w.text("vm", m.VM)
		w.list("asks", func() {
			for _, ask := range m.Asks {
				w.object("", func() { w.ask(ask) })
			}
		})
		writeList(&w, "settlements", m.Settlements, w.settlement)
		if len(m.Abandoned) > 0 {
			w.list("abandoned", func() {
				for _, id := range m.Abandoned {
					w.next()
					w.b = strconv.AppendUint(w.b, id, 10)
				}
			})
		}
	})
	return w.b
}

// writeList leaves an empty list out.
func writeList[T any](w *writer, name string, items []T, write func(T)) {
	if len(items) == 0 {
		return
	}
	w.list(name, func() {
		for _, item := range items {
			w.object("", func() { write(item) })
		}
	})
}

func (w *writer) settlement(s wire.Settlement) {
	w.number("take", int64(s.Take))
	w.number("counter", s.Counter)
	w.number("spent", s.Spent)
	w.number("age_millis", s.AgeMillis)
	w.set("extend", s.Extend)
}

// set writes a flag that is up.
func (w *writer) set(name string, up bool) {
	if up {
		w.name(name)
		w.b = append(w.b, "true"...)
	}
}

func (w *writer) take(t wire.Take) {
	w.object("take", func() {
		w.number("id", int64(t.ID))
		w.set("waiting", t.Waiting)
		writeList(w, "held", t.Held, w.demand)
		writeList(w, "wanted", t.Wanted, w.demand)
	})
}

func (w *writer) demand(d wire.Demand) {
	w.text("name", d.Name)
	w.text("key", d.Key)
	if d.Units != 0 {
		w.number("units", d.Units)
	}
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
	if a.Take != nil {
		w.take(*a.Take)
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
		w.text("store", m.Store)
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
		w.text("store", m.Store)
		writeList(&w, "rows", m.Rows, w.usageRow)
		w.number("usage_dropped", m.UsageDropped)
		writeList(&w, "keys", m.Keys, w.keyUse)
		writeList(&w, "denials", m.Denials, w.denial)
		w.number("denials_dropped", int64(m.DenialsDropped))
	})
	return w.b
}

func (w *writer) usageRow(r wire.UsageRow) {
	w.number("minute", r.Minute)
	w.number("subscription", int64(r.Subscription))
	w.text("product", r.Product)
	w.text("api", r.API)
	w.text("operation", r.Operation)
	w.text("outcome", string(r.Outcome))
	w.number("calls", r.Calls)
	w.number("request_bytes", r.RequestBytes)
	w.number("response_bytes", r.ResponseBytes)
	w.usageTimes("total", r.Total)
	w.usageTimes("backend", r.Backend)
}

func (w *writer) usageTimes(name string, t wire.UsageTimes) {
	w.object(name, func() {
		w.list("counts", func() {
			for _, n := range t.Counts {
				w.next()
				w.b = strconv.AppendInt(w.b, n, 10)
			}
		})
		w.number("sum_micros", t.SumMicros)
		w.number("min_micros", t.MinMicros)
		w.number("max_micros", t.MaxMicros)
	})
}

func (w *writer) keyUse(k wire.KeyUse) {
	w.number("subscription", int64(k.Subscription))
	w.number("slot", int64(k.Slot))
	w.number("expires", int64(k.Expires))
	w.number("time_millis", k.TimeMillis)
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
	if d.Limit != "" {
		w.text("limit", d.Limit)
	}
}
