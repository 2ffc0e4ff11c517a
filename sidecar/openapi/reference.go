package openapi

import (
	"fmt"
	"strconv"
	"strings"
)

// outside looks for references to other documents, which are refused: nothing is fetched.
// It does not look into examples, which are data.
func outside(v any, parts []string) error {
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			if err := outside(item, append(parts, strconv.Itoa(i))); err != nil {
				return err
			}
		}
	case object:
		for _, m := range v {
			reference, ok := m.value.(string)
			switch {
			case m.key == "$ref" && ok && !strings.HasPrefix(reference, "#"):
				return fmt.Errorf("%s refers to another document, %q; bundle them into one: nothing is fetched", pointer(append(parts, m.key)...), shortened(reference, 200))
			case isData(m.key, m.value, parts):
				continue
			}
			if err := outside(m.value, append(parts, m.key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isData says whether what stands under a key is an example or the like. Under properties
// and so on, keys are names.
func isData(key string, value any, parents []string) bool {
	if len(parents) > 0 {
		switch parents[len(parents)-1] {
		case "properties", "patternProperties", "definitions", "schemas", "$defs", "responses", "parameters", "headers", "examples":
			return false
		}
	}
	_, isList := value.([]any)
	return key == "example" || key == "default" || key == "enum" || key == "const" || key == "value" ||
		key == "examples" && isList || strings.HasPrefix(key, "x-")
}

// resolve follows local references from v to what is none. Members beside $ref do not count,
// as in 3.0; of 3.1 summary and description do.
func (im *importer) resolve(v any) (map[string]any, bool) {
	m := mapping(v)
	var summary, description any
	for range 32 {
		reference, ok := m["$ref"].(string)
		if !ok {
			if summary != nil || description != nil {
				m = mapping(plain(m))
				if description != nil {
					m["description"] = description
				}
				if summary != nil {
					m["summary"] = summary
				}
			}
			return m, m != nil
		}
		if description == nil {
			description = m["description"]
		}
		if summary == nil {
			summary = m["summary"]
		}
		target, ok := at(im.doc, reference)
		if !ok {
			return nil, false
		}
		m = mapping(target)
	}
	return nil, false // a cycle
}

// unfolded is how many values a document has where each reference stands for a copy of what
// it leads to; a cycle ends where it closes. It says too many beyond a bound: there, whoever
// walks through all of them does not come to an end.
type unfolding struct {
	root  any
	known map[string]int
	open  map[string]bool
}

const maxUnfolded = 2_000_000

func tooInterwoven(root map[string]any) bool {
	u := unfolding{root: root, known: map[string]int{}, open: map[string]bool{}}
	return u.size(root) > maxUnfolded
}

func (u *unfolding) size(v any) (n int) {
	n = 1
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			n = min(n+u.size(item), maxUnfolded+1)
		}
	case map[string]any:
		for _, value := range v {
			n = min(n+u.size(value), maxUnfolded+1)
		}
		if reference, ok := v["$ref"].(string); ok {
			n = min(n+u.follow(reference), maxUnfolded+1)
		}
	}
	return n
}

func (u *unfolding) follow(reference string) int {
	if n, ok := u.known[reference]; ok {
		return n
	}
	target, ok := at(u.root, reference)
	if u.open[reference] || !ok {
		return 1
	}
	u.open[reference] = true
	n := u.size(target)
	delete(u.open, reference)
	u.known[reference] = n
	return n
}

// shortened is a text with at most n characters.
func shortened(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}
