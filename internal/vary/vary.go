// Package vary cuts a request down to the fields that a policy reads, and turns those
// fields into the part of a cache key that they stand for (docs/policies.md). It runs in
// the filter as well as in tests; it imports no host, clock, network or database.
package vary

import (
	"encoding/binary"
	"slices"

	"github.com/tollgate/tollgate/internal/wire"
)

// MaxValueBytes is the size of the largest value that a cache key may carry. Requests
// with larger ones are decided each time.
const MaxValueBytes = 1 << 10

// Project returns the parts of full that a decision under p depends on; what is absent
// in full is absent in the projection. It is full itself where p.Full says so. false: p
// names a field that this build does not know, so nothing may be asked or allowed.
func Project(full wire.Request, p wire.Policy) (wire.Request, bool) {
	if p.Full {
		return full, true
	}
	var cut wire.Request
	for _, field := range p.Vary {
		if !project(&cut, full, field) {
			return wire.Request{}, false
		}
	}
	return cut, true
}

// Resource says whether decisions under p depend on the resource that the operation
// requires.
func Resource(p wire.Policy) bool {
	return p.Full || slices.ContainsFunc(p.Vary, isResource)
}

func isResource(field wire.Field) bool { return len(field) == 1 && field[0] == "resource" }

func project(cut *wire.Request, full wire.Request, field wire.Field) bool {
	if isResource(field) {
		return true
	}
	if len(field) < 2 || field[0] != "request" {
		return false
	}
	switch len(field) {
	case 2:
		return projectWhole(cut, full, field[1])
	case 3:
		return projectPart(cut, full, field[1], field[2])
	}
	return false
}

func projectWhole(cut *wire.Request, full wire.Request, name string) bool {
	switch name {
	case "method":
		cut.Method = full.Method
	case "path":
		cut.Path = full.Path
	case "scheme":
		cut.Scheme = full.Scheme
	case "host":
		cut.Host = full.Host
	case "params":
		cut.Params = full.Params
	case "jwt": // this version of the wire carries none
	default:
		return false
	}
	return true
}

func projectPart(cut *wire.Request, full wire.Request, of, name string) bool {
	switch of {
	case "source":
		cut.Source = full.Source
		return name == "address"
	case "params":
		cut.Params = with(cut.Params, full.Params, name)
	case "query":
		cut.Query = with(cut.Query, full.Query, name)
	case "headers":
		cut.Headers = with(cut.Headers, full.Headers, name)
	default:
		return false
	}
	return true
}

// with adds full[name], where there is one, to cut.
func with[V any](cut, full map[string]V, name string) map[string]V {
	value, ok := full[name]
	if !ok {
		return cut
	}
	if cut == nil {
		cut = make(map[string]V, 1)
	}
	cut[name] = value
	return cut
}

// Kinds of values in a key. Absent, empty and empty list differ.
const (
	kindAbsent byte = iota
	kindText
	kindList
	kindObject
	kindResource
)

// AppendKey appends the values of p's fields to key, tagged by kind and prefixed by
// length, so that two requests append the same bytes only if every field is the same in
// both. resource is what the operation requires, nil when nothing.
//
// false: the decision cannot be cached, because p reads the whole input, because a value
// is longer than MaxValueBytes, or because p names a field that this build does not know.
func AppendKey(key []byte, full wire.Request, resource *wire.Resource, p wire.Policy) ([]byte, bool) {
	if p.Full {
		return key, false
	}
	for _, field := range p.Vary {
		var ok bool
		if key, ok = appendField(key, full, resource, field); !ok {
			return key, false
		}
	}
	return key, true
}

func appendField(key []byte, full wire.Request, resource *wire.Resource, field wire.Field) ([]byte, bool) {
	if isResource(field) {
		return appendResource(key, resource)
	}
	if len(field) < 2 || field[0] != "request" {
		return key, false
	}
	switch len(field) {
	case 2:
		return appendWhole(key, full, field[1])
	case 3:
		return appendPart(key, full, field[1], field[2])
	}
	return key, false
}

func appendWhole(key []byte, full wire.Request, name string) ([]byte, bool) {
	switch name {
	case "method":
		return appendOptional(key, full.Method)
	case "path":
		return appendOptional(key, full.Path)
	case "scheme":
		return appendOptional(key, full.Scheme)
	case "host":
		return appendOptional(key, full.Host)
	case "params":
		return appendObject(key, full.Params)
	case "jwt":
		return append(key, kindAbsent), true
	}
	return key, false
}

func appendPart(key []byte, full wire.Request, of, name string) ([]byte, bool) {
	switch of {
	case "source":
		if full.Source == nil {
			return append(key, kindAbsent), name == "address"
		}
		key, ok := appendText(key, full.Source.Address)
		return key, ok && name == "address"
	case "params":
		value, ok := full.Params[name]
		if !ok {
			return append(key, kindAbsent), true
		}
		return appendText(key, value)
	case "query":
		return appendList(key, full.Query, name)
	case "headers":
		return appendList(key, full.Headers, name)
	}
	return key, false
}

func appendOptional(key []byte, value *string) ([]byte, bool) {
	if value == nil {
		return append(key, kindAbsent), true
	}
	return appendText(key, *value)
}

func appendText(key []byte, value string) ([]byte, bool) {
	if len(value) > MaxValueBytes {
		return key, false
	}
	key = binary.AppendUvarint(append(key, kindText), uint64(len(value)))
	return append(key, value...), true
}

// appendList is bounded by MaxValueBytes for all values together, and keeps their order.
func appendList(key []byte, of map[string][]string, name string) ([]byte, bool) {
	values, ok := of[name]
	if !ok {
		return append(key, kindAbsent), true
	}
	key = binary.AppendUvarint(append(key, kindList), uint64(len(values)))
	start := len(key)
	for _, value := range values {
		if key, ok = appendText(key, value); !ok || len(key)-start > MaxValueBytes {
			return key, false
		}
	}
	return key, true
}

func appendObject(key []byte, members map[string]string) ([]byte, bool) {
	key = binary.AppendUvarint(append(key, kindObject), uint64(len(members)))
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	start := len(key)
	var ok bool
	for _, name := range names {
		if key, ok = appendText(key, name); !ok {
			return key, false
		}
		if key, ok = appendText(key, members[name]); !ok || len(key)-start > MaxValueBytes {
			return key, false
		}
	}
	return key, true
}

// appendResource takes the scope in: the same id under another workspace is another
// resource and may have another owner.
func appendResource(key []byte, resource *wire.Resource) ([]byte, bool) {
	if resource == nil {
		return append(key, kindAbsent), true
	}
	key, ok := appendText(append(key, kindResource), resource.Kind)
	if !ok {
		return key, false
	}
	if key, ok = appendText(key, resource.ID); !ok {
		return key, false
	}
	return appendObject(key, resource.Scope)
}
