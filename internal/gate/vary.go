package gate

import (
	"encoding/binary"
	"strings"

	"github.com/tollgate/tollgate/internal/vary"
	"github.com/tollgate/tollgate/internal/wire"
)

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
		r.Method = clone(x.head.Method)
	case "path":
		path := x.match.Path()
		r.Path = &path
	case "scheme":
		r.Scheme = clone(x.head.Scheme)
	case "host":
		r.Host = clone(x.head.Host)
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
	values := x.head.values(name)
	for i := range values {
		values[i] = strings.Clone(values[i])
	}
	return values
}

// clone copies text out of a head, which a kept question would otherwise keep alive whole.
func clone(text string) *string {
	text = strings.Clone(text)
	return &text
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

// askKey is the cache key of a question under the policy held: what is asked about, and the
// values of the fields that the policy reads. false: it must not be kept.
func (g *Gate) askKey(ask wire.Ask) ([]byte, bool) {
	b := binary.LittleEndian.AppendUint32(g.scratch[:0], ask.Subscription)
	for _, text := range []string{ask.Product, ask.API, ask.Operation} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	key, ok := vary.AppendKey(b, ask.Request, ask.Resource, g.held.policy)
	g.scratch = key
	return key, ok
}

// readable says whether this build can read every field that a policy depends on.
func readable(p wire.Policy) bool {
	_, ok := vary.Project(wire.Request{}, p)
	return ok
}
