package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

const (
	// maxOperations is how many an API of the catalog has.
	maxOperations = 1000
	// harmless is a backend's URL that every catalog takes.
	harmless = "https://backend.example.com"
	// Values that Export adds where a document needs them, and Import takes away.
	impliedOpenAPI  = "3.1.0"
	impliedVersion  = "1.0"
	impliedResponse = "What the backend answers."
)

// methods are those that the gateway knows, as a document spells them.
var methods = []string{"get", "head", "post", "put", "patch", "delete", "options"}

// candidate is an operation on its way into the catalog.
type candidate struct {
	catalog.Operation
	key     string         // of its path
	at      string         // its pointer
	raw     map[string]any // as in the document; what is taken is deleted
	whole   map[string]any // as in the document, with its path's parameters
	own     map[string]any
	names   []string // it may have, the best first
	origins []int    // of its parameters in the document
	shared  int      // how many parameters before those of its own are the path's
	dropped map[int]bool
}

// operations takes the operations of the document, and leaves what it cannot take where it
// is.
func (im *importer) operations() {
	paths := mapping(im.doc["paths"])
	kept := map[string]any{}
	var all []*candidate
	for _, m := range im.order {
		value, ok := paths[m.key]
		switch {
		case !ok:
			continue // the conversion has dropped it
		case strings.HasPrefix(m.key, "x-"):
			kept[m.key] = value
			continue
		}
		item, ok := im.resolve(value)
		if !ok {
			im.gap(Lost, pointer("paths", m.key), "its reference leads nowhere")
			kept[m.key] = value
			continue
		}
		found, rest := im.pathItem(m.key, item, m.value)
		all = append(all, found...)
		if len(rest) > 0 || len(found) == 0 {
			kept[m.key] = rest
		}
	}
	if len(all) > maxOperations {
		for _, c := range all[maxOperations:] {
			im.leave(kept, c, fmt.Sprintf("an API has at most %d operations", maxOperations))
		}
		all = all[:maxOperations]
	}
	all = im.accepted(all, kept)
	im.inOrder(all)
	for _, c := range all {
		im.describe(c)
		im.api.Operations = append(im.api.Operations, c.Operation)
	}
	if len(all) == 0 {
		im.gap(Lost, pointer("paths"), "there is no operation that can be taken, and an API needs one")
	}
	delete(im.doc, "paths")
	if len(kept) > 0 {
		im.doc["paths"] = kept
	}
}

// pathItem is the operations of a path, and what else stands there.
func (im *importer) pathItem(key string, item map[string]any, order any) (found []*candidate, rest map[string]any) {
	rest = mapping(plain(item))
	at := pointer("paths", key)
	shared := list(item["parameters"])
	names := slices.Clone(methods)
	if o, ok := order.(object); ok {
		names = nil
		for _, m := range o {
			names = append(names, m.key)
		}
		for _, method := range methods { // of a path by reference
			if !slices.Contains(names, method) {
				names = append(names, method)
			}
		}
	}
	others := false
	for _, name := range names {
		op := mapping(item[name])
		switch {
		case op == nil:
		case slices.Contains(methods, name):
			found = append(found, im.candidate(key, name, op, shared))
			delete(rest, name)
		case name == "trace" || name == "query" || name == "additionalOperations":
			others = true
			im.gap(Lost, at+pointer(name), "the gateway knows the methods %s, and refuses others", strings.ToUpper(strings.Join(methods, ", ")))
		}
	}
	if _, ok := rest["servers"]; ok {
		im.gap(Changed, at+pointer("servers"), "requests go to the API's one backend")
	}
	if !others && len(found) > 0 {
		delete(rest, "parameters") // which the operations have by now
	}
	return found, rest
}

// candidate reads an operation.
func (im *importer) candidate(key, method string, op map[string]any, shared []any) *candidate {
	c := &candidate{key: key, at: pointer("paths", key, method), raw: mapping(plain(op)), own: mapping(op[ownKey])}
	if im.own == nil {
		c.own = nil
	}
	c.Method, c.Template = strings.ToUpper(method), templateOf(key)
	c.Description = tidyText(text(op["description"]), longestDescription)
	if description, ok := c.own["description"].(string); ok {
		c.Description = description
	}
	if more := mapping(c.own["operation"]); more != nil {
		if data, err := encoded(more); err != nil || json.Unmarshal(data, &struct {
			Creates  *string
			Requires *string
			Limits   *[]catalog.Limit
		}{&c.Creates, &c.Requires, &c.Limits}) != nil {
			im.gap(Lost, c.at+pointer(ownKey, "operation"), "it cannot be read")
		}
	}
	delete(c.raw, ownKey)
	c.whole = mapping(plain(op))
	if all := im.mergedParameters(shared, list(op["parameters"])); len(all) > 0 {
		c.whole["parameters"] = all
	}
	raws := im.mergedParameters(shared, im.withoutImplied(c, list(op["parameters"])))
	c.shared = len(raws) - len(list(op["parameters"]))
	delete(c.raw, "parameters")
	if len(raws) > 0 {
		c.raw["parameters"] = raws
	}
	im.project(c, raws)
	fallback := c.Method + " " + c.Template
	for _, name := range []string{text(c.own["name"]), text(op["operationId"]), text(op["summary"]), fallback} {
		if name = tidyName(name); name != "" {
			c.names = append(c.names, name)
		}
	}
	return c
}

