package openapi

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// kind is what a value of a document has to be, where it is there.
type kind string

const (
	aMapping kind = "mapping"
	aList    kind = "list"
	someText kind = "text"
	ofTexts  kind = "list of texts"
)

func (k kind) fits(v any) bool {
	switch k {
	case aMapping:
		return mapping(v) != nil
	case aList:
		_, ok := v.([]any)
		return ok
	case ofTexts:
		l, ok := v.([]any)
		return ok && len(texts(v)) == len(l)
	}
	_, ok := v.(string)
	return ok
}

// What Import and Export look at, and change. The rest of a document may be anything.
var (
	rootShape = map[string]kind{"info": aMapping, "paths": aMapping, "components": aMapping, "servers": aList, "security": aList, "webhooks": aMapping, ownKey: aMapping}
	infoShape = map[string]kind{"title": someText, "description": someText, "version": someText}
	itemShape = map[string]kind{"parameters": aList, "servers": aList, "$ref": someText, "get": aMapping, "head": aMapping, "post": aMapping, "put": aMapping,
		"patch": aMapping, "delete": aMapping, "options": aMapping}
	operationShape = map[string]kind{"summary": someText, "description": someText, "operationId": someText, "parameters": aList, "security": aList,
		"servers": aList, "responses": aMapping, "callbacks": aMapping, ownKey: aMapping}
	ownShape = map[string]kind{"suffix": someText, "name": someText, "description": someText, "servers": aList, "security": aList, "order": ofTexts,
		"implied": ofTexts, "key_schemes": ofTexts, "api": aMapping}
	ownOperationShape = map[string]kind{"name": someText, "description": someText, "implied": ofTexts, "implied_parameters": ofTexts,
		"security": aList, "servers": aList, "operation": aMapping}
)

// fit says where a mapping is not as it has to be.
func fit(m map[string]any, shape map[string]kind, at string) error {
	for _, key := range slices.Sorted(maps.Keys(shape)) {
		if v, ok := m[key]; ok && !shape[key].fits(v) {
			return fmt.Errorf("%s is no %s", at+pointer(key), shape[key])
		}
	}
	return nil
}

// fitting looks at the whole document, of version 3.
func fitting(doc map[string]any) error {
	if err := fit(doc, rootShape, ""); err != nil {
		return err
	}
	own := mapping(doc[ownKey])
	if err := fit(own, ownShape, pointer(ownKey)); err != nil {
		return err
	}
	if err := fit(mapping(doc["info"]), infoShape, "/info"); err != nil {
		return err
	}
	components := mapping(doc["components"])
	if err := fit(components, map[string]kind{"securitySchemes": aMapping, "pathItems": aMapping}, "/components"); err != nil {
		return err
	}
	for i, s := range list(doc["servers"]) {
		if mapping(s) == nil {
			return fmt.Errorf("%s is no mapping", pointer("servers", strconv.Itoa(i)))
		}
	}
	for place, items := range map[string]map[string]any{"/paths": mapping(doc["paths"]), "/components/pathItems": mapping(components["pathItems"])} {
		for _, key := range slices.Sorted(maps.Keys(items)) {
			if strings.HasPrefix(key, "x-") {
				continue
			}
			if err := itemFits(items[key], place+pointer(key), own != nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func itemFits(v any, at string, ours bool) error {
	item := mapping(v)
	if item == nil {
		return fmt.Errorf("%s is no mapping", at)
	}
	if err := fit(item, itemShape, at); err != nil {
		return err
	}
	for _, method := range methods {
		op := mapping(item[method])
		if err := fit(op, operationShape, at+pointer(method)); err != nil {
			return err
		}
		switch own := mapping(op[ownKey]); {
		case own != nil && !ours:
			return fmt.Errorf("%s is only for documents with %s", at+pointer(method, ownKey), pointer(ownKey))
		default:
			if err := fit(own, ownOperationShape, at+pointer(method, ownKey)); err != nil {
				return err
			}
		}
	}
	return nil
}
