package openapi

import (
	"cmp"
	"slices"

	"github.com/tollgate/tollgate/internal/catalog"
)

// operation is an operation in the document's words.
func (x *exporter) operation(op *catalog.Operation, key string) object {
	m := mapping(plain(map[string]any(op.Definition)))
	if m == nil {
		m = map[string]any{}
	}
	own, implied := object{}, []any(nil)
	delete(m, ownKey)
	_, identified := m["operationId"]
	if _, ok := m["summary"]; !identified && !ok {
		m["summary"] = op.Name
		implied = append(implied, "summary")
	}
	if tidyName(cmp.Or(text(m["operationId"]), text(m["summary"]))) != op.Name {
		own.add("name", op.Name)
	}
	if _, ok := m["description"].(string); ok {
		own = append(own, member{"description", op.Description})
	} else if op.Description != "" {
		m["description"] = op.Description
	}
	if _, ok := m["responses"]; !ok {
		m["responses"] = impliedResponses()
		implied = append(implied, "responses")
	}
	parameters, impliedParameters := x.parameters(op, key, m)
	if delete(m, "parameters"); len(parameters) > 0 {
		m["parameters"] = parameters
	}
	x.clientSide(m, &own)
	if len(implied) > 0 {
		own = append(own, member{"implied", implied})
	}
	if len(impliedParameters) > 0 {
		own = append(own, member{"implied_parameters", impliedParameters})
	}
	if x.options.Full {
		own.add("operation", limits(op))
	}
	if len(own) > 0 {
		m[ownKey] = own
	}
	return ordered(m, operationOrder)
}

// clientSide puts what clients need in the place of what the backend wants.
func (x *exporter) clientSide(m map[string]any, own *object) {
	if original, ok := m["security"]; ok {
		*own = append(*own, member{"security", original})
		delete(m, "security")
		if x.api.Backend.Authorization == catalog.DefaultAuthorization {
			m["security"] = requirements(x.api, x.schemes, original)
		}
	}
	if original, ok := m["servers"]; ok {
		if x.options.Full {
			*own = append(*own, member{"servers", original})
		}
		delete(m, "servers")
	}
}

// limits is what of an operation is no business of clients.
func limits(op *catalog.Operation) object {
	var o object
	o.add("creates", op.Creates)
	o.add("requires", op.Requires)
	if len(op.Limits) > 0 {
		if tree, err := ordinary(op.Limits); err == nil {
			o = append(o, member{"limits", tree})
		}
	}
	return o
}

// parameters are those of the document where the catalog says the same, and what the catalog
// says where it says something else. A path's parameters have to be among them.
func (x *exporter) parameters(op *catalog.Operation, key string, m map[string]any) (all, implied []any) {
	im := &importer{doc: x.definition}
	if im.doc == nil {
		im.doc = map[string]any{}
	}
	p := projecting{resolve: im.resolve, keys: x.api.Keys, key: key, template: op.Template}
	raws := list(m["parameters"])
	was := p.project(raws)
	from := map[int]*catalog.Parameter{}
	now := map[string]*catalog.Parameter{}
	for i := range op.Parameters {
		now[identity(&op.Parameters[i])] = &op.Parameters[i]
	}
	known := map[string]bool{}
	for i := range was.parameters {
		id := identity(&was.parameters[i])
		switch current := now[id]; {
		case was.origins[i] >= 0:
			from[was.origins[i]] = current
			known[id] = true
		case current != nil && *current == was.parameters[i]: // it is in the path
			known[id] = true
		}
	}
	for i, raw := range raws {
		current, taken := from[i]
		gap, refused := was.refused[i]
		switch resolved, _ := im.resolve(raw); {
		case gap.Reason == notInPath:
		case refused, taken && current != nil && projected(resolved) == *current:
			all = append(all, raw)
		case taken && current != nil:
			all = append(all, overridden(resolved, current))
		}
	}
	for i := range op.Parameters {
		if id := identity(&op.Parameters[i]); !known[id] {
			all = append(all, rebuilt(&op.Parameters[i]))
		}
	}
	for _, name := range templateNames(op.Template) {
		if !slices.ContainsFunc(all, func(raw any) bool {
			r, _ := im.resolve(plain(raw))
			return text(r["in"]) == "path" && text(r["name"]) == name
		}) {
			all, implied = append(all, impliedParameter(name)), append(implied, name)
		}
	}
	return all, implied
}
