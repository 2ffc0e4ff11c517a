package admin

import (
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/internal/catalog"
)

// catalogPrefix begins the names of the catalog's schemas in the API's document.
const catalogPrefix = "catalog."

// catalogSchema refers to the schema of a part of the catalog.
func catalogSchema(definition string) *huma.Schema {
	return &huma.Schema{Ref: "#/components/schemas/" + catalogPrefix + definition}
}

// describeCatalog puts the catalog's schemas into the document: they describe the bodies that
// the store checks.
func (s *Server) describeCatalog(o *huma.OpenAPI) {
	text := strings.ReplaceAll(string(catalog.Schema), `"#/$defs/`, `"#/components/schemas/`+catalogPrefix)
	var file struct {
		Definitions map[string]*huma.Schema `yaml:"$defs"`
	}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil { // it is part of this program
		panic(fmt.Errorf("describing the catalog: %w", err))
	}
	for name, schema := range file.Definitions {
		o.Components.Schemas.Map()[catalogPrefix+name] = schema
	}
}

// specBody documents a body that is an object as in a catalog file.
func specBody(g group) *huma.RequestBody {
	return bodyOf(catalogSchema(string(g.kind)), typeJSON)
}

// bodyOf documents a body of any of some types.
func bodyOf(schema *huma.Schema, types ...string) *huma.RequestBody {
	b := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	for _, t := range types {
		b.Content[t] = &huma.MediaType{Schema: schema}
	}
	return b
}