// withoutImplied is parameters without those that Export has added.
func (im *importer) withoutImplied(c *candidate, raws []any) []any {
	implied := texts(c.own["implied_parameters"])
	return slices.DeleteFunc(slices.Clone(raws), func(raw any) bool {
		name := text(mapping(raw)["name"])
		return slices.Contains(implied, name) && same(raw, impliedParameter(name))
	})
}

// project takes an operation's parameters, and says which it cannot take.
func (im *importer) project(c *candidate, raws []any) {
	p := projecting{resolve: im.resolve, keys: im.api.Keys, key: c.key, template: c.Template}
	result := p.project(raws)
	c.Parameters, c.origins = result.parameters, result.origins
	var kept []any
	for i, raw := range raws {
		gap, refused := result.refused[i]
		if refused {
			im.gap(gap.Severity, c.parameterAt(i), "%s", gap.Reason)
		}
		if gap.Reason != notInPath {
			kept = append(kept, raw)
		}
	}
	if len(kept) < len(raws) {
		c.raw["parameters"] = kept
		if len(kept) == 0 {
			delete(c.raw, "parameters")
		}
	}
	if c.own == nil && strings.Contains(c.key, "?") {
		im.gap(Changed, pointer("paths", c.key), "the path has a query, which is not a part of it: it was taken as parameters, and requests without it reach the backend too")
	}
}

func (c *candidate) parameterAt(i int) string {
	if i >= c.shared {
		return c.at + pointer("parameters", strconv.Itoa(i-c.shared))
	}
	return c.at + pointer("parameters") // the path's, or a reference
}

// leave keeps an operation in the document that the catalog does not take.
func (im *importer) leave(kept map[string]any, c *candidate, reason string) {
	im.gap(Lost, c.at, "%s", reason)
	item := mapping(kept[c.key])
	if item == nil {
		item = map[string]any{}
		kept[c.key] = item
	}
	item[strings.ToLower(c.Method)] = c.whole
}

// describe keeps what of an operation the catalog has no field for.
func (im *importer) describe(c *candidate) {
	if callbacks := mapping(c.raw["callbacks"]); len(callbacks) > 0 {
		im.gap(Kept, c.at+pointer("callbacks"), "calls of the backend to its clients do not pass the gateway")
	}
	implied := texts(c.own["implied"])
	if slices.Contains(implied, "summary") && text(c.raw["summary"]) == c.Name {
		delete(c.raw, "summary")
	}
	if slices.Contains(implied, "responses") && same(c.raw["responses"], impliedResponses()) {
		delete(c.raw, "responses")
	}
	if c.own != nil {
		delete(c.raw, "security")
		delete(c.raw, "servers")
		for _, field := range []string{"security", "servers"} {
			if original, ok := c.own[field]; ok {
				c.raw[field] = original
			}
		}
	}
	if _, ok := c.raw["servers"]; ok {
		im.gap(Changed, c.at+pointer("servers"), "requests go to the API's one backend")
	}
	if text(c.raw["description"]) == c.Description {
		delete(c.raw, "description")
	} else if c.own == nil {
		im.gap(Changed, c.at+pointer("description"), "the operation's description is a part of it: it has at most %d characters", longestDescription)
	}
	im.keepParameters(c)
	if c.key != c.Template {
		c.raw[ownKey] = map[string]any{"path": c.key}
	}
	if len(c.raw) > 0 {
		c.Definition = maps.Clone(c.raw)
	}
}

// keepParameters keeps the document's parameters where they say more than the catalog's.
func (im *importer) keepParameters(c *candidate) {
	raws := list(c.raw["parameters"])
	simple := true
	var again []any
	for i := range c.Parameters {
		if c.origins[i] < 0 {
			continue
		}
		simple = simple && !c.dropped[i]
		again = append(again, rebuilt(&c.Parameters[i]))
	}
	if simple && len(again) == len(raws) && same(again, raws) {
		delete(c.raw, "parameters")
	}
	for i := len(c.Parameters) - 1; i >= 0; i-- {
		if c.dropped[i] {
			im.gap(Kept, c.parameterAt(max(c.origins[i], 0)), "the catalog does not take it, and requests with it pass")
			c.Parameters = slices.Delete(c.Parameters, i, i+1)
		}
	}
	if len(c.Parameters) == 0 {
		c.Parameters = nil
	}
}

func impliedResponses() object {
	return object{{"default", object{{"description", impliedResponse}}}}
}

// lostByConversion says what of a document of version 2.0 the conversion does not carry over.
func (im *importer) lostByConversion() {
	for key, value := range mapping(im.doc["paths"]) {
		item := mapping(value)
		for _, method := range methods {
			op := mapping(item[method])
			if _, ok := op["schemes"]; ok {
				im.gap(Changed, pointer("paths", key, method, "schemes"), "requests go to the API's one backend")
			}
			for i, raw := range list(op["parameters"]) {
				if text(mapping(raw)["collectionFormat"]) == "tsv" {
					im.gap(Lost, pointer("paths", key, method, "parameters", strconv.Itoa(i), "collectionFormat"), "version 3 has no lists with tabs")
				}
			}
		}
	}
}
