package gate

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/internal/wire"
)

// valueMax is the longest value in bytes that a cache key may hold (specs/vary.md 6).
const valueMax = 1 << 10

// known says whether the gate can read a field, see wire.Field.
func known(field wire.Field) bool {
	if len(field) == 1 {
		return field[0] == "resource"
	}
	if len(field) < 2 || field[0] != "request" {
		return false
	}
	switch field[1] {
	case "method", "path", "scheme", "host", "jwt":
		return len(field) == 2
	case "params":
		return len(field) == 2 || len(field) == 3
	case "query", "headers":
		return len(field) == 3
	case "source":
		return len(field) == 3 && field[2] == "address"
	}
	return false
}

// project is the part of the request that a policy reads, or all of it.
func (x *Exchange) project(p *wire.Policy) wire.Request {
	var r wire.Request
	if p.Full {
		x.projectAll(&r)
		return r
	}
	for _, field := range p.Vary {
		if field[0] == "request" {
			x.projectField(&r, field[1:])
		}
	}
	return r
}

func (x *Exchange) projectField(r *wire.Request, field wire.Field) {
	switch field[0] {
	case "method":
		r.Method = &x.head.Method
	case "path":
		path := x.match.Path()
		r.Path = &path
	case "scheme":
		r.Scheme = &x.head.Scheme
	case "host":
		r.Host = &x.head.Host
	case "source":
		r.Source = &wire.Source{Address: x.sourceAddress()}
	case "params":
		for _, p := range x.match.Params {
			if len(field) == 1 || field[1] == p.Name {
				put(&r.Params, p.Name, p.Value)
			}
		}
	case "query":
		if values := x.queryValues(field[1]); values != nil {
			put(&r.Query, field[1], values)
		}
	case "headers":
		if values := x.headerValues(field[1]); values != nil {
			put(&r.Headers, field[1], values)
		}
	}
}

func (x *Exchange) projectAll(r *wire.Request) {
	for _, field := range []wire.Field{{"method"}, {"path"}, {"scheme"}, {"host"}, {"source"}, {"params"}} {
		x.projectField(r, field)
	}
	for _, pair := range x.query {
		put(&r.Query, pair.Name, append(r.Query[pair.Name], pair.Value))
	}
	for _, header := range x.head.Headers {
		if !x.hides(header[0]) {
			put(&r.Headers, header[0], append(r.Headers[header[0]], header[1]))
		}
	}
}

func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = make(map[string]V)
	}
	(*m)[key] = value
}

func (x *Exchange) queryValues(name string) (values []string) {
	for _, pair := range x.query {
		if pair.Name == name {
			values = append(values, pair.Value)
		}
	}
	return values
}

// headerValues are those that a policy may see: never a consumer's key.
func (x *Exchange) headerValues(name string) []string {
	if x.hides(name) {
		return nil
	}
	return x.head.values(name)
}

func (x *Exchange) sourceAddress() string {
	if x.source == nil {
		address := ""
		if x.head.SourceAddress != nil {
			address = hostOnly(x.head.SourceAddress())
		}
		x.source = &address
	}
	return *x.source
}

// hostOnly cuts the port off "192.0.2.1:80" and "[2001:db8::1]:80".
func hostOnly(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 && (strings.HasPrefix(address, "[") || strings.Count(address, ":") == 1) {
		address = address[:i]
	}
	return strings.Trim(address, "[]")
}

// askKey is the cache key of a question: length-prefixed, kind-tagged bytes, compared in
// full. It depends on the ask alone, so that what was asked is what is kept.
func (g *Gate) askKey(ask wire.Ask) []byte {
	b := binary.LittleEndian.AppendUint32(g.scratch[:0], ask.Subscription)
	b = appendText(b, ask.Product)
	b = appendText(b, ask.API)
	b = appendText(b, ask.Operation)
	for _, s := range []*string{ask.Request.Method, ask.Request.Path, ask.Request.Scheme, ask.Request.Host} {
		b = appendOptional(b, s)
	}
	var address *string
	if ask.Request.Source != nil {
		address = &ask.Request.Source.Address
	}
	b = appendOptional(b, address)
	b = appendMap(b, ask.Request.Params, appendText)
	b = appendMap(b, ask.Request.Query, appendTexts)
	b = appendMap(b, ask.Request.Headers, appendTexts)
	if r := ask.Resource; r != nil {
		b = appendText(append(b, 1), r.Kind)
		b = appendText(b, r.ID)
		b = appendMap(b, r.Scope, appendText)
	} else {
		b = append(b, 0)
	}
	g.scratch = b
	return b
}

// cacheable says whether every value of the ask is short enough.
func cacheable(ask wire.Ask) bool {
	tooLong := func(values []string) bool {
		total := 0
		for _, v := range values {
			total += len(v)
		}
		return total > valueMax
	}
	for _, values := range ask.Request.Query {
		if tooLong(values) {
			return false
		}
	}
	for _, values := range ask.Request.Headers {
		if tooLong(values) {
			return false
		}
	}
	return ask.Request.Path == nil || len(*ask.Request.Path) <= valueMax
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTexts(b []byte, values []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(values)))
	for _, v := range values {
		b = appendText(b, v)
	}
	return b
}

func appendOptional(b []byte, s *string) []byte {
	if s == nil {
		return append(b, 0)
	}
	return appendText(append(b, 1), *s)
}

func appendMap[V any](b []byte, m map[string]V, appendValue func([]byte, V) []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	if len(m) == 0 {
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b = appendValue(appendText(b, name), m[name])
	}
	return b
}
