package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxDefinition is the size in bytes, as JSON, of the definitions of one API and of its
// operations together.
const MaxDefinition = 1 << 20

// maxDefinitionKey is the length in characters of a name in a definition. YAML reads longer
// ones only where they are marked.
const maxDefinitionKey = 256

// Definition is the part of an OpenAPI document that has no field of its own in a catalog.
// It is kept for people and their tools, and decides nothing.
//
// It holds what JSON can: map[string]any, []any, string, bool, json.Number and nil. Numbers
// keep their digits.
type Definition map[string]any

var definitionType = reflect.TypeFor[Definition]()

// UnmarshalJSON keeps numbers as they are written.
func (d *Definition) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var m map[string]any
	if err := decoder.Decode(&m); err != nil {
		return fmt.Errorf("reading definition: %w", err)
	}
	*d = m
	return nil
}

// MarshalJSON escapes what may stand in a catalog file only so.
func (d Definition) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(map[string]any(d))
	if err != nil || !bytes.ContainsFunc(text, escaped) {
		return text, err
	}
	var b bytes.Buffer
	for _, c := range string(text) {
		if escaped(c) {
			fmt.Fprintf(&b, `\u%04x`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.Bytes(), nil
}

// definition reads a mapping of anything.
func (d *decoder) definition(n *yaml.Node, out reflect.Value, p *path) {
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, definitionType, p)
		return
	}
	if m, ok := d.anything(n, p).(map[string]any); ok {
		out.Set(reflect.ValueOf(Definition(m)))
	}
}

// anything reads what stands at n as Definition describes it.
func (d *decoder) anything(n *yaml.Node, p *path) any {
	if n.Kind == yaml.AliasNode {
		d.inAlias++
		defer func() { d.inAlias-- }()
		n = n.Alias
	}
	switch {
	case d.tooManyAliased(n):
		return nil
	case n.Style&yaml.TaggedStyle != 0:
		d.structure(n, p, "tags (!name) are not supported")
		return nil
	case n.Kind == yaml.MappingNode:
		return d.mapping(n, p)
	case n.Kind == yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = d.anything(item, p.item(i))
		}
		return list
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return n.Value == "true" || n.Value == "True" || n.Value == "TRUE"
	case "!!int", "!!float":
		return d.number(n, p)
	}
	if !utf8.ValidString(n.Value) {
		d.structure(n, p, "is not text: it has half a character")
	}
	return n.Value
}

// mapping reads a mapping whose names may be numbers as well: responses of OpenAPI are
// named by their status.
func (d *decoder) mapping(n *yaml.Node, p *path) map[string]any {
	m := make(map[string]any, len(n.Content)/2)
	named := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.ScalarNode && key.Tag != "!!merge" && key.Style&yaml.TaggedStyle == 0 {
			key = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key.Value, Line: key.Line, Column: key.Column}
		}
		if fault := definitionKeyFault(key.Value); fault != "" {
			d.add(key.Line, key.Column, p, "the name of a field %s", fault)
			continue
		}
		named.Content = append(named.Content, key, n.Content[i+1])
	}
	d.fields(named, p, func(key, value *yaml.Node, q *path) { m[key.Value] = d.anything(value, q) })
	return m
}

func definitionKeyFault(key string) string {
	if utf8.RuneCountInString(key) > maxDefinitionKey {
		return fmt.Sprintf("must have at most %d characters", maxDefinitionKey)
	}
	for _, c := range key {
		if !strconv.IsPrint(c) {
			return fmt.Sprintf("must have printable characters only; U+%04X is none", c)
		}
	}
	return ""
}

// number keeps a number that JSON can write as it is written, and writes others anew.
func (d *decoder) number(n *yaml.Node, p *path) any {
	if json.Valid([]byte(n.Value)) {
		return json.Number(n.Value)
	}
	var whole int64
	if n.Tag == "!!int" && n.Decode(&whole) == nil {
		return json.Number(strconv.FormatInt(whole, 10))
	}
	var fraction float64
	if n.Decode(&fraction) == nil {
		if text, err := json.Marshal(fraction); err == nil {
			return json.Number(text)
		}
	}
	d.structure(n, p, "is a number that JSON does not have")
	return nil
}

// definitions bounds the definitions of an API.
func (k *checker) definitions(p *path, a *API) {
	left := MaxDefinition
	take := func(q *path, d Definition) bool {
		if len(d) == 0 {
			return true
		}
		text, err := json.Marshal(d)
		if left -= len(text); err != nil || left < 0 {
			k.on(q, "must have at most 1 MiB as JSON, together with the other definitions of the API")
			return false
		}
		return true
	}
	if !take(p.field("definition"), a.Definition) {
		return
	}
	for i := range a.Operations {
		if !take(p.field("operations").item(i).field("definition"), a.Operations[i].Definition) {
			return
		}
	}
}
