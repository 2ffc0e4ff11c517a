package filter

import (
	"encoding/base64"
	"errors"
	"strconv"

	"github.com/valyala/fastjson"

	"github.com/tollgate/tollgate/internal/wire"
)

// encoding/json costs a module a megabyte (RATIONALE.md), so this file reads and writes
// the messages of internal/wire with fastjson. A property test holds it against
// encoding/json and the struct tags.

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

// document builds a message.
type document struct {
	fastjson.Arena
}

func (d *document) textOr(o *fastjson.Value, name, text string) {
	if text != "" {
		o.Set(name, d.NewString(text))
	}
}

func (d *document) number(o *fastjson.Value, name string, n int64) {
	o.Set(name, d.NewNumberString(strconv.FormatInt(n, 10)))
}

func (d *document) texts(values []string) *fastjson.Value {
	array := d.NewArray()
	for i, v := range values {
		array.SetArrayItem(i, d.NewString(v))
	}
	return array
}

func writeMap[V any](d *document, o *fastjson.Value, name string, m map[string]V, write func(V) *fastjson.Value) {
	if len(m) == 0 {
		return
	}
	members := d.NewObject()
	for key, value := range m {
		members.Set(key, write(value))
	}
	o.Set(name, members)
}

func writeDecideRequest(m wire.DecideRequest) []byte {
	var d document
	o, asks := d.NewObject(), d.NewArray()
	d.number(o, "version", int64(m.Version))
	for i, ask := range m.Asks {
		asks.SetArrayItem(i, d.ask(ask))
	}
	o.Set("asks", asks)
	return o.MarshalTo(nil)
}

func (d *document) ask(a wire.Ask) *fastjson.Value {
	o := d.NewObject()
	o.Set("call", d.NewString(a.Call))
	o.Set("policy", d.NewString(a.Policy))
	d.number(o, "subscription", int64(a.Subscription))
	d.textOr(o, "product", a.Product)
	o.Set("api", d.NewString(a.API))
	o.Set("operation", d.NewString(a.Operation))
	o.Set("request", d.request(a.Request))
	if a.Resource != nil {
		o.Set("resource", d.resource(*a.Resource))
	}
	return o
}

func (d *document) request(r wire.Request) *fastjson.Value {
	o := d.NewObject()
	for _, member := range []struct {
		name string
		text *string
	}{{"method", r.Method}, {"path", r.Path}, {"scheme", r.Scheme}, {"host", r.Host}} {
		if member.text != nil {
			o.Set(member.name, d.NewString(*member.text))
		}
	}
	writeMap(d, o, "params", r.Params, d.NewString)
	writeMap(d, o, "query", r.Query, d.texts)
	writeMap(d, o, "headers", r.Headers, d.texts)
	if r.Source != nil {
		source := d.NewObject()
		source.Set("address", d.NewString(r.Source.Address))
		o.Set("source", source)
	}
	return o
}

func (d *document) resource(r wire.Resource) *fastjson.Value {
	o, scope := d.NewObject(), d.NewObject()
	o.Set("kind", d.NewString(r.Kind))
	for name, value := range r.Scope {
		scope.Set(name, d.NewString(value))
	}
	o.Set("scope", scope)
	o.Set("id", d.NewString(r.ID))
	return o
}

func writeResourceRequest(m wire.ResourceRequest) []byte {
	var d document
	o := d.NewObject()
	d.number(o, "version", int64(m.Version))
	o.Set("call", d.NewString(m.Call))
	d.number(o, "subscription", int64(m.Subscription))
	o.Set("api", d.NewString(m.API))
	o.Set("operation", d.NewString(m.Operation))
	o.Set("resource", d.resource(m.Resource))
	return o.MarshalTo(nil)
}

func writeUsageReport(m wire.UsageReport) []byte {
	var d document
	o, denials := d.NewObject(), d.NewArray()
	d.number(o, "version", int64(m.Version))
	o.Set("vm", d.NewString(m.VM))
	d.number(o, "sequence", int64(m.Sequence))
	for i, denial := range m.Denials {
		v := d.NewObject()
		v.Set("call", d.NewString(denial.Call))
		d.number(v, "time_millis", denial.TimeMillis)
		d.number(v, "status", int64(denial.Status))
		v.Set("reason", d.NewString(denial.Reason))
		d.textOr(v, "decision", denial.Decision)
		d.number(v, "subscription", int64(denial.Subscription))
		d.textOr(v, "api", denial.API)
		d.textOr(v, "operation", denial.Operation)
		denials.SetArrayItem(i, v)
	}
	o.Set("denials", denials)
	d.number(o, "denials_dropped", int64(m.DenialsDropped))
	return o.MarshalTo(nil)
}
