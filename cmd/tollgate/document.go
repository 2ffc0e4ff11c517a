package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// yamlOf is JSON as YAML, with its fields in the same order.
func yamlOf(text []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	node, err := yamlNode(d)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(node); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// yamlNode reads one JSON value.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		return yamlCollection(d, v)
	case string:
		return yamlText(v), nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// oldValue is a text that YAML 1.1, which many programs still read, takes for a truth value or
// a number, and ours does not.
var oldValue = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$`)

// yamlText is a text; one of several lines is written as such.
func yamlText(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	if oldValue.MatchString(text) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func yamlCollection(d *json.Decoder, open json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	if open == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for d.More() {
		item, err := yamlNode(d)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, item)
	}
	_, err := d.Token() // the end
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	return n, err
}

// jsonOf is a YAML value as JSON, with its fields in the same order, times and numbers as
// they are written.
func jsonOf(n *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	w := jsonWriter{out: &b, left: maxNodes}
	if err := w.value(n); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxNodes bounds what aliases may make of a short file.
const maxNodes = 4 << 20

type jsonWriter struct {
	out  *bytes.Buffer
	left int
}

func (w *jsonWriter) value(n *yaml.Node) error {
	if w.left--; w.left < 0 {
		return errors.New("aliases (*name) repeat too many values; write fewer")
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return w.value(n.Content[0])
	case yaml.AliasNode:
		return w.value(n.Alias)
	case yaml.SequenceNode, yaml.MappingNode:
		return w.collection(n)
	}
	if n.Tag == "!!str" || n.Tag == "!!timestamp" {
		return w.text(n.Value)
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("line %d: %q is no value that JSON has", n.Line, n.Value)
	}
	w.out.Write(text)
	return nil
}

func (w *jsonWriter) collection(n *yaml.Node) error {
	open, end := byte('['), byte(']')
	if n.Kind == yaml.MappingNode {
		open, end = '{', '}'
	}
	w.out.WriteByte(open)
	for i, item := range n.Content {
		name := n.Kind == yaml.MappingNode && i%2 == 0
		switch {
		case name && i > 0, !name && n.Kind == yaml.SequenceNode && i > 0:
			w.out.WriteByte(',')
		case !name && n.Kind == yaml.MappingNode:
			w.out.WriteByte(':')
		}
		if name && (item.Kind != yaml.ScalarNode || item.Tag == "!!merge") {
			return fmt.Errorf("line %d: the name of a field must be text; merge keys (<<) are not supported", item.Line)
		}
		if name {
			if err := w.text(item.Value); err != nil {
				return err
			}
			continue
		}
		if err := w.value(item); err != nil {
			return err
		}
	}
	w.out.WriteByte(end)
	return nil
}

// text writes a string. What must not stand in a catalog file as it is stands there by its
// number.
func (w *jsonWriter) text(s string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return err
	}
	for _, c := range strings.TrimSuffix(b.String(), "\n") {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c == '\uFEFF' || c == '\uFFFE' || c == '\uFFFF' {
			fmt.Fprintf(w.out, `\u%04X`, c)
			continue
		}
		w.out.WriteRune(c)
	}
	return nil
}

// documents reads every document of a YAML or JSON file; empty ones are left out.
func documents(data []byte) (list []*yaml.Node, err error) {
	defer func() {
		if problem := recover(); problem != nil { // the YAML package panics on some malformed input
			list, err = nil, fmt.Errorf("yaml: %v", problem)
		}
	}()
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		n := new(yaml.Node)
		switch err := d.Decode(n); {
		case errors.Is(err, io.EOF):
			return list, nil
		case err != nil:
			return nil, err
		case len(n.Content) > 0 && n.Content[0].Tag != "!!null":
			list = append(list, n.Content[0])
		}
	}
}

// within returns the value of a field of a mapping, or nil.
func within(n *yaml.Node, name string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// at returns the node at a field's path, like apis[0].backend.url or attributes["a b"], or
// the nearest above it that there is.
func at(root *yaml.Node, field string) *yaml.Node {
	for n := root; ; {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		step, rest := firstStep(field)
		if step == "" {
			return n
		}
		next := within(n, step)
		if n.Kind == yaml.SequenceNode {
			var i int
			if _, err := fmt.Sscanf(step, "%d", &i); err == nil && i >= 0 && i < len(n.Content) {
				next = n.Content[i]
			}
		}
		if next == nil {
			return n
		}
		n, field = next, rest
	}
}

// firstStep splits a field's path after its first name or index.
func firstStep(field string) (step, rest string) {
	field = strings.TrimPrefix(field, ".")
	if !strings.HasPrefix(field, "[") {
		if i := strings.IndexAny(field, ".["); i >= 0 {
			return field[:i], field[i:]
		}
		return field, ""
	}
	if strings.HasPrefix(field, `["`) {
		var name string
		d := json.NewDecoder(strings.NewReader(field[1:]))
		if d.Decode(&name) == nil {
			return name, strings.TrimPrefix(field[1+d.InputOffset():], "]")
		}
	}
	step, rest, _ = strings.Cut(field[1:], "]")
	return step, rest
}
