package openapi

import (
	"maps"
	"slices"

	"github.com/tollgate/tollgate/internal/catalog"
)

// keyScheme is a place of a consumer's key as a security scheme.
type keyScheme struct {
	name   string
	scheme map[string]any
}

// keySchemes are those of an API. Names that the document has for something else are left to it.
func keySchemes(keys catalog.Keys, taken map[string]any) []keyScheme {
	schemes := []keyScheme{
		{"gatewayKeyHeader", map[string]any{"type": "apiKey", "in": "header", "name": keys.Header, "description": "A subscription key of the gateway."}},
		{"gatewayKeyQuery", map[string]any{"type": "apiKey", "in": "query", "name": keys.Query, "description": "A subscription key of the gateway."}},
	}
	if keys.Bearer {
		schemes = append(schemes, keyScheme{"gatewayKeyBearer", map[string]any{"type": "http", "scheme": "bearer", "description": "A subscription key of the gateway."}})
	}
	for i := range schemes {
		for taken[schemes[i].name] != nil {
			schemes[i].name += "_"
		}
	}
	return schemes
}

// security takes away what Export has put in, and says of the rest that the gateway does not
// look at it.
func (im *importer) security() {
	components := mapping(im.doc["components"])
	schemes := mapping(components["securitySchemes"])
	if im.own != nil {
		im.keys(schemes, texts(im.own["key_schemes"]))
		if len(schemes) == 0 && components != nil && slices.Contains(texts(im.own["implied"]), "schemes") {
			delete(components, "securitySchemes")
		}
		delete(im.doc, "security")
		if original, ok := im.own["security"]; ok {
			im.doc["security"] = original
		}
	}
	for _, name := range slices.Sorted(maps.Keys(schemes)) {
		im.gap(Kept, pointer("components", "securitySchemes", name), "the gateway does not check it: keys of the gateway's subscriptions stand in its place, and what clients send besides goes on to the backend")
	}
}

// keys reads the places of a consumer's key, and removes their schemes.
func (im *importer) keys(schemes map[string]any, names []string) {
	if len(names) > 0 {
		im.api.Keys.Bearer = false
	}
	for _, name := range names {
		s := mapping(schemes[name])
		read := catalog.Keys{Header: text(s["name"]), Query: text(s["name"]), Bearer: true}
		for i, ours := range keySchemes(read, nil) {
			if !same(s, ours.scheme) {
				continue // it is another one by now
			}
			switch i {
			case 0:
				im.api.Keys.Header = read.Header
			case 1:
				im.api.Keys.Query = read.Query
			default:
				im.api.Keys.Bearer = true
			}
			delete(schemes, name)
		}
	}
}

// requirements is what a client has to send: one of the places of its key, or nothing where
// no subscription is needed, and with it what the backend wants, where that is passed on.
func requirements(api *catalog.API, schemes []keyScheme, original any) []any {
	ours := make([]any, 0, len(schemes)+1)
	for _, s := range schemes {
		ours = append(ours, map[string]any{s.name: []any{}})
	}
	if !api.SubscriptionRequired {
		ours = append(ours, map[string]any{})
	}
	theirs := list(original)
	if api.Backend.Authorization != catalog.DefaultAuthorization || len(theirs) == 0 {
		return ours
	}
	var both []any
	for _, a := range ours {
		for _, b := range theirs {
			one := map[string]any{}
			maps.Copy(one, mapping(a))
			maps.Copy(one, mapping(b))
			both = append(both, one)
		}
	}
	return both
}
