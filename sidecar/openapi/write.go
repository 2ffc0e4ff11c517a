package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// written is a document as text.
func written(document object, format Format) ([]byte, error) {
	switch format {
	case JSON, "":
		data, err := encoded(document)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := json.Indent(&b, data, "", "  "); err != nil {
			return nil, err
		}
		b.WriteByte('\n')
		return b.Bytes(), nil
	case YAML:
		n, err := node(document)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		e := yaml.NewEncoder(&b)
		e.SetIndent(2)
		if err := e.Encode(n); err != nil {
			return nil, err
		}
		return b.Bytes(), e.Close()
	}
	return nil, fmt.Errorf("%q is no format: json or yaml", format)
}

// node is a tree as YAML has it.
func node(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case object:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, m := range v {
			if err := addTo(n, m.key, m.value); err != nil {
				return nil, err
			}
		}
		return n, nil
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := addTo(n, key, v[key]); err != nil {
				return nil, err
			}
		}
		return n, nil
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, item := range v {
			child, err := node(item)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		return n, nil
	case string:
		return textNode(v), nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}, nil
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
	// A number; JSON's are YAML's.
	data, err := encoded(v)
	return &yaml.Node{Kind: yaml.ScalarNode, Value: string(data)}, err
}

func addTo(n *yaml.Node, key string, value any) error {
	child, err := node(value)
	n.Content = append(n.Content, textNode(key), child)
	return err
}

// bare is a text that needs no quotes in any YAML, and no boolean of an old one.
var bare = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./{}-]*( [A-Za-z0-9_./(){}-]+)*$`)

var words = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

// textNode is a text that YAML takes for nothing else.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case strings.Contains(s, "\n"):
		n.Style = yaml.LiteralStyle // where it can be
	case !bare.MatchString(s) || slices.Contains(words, strings.ToLower(s)):
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
