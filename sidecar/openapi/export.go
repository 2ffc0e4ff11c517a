package openapi

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

// Export writes a document of the API as clients of the gateway see it, of the version that
// it was imported with, 3.0 or 3.1. What Import read is in it again, but for what the gateway
// puts in its place: servers, and what is required of clients.
func Export(api catalog.API, o ExportOptions) ([]byte, error) {
	x := &exporter{api: &api, options: o, definition: mapping(plain(map[string]any(api.Definition))), own: object{}}
	document, err := x.document()
	if err != nil {
		return nil, fmt.Errorf("exporting API %q: %w", api.Name, err)
	}
	data, err := written(document, o.Format)
	if err != nil {
		return nil, fmt.Errorf("exporting API %q: %w", api.Name, err)
	}
	return data, nil
}

// exporter is one export.
type exporter struct {
	api        *catalog.API
	options    ExportOptions
	definition map[string]any // what is written from it is deleted
	schemes    []keyScheme
	own        object // goes under ownKey
	implied    []any
}

// rootOrder and operationOrder are how documents are mostly written; other members follow.
var (
	rootOrder      = []string{"openapi", "jsonSchemaDialect", "info", "servers", "tags", "paths", "webhooks", "components", "security", "externalDocs"}
	operationOrder = []string{"tags", "summary", "description", "externalDocs", "operationId", "parameters", "requestBody", "responses", "callbacks",
		"deprecated", "security", "servers"}
)

func (x *exporter) document() (object, error) {
	root := x.definition
	if root == nil {
		root = map[string]any{}
	}
	delete(root, ownKey)
	if text(root["openapi"]) == "" {
		root["openapi"] = impliedOpenAPI
		x.implied = append(x.implied, "openapi")
	}
	root["info"] = x.info(mapping(root["info"]))
	servers, err := x.servers()
	if err != nil {
		return nil, err
	}
	x.own.add("suffix", x.api.Suffix)
	if original, ok := root["servers"]; ok && x.options.Full {
		x.own = append(x.own, member{"servers", original})
	}
	root["servers"] = servers
	components := mapping(root["components"])
	if components == nil {
		components = map[string]any{}
	}
	root["components"] = x.security(root, components)
	paths, order, err := x.paths(mapping(root["paths"]))
	if err != nil {
		return nil, err
	}
	root["paths"] = paths
	if len(order) > 0 {
		x.own = append(x.own, member{"order", order})
	}
	if len(x.implied) > 0 {
		x.own = append(x.own, member{"implied", x.implied})
	}
	if x.options.Full {
		if err := x.whole(); err != nil {
			return nil, err
		}
	}
	root[ownKey] = x.own
	return ordered(root, rootOrder), nil
}

// ordered is a mapping's members, those in order first and ownKey last.
func ordered(m map[string]any, order []string) object {
	var o object
	for _, key := range order {
		if v, ok := m[key]; ok {
			o = append(o, member{key, v})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(order, key) && key != ownKey {
			o = append(o, member{key, m[key]})
		}
	}
	if own, ok := m[ownKey]; ok {
		o = append(o, member{ownKey, own})
	}
	return o
}

// info says the API's name and description, unless the document had ones that are too long
// for a catalog.
func (x *exporter) info(info map[string]any) object {
	if info == nil {
		info = map[string]any{}
	}
	if title, ok := info["title"].(string); ok && title != x.api.Name {
		x.own.add("name", x.api.Name)
	} else {
		info["title"] = x.api.Name
	}
	if _, ok := info["description"].(string); ok {
		x.own = append(x.own, member{"description", x.api.Description})
	} else if x.api.Description != "" {
		info["description"] = x.api.Description
	}
	if _, ok := info["version"]; !ok {
		info["version"] = impliedVersion
		x.implied = append(x.implied, "version")
	}
	return ordered(info, []string{"title", "summary", "description", "version"})
}

// servers are the gateway's URLs of the API.
func (x *exporter) servers() ([]any, error) {
	server := func(u url.URL) any {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/" + x.api.Suffix
		return object{{"url", u.String()}}
	}
	if x.options.Gateway == "" {
		return []any{server(url.URL{})}, nil
	}
	u, err := url.Parse(x.options.Gateway)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the gateway's URL must be one like https://gateway.example.com")
	}
	if len(x.api.Hosts) == 0 {
		return []any{server(*u)}, nil
	}
	var all []any
	for _, host := range x.api.Hosts { // it answers on these alone
		one := *u
		one.Host = host
		if port := u.Port(); port != "" {
			one.Host += ":" + port
		}
		all = append(all, server(one))
	}
	return all, nil
}

