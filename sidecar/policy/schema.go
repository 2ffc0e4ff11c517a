package policy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/tollgate/tollgate/policies"
)

// schema is the part of JSON Schema that policies/schemas/input.json uses.
type schema struct {
	Type                 string            `json:"type"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties json.RawMessage   `json:"additionalProperties"`
	Items                *schema           `json:"items"`
	AnyOf                []schema          `json:"anyOf"`
}

// inputSchema reads the embedded schema; that it can be read is a matter of the build.
var inputSchema = sync.OnceValues(func() (schema, error) {
	var s schema
	text, err := fs.ReadFile(policies.FS, policies.InputSchema)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the schema of input: %w", err)
	}
	return s, nil
})

// schemas is what METADATA can name: schema.input.
func schemas() (*ast.SchemaSet, error) {
	text, err := fs.ReadFile(policies.FS, policies.InputSchema)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of input: %w", err)
	}
	var document any
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("reading the schema of input: %w", err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.MustParseRef("schema.input"), document)
	return set, nil
}

// inSchema says whether any input can have a value at prefix.
func inSchema(prefix ast.Ref) bool {
	s, err := inputSchema()
	if err != nil {
		return true // schemas has reported it
	}
	return s.has(prefix[1:])
}

func (s schema) has(path ast.Ref) bool {
	if len(path) == 0 {
		return true
	}
	for _, option := range s.AnyOf {
		if option.has(path) {
			return true
		}
	}
	name, isName := path[0].Value.(ast.String)
	_, isIndex := path[0].Value.(ast.Number)
	switch s.Type {
	case "object":
		if member, ok := s.Properties[string(name)]; ok && isName {
			return member.has(path[1:])
		}
		var additional schema
		if !isName || json.Unmarshal(s.AdditionalProperties, &additional) != nil {
			return false // false is no schema
		}
		return additional.has(path[1:])
	case "array":
		return isIndex && s.Items != nil && s.Items.has(path[1:])
	case "":
		return s.AnyOf == nil
	}
	return false
}
