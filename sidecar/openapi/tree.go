package openapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// A tree is what JSON can hold: object or map[string]any, []any, string, bool, json.Number
// and nil. What is read keeps the order of its members; definitions do not.
type object []member

type member struct {
	key   string
	value any
}

func (o object) find(key string) (any, bool) {
	for _, m := range o {
		if m.key == key {
			return m.value, true
		}
	}
	return nil, false
}

// add appends a member unless its value is empty.
func (o *object) add(key string, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if v == "" {
			return
		}
	case object:
		if len(v) == 0 {
			return
		}
	case map[string]any:
		if len(v) == 0 {
			return
		}
	}
	*o = append(*o, member{key, value})
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := encoded(m.key)
		if err != nil {
			return nil, err
		}
		value, err := encoded(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encoded is JSON that leaves <, > and & as they are.
func encoded(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// plain is a tree without the order of its members, and a copy of it.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		m := make(map[string]any, len(v))
		for _, one := range v {
			m[one.key] = plain(one.value)
		}
		return m
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			m[key] = plain(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = plain(item)
		}
		return list
	}
	return v
}

// ordinary is what a Go value is as a tree.
func ordinary(v any) (any, error) {
	text, err := encoded(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	err = d.Decode(&tree)
	return tree, err
}

func same(a, b any) bool { return reflect.DeepEqual(plain(a), plain(b)) }

// mapping and list are v where it is one, else nothing.
func mapping(v any) map[string]any { m, _ := v.(map[string]any); return m }
func list(v any) []any             { l, _ := v.([]any); return l }
func text(v any) string            { s, _ := v.(string); return s }
func truth(v any) bool             { b, _ := v.(bool); return b }

// texts are the strings in a list.
func texts(v any) []string {
	var all []string
	for _, item := range list(v) {
		if s, ok := item.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is a JSON pointer (RFC 6901).
func pointer(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteByte('/')
		b.WriteString(pointerEscape.Replace(part))
	}
	return b.String()
}

var pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")

// at is what a local reference (#/...) leads to.
func at(root any, reference string) (any, bool) {
	rest, ok := strings.CutPrefix(reference, "#/")
	if !ok {
		return nil, false
	}
	for part := range strings.SplitSeq(rest, "/") {
		m := mapping(root)
		if root, ok = m[pointerUnescape.Replace(percentDecoded(part))]; !ok {
			return nil, false
		}
	}
	return root, true
}