// security says where the consumer's key stands.
func (x *exporter) security(root, components map[string]any) map[string]any {
	schemes := mapping(components["securitySchemes"])
	if schemes == nil {
		schemes = map[string]any{}
		x.implied = append(x.implied, "schemes")
	}
	x.schemes = keySchemes(x.api.Keys, schemes)
	var names []any
	for _, s := range x.schemes {
		schemes[s.name] = s.scheme
		names = append(names, s.name)
	}
	components["securitySchemes"] = schemes
	x.own = append(x.own, member{"key_schemes", names})
	original, ok := root["security"]
	if ok {
		x.own = append(x.own, member{"security", original})
	}
	root["security"] = requirements(x.api, x.schemes, original)
	return components
}

// whole adds what clients do not need to know.
func (x *exporter) whole() error {
	api := *x.api
	api.Operations, api.Definition = nil, nil
	tree, err := ordinary(api)
	if err != nil {
		return err
	}
	m := mapping(tree)
	for _, key := range []string{"name", "description", "suffix", "operations"} { // which stand elsewhere
		delete(m, key)
	}
	x.own.add("api", m)
	return nil
}

// paths are the operations by their paths, in their order, and what the document had there
// besides. order is the operations' names where the paths do not have their order.
func (x *exporter) paths(kept map[string]any) (paths object, order []any, err error) {
	items := map[string]object{}
	var keys []string
	for i := range x.api.Operations {
		op := &x.api.Operations[i]
		key, method := x.keyOf(op), strings.ToLower(op.Method)
		if _, taken := items[key].find(method); taken {
			key = op.Template // two paths that differ in their query
		}
		if _, taken := items[key].find(method); taken {
			return nil, nil, fmt.Errorf("operation %q: %s %s stands twice", op.Name, op.Method, key)
		}
		if _, ok := items[key]; !ok {
			keys = append(keys, key)
		}
		items[key] = append(items[key], member{method, x.operation(op, key)})
	}
	for _, key := range slices.Sorted(maps.Keys(kept)) {
		if _, ok := items[key]; !ok {
			keys = append(keys, key)
			items[key] = nil
		}
		if strings.HasPrefix(key, "x-") {
			continue
		}
		more := mapping(kept[key])
		if len(items[key]) > 0 {
			delete(more, "$ref") // it led nowhere
		}
		if !x.options.Full {
			delete(more, "servers")
		}
		for _, field := range slices.Sorted(maps.Keys(more)) {
			if _, taken := items[key].find(field); !taken {
				items[key] = append(items[key], member{field, more[field]})
			}
		}
	}
	paths = object{}
	for _, key := range keys {
		if strings.HasPrefix(key, "x-") {
			paths = append(paths, member{key, kept[key]})
			continue
		}
		item := items[key]
		if item == nil {
			item = object{}
		}
		paths = append(paths, member{key, item})
	}
	return paths, x.order(paths), nil
}

// keyOf is the path of an operation in the document.
func (x *exporter) keyOf(op *catalog.Operation) string {
	key := text(mapping(op.Definition[ownKey])["path"])
	if strings.HasPrefix(key, "/") && templateOf(key) == op.Template {
		return key
	}
	return op.Template
}

// order is the names of the operations, unless the paths have them in their order.
func (x *exporter) order(paths object) []any {
	var names, found []any
	for i := range x.api.Operations {
		names = append(names, x.api.Operations[i].Method+" "+x.api.Operations[i].Template)
	}
	for _, path := range paths {
		item, _ := path.value.(object)
		for _, m := range item {
			if slices.Contains(methods, m.key) {
				found = append(found, strings.ToUpper(m.key)+" "+templateOf(path.key))
			}
		}
	}
	if slices.Equal(names, found) {
		return nil
	}
	names = nil
	for i := range x.api.Operations {
		names = append(names, x.api.Operations[i].Name)
	}
	return names
}
