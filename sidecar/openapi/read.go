package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth is how deep a document is nested at most, maxNodes how many values it has,
	// also where YAML's aliases repeat them.
	maxDepth = 100
	maxNodes = 400_000
)

var (
	errDeep = fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	errMany = fmt.Errorf("it has more than %d values", maxNodes)
)

// read reads a document, JSON or YAML, with its members in their order.
func read(data []byte) (object, error) {
	switch {
	case len(data) > MaxSize:
		return nil, fmt.Errorf("it is larger than %d MiB", MaxSize>>20)
	case !utf8.Valid(data):
		return nil, errors.New("it is not UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	var tree any
	var err error
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		if tree, err = readJSON(data); err != nil {
			// YAML's flow style begins with a brace as well.
			if again, asYAML := readYAML(data); asYAML == nil {
				tree, err = again, nil
			}
		}
	} else {
		tree, err = readYAML(data)
	}
	if err != nil {
		return nil, err
	}
	o, ok := tree.(object)
	if !ok {
		return nil, errors.New("it is no mapping")
	}
	return o, nil
}

// reading counts what a document has.
type reading struct{ nodes int }

func (r *reading) count(depth int) error {
	if r.nodes++; r.nodes > maxNodes {
		return errMany
	}
	if depth > maxDepth {
		return errDeep
	}
	return nil
}

func readJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var r reading
	tree, err := r.json(d, 0)
	if err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("JSON: something follows the document")
	}
	return tree, nil
}

func (r *reading) json(d *json.Decoder, depth int) (any, error) {
	if err := r.count(depth); err != nil {
		return nil, err
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		items := []any{}
		for d.More() {
			item, err := r.json(d, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		_, err := d.Token()
		return items, err
	case json.Delim('{'):
		o, seen := object{}, map[string]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name := key.(string) // a decoder gives nothing else there
			if seen[name] {
				return nil, fmt.Errorf("%q stands twice in one object", name)
			}
			seen[name] = true
			value, err := r.json(d, depth+1)
			if err != nil {
				return nil, err
			}
			o = append(o, member{name, value})
		}
		_, err := d.Token()
		return o, err
	}
	return token, nil
}

func readYAML(data []byte) (tree any, err error) {
	defer func() { // the YAML package panics on a few malformed inputs
		if problem := recover(); problem != nil {
			tree, err = nil, fmt.Errorf("YAML: %v", problem)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := d.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it is empty")
		}
		return nil, fmt.Errorf("YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("YAML: there is more than one document")
	}
	var r reading
	return r.yaml(document.Content[0], 0)
}

func (r *reading) yaml(n *yaml.Node, depth int) (any, error) {
	if err := r.count(depth); err != nil {
		return nil, err
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.yaml(n.Alias, depth+1)
	case yaml.SequenceNode:
		items := make([]any, 0, len(n.Content))
		for _, child := range n.Content {
			item, err := r.yaml(child, depth+1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return items, nil
	case yaml.MappingNode:
		return r.members(n, depth)
	}
	return scalar(n)
}

func (r *reading) members(n *yaml.Node, depth int) (object, error) {
	o, seen := object{}, map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, fmt.Errorf("YAML: line %d: the name of a field is no text", key.Line)
		case key.Tag == "!!merge":
			return nil, fmt.Errorf("YAML: line %d: merge keys (<<) are not supported", key.Line)
		case seen[key.Value]:
			return nil, fmt.Errorf("YAML: line %d: %q stands twice in one mapping", key.Line, key.Value)
		}
		seen[key.Value] = true
		value, err := r.yaml(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		o = append(o, member{key.Value, value})
	}
	return o, nil
}

// scalar reads what is no collection. A time is text: JSON has none.
func scalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!str", "!!timestamp":
		return n.Value, nil
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value), nil
		}
		var whole int64
		if n.Decode(&whole) == nil {
			return json.Number(strconv.FormatInt(whole, 10)), nil
		}
		var fraction float64
		if n.Decode(&fraction) == nil {
			if text, err := json.Marshal(fraction); err == nil {
				return json.Number(text), nil
			}
		}
		return nil, fmt.Errorf("YAML: line %d: JSON has no number %s", n.Line, n.Value)
	}
	return nil, fmt.Errorf("YAML: line %d: tags (!name) are not supported", n.Line)
}

func percentDecoded(part string) string {
	if decoded, err := url.PathUnescape(part); err == nil {
		return decoded
	}
	return part
}
