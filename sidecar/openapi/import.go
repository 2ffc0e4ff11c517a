package openapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

// Import reads a document, JSON or YAML. The API that it returns is not checked against a
// catalog: names and suffixes of others may be the same, and the backend's URL may be one
// that is refused. Gaps come in the order of their pointers.
//
// A document that Export wrote gives the API that it was made of, as far as the document has
// it (ExportOptions.Full).
func Import(data []byte, o Options) (catalog.API, []Gap, error) {
	im := &importer{options: o}
	if err := im.run(data); err != nil {
		return catalog.API{}, nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	slices.SortStableFunc(im.gaps, func(a, b Gap) int {
		return cmp.Or(strings.Compare(a.Pointer, b.Pointer), strings.Compare(a.Reason, b.Reason))
	})
	return im.api, slices.Compact(im.gaps), nil
}

// importer is one import.
type importer struct {
	options Options
	doc     map[string]any // version 3; what is taken from it is deleted
	order   object         // the paths of the document in their order
	own     map[string]any // what Export has put there under ownKey
	api     catalog.API
	gaps    []Gap
	mended  bool // something about an operation was changed since it was looked at
}

// ownKey is the extension with what OpenAPI has no field for.
const ownKey = "x-tollgate"

func (im *importer) gap(severity Severity, at, reason string, args ...any) {
	im.gaps = append(im.gaps, Gap{Pointer: at, Reason: fmt.Sprintf(reason, args...), Severity: severity})
}

func (im *importer) run(data []byte) error {
	tree, err := read(data)
	if err != nil {
		return err
	}
	if err := outside(tree, nil); err != nil {
		return err
	}
	paths, _ := tree.find("paths")
	im.order, _ = paths.(object)
	im.doc = mapping(plain(tree))
	if err := im.version(); err != nil {
		return err
	}
	im.own = mapping(im.doc[ownKey])
	if err := im.known(); err != nil {
		return err
	}
	im.info()
	im.servers()
	im.security()
	im.operations()
	im.rest()
	return im.check()
}

// version sees to it that the document is one of version 3.
func (im *importer) version() error {
	if two, ok := im.doc["swagger"]; ok {
		if v := fmt.Sprint(two); v != "2.0" && v != "2" {
			return fmt.Errorf("it says swagger %s; 2.0, 3.0 and 3.1 are read", shortened(v, 20))
		}
		if tooInterwoven(im.doc) {
			return fmt.Errorf("its references repeat each other more than %d times", maxUnfolded)
		}
		im.doc["swagger"] = "2.0"
		im.lostByConversion()
		three, err := converted(im.doc)
		if err != nil {
			return fmt.Errorf("converting it to version 3: %w", err)
		}
		im.doc = three
	}
	if number, ok := im.doc["openapi"].(json.Number); ok { // YAML without quotes
		im.doc["openapi"] = number.String()
	}
	v := text(im.doc["openapi"])
	if !strings.HasPrefix(v, "3.0.") && !strings.HasPrefix(v, "3.1.") && v != "3.0" && v != "3.1" {
		if _, ok := im.doc["openapi"]; !ok {
			return fmt.Errorf("it has neither openapi nor swagger, which name the version")
		}
		return fmt.Errorf("it says openapi %s; 2.0, 3.0 and 3.1 are read", shortened(fmt.Sprint(im.doc["openapi"]), 20))
	}
	if err := fitting(im.doc); err != nil {
		return err
	}
	if tooInterwoven(im.doc) {
		im.gap(Kept, "", "whether it is valid was not looked at: its references repeat each other more than %d times", maxUnfolded)
	} else if fault := faults(im.doc); fault != "" {
		im.gap(Kept, "", "it is not valid OpenAPI: %s", fault)
	}
	return nil
}

// known takes over what Export has put into the document of the API itself.
func (im *importer) known() error {
	im.api = catalog.API{
		SubscriptionRequired: true, Errors: catalog.DefaultErrors, WhenUnavailable: catalog.DefaultUnavailable, Route: catalog.DefaultRoute,
		Backend: catalog.Backend{Timeout: catalog.Duration(catalog.DefaultTimeout), Authorization: catalog.DefaultAuthorization},
		Keys:    catalog.Keys{Header: catalog.DefaultKeyHeader, Query: catalog.DefaultKeyQuery},
	}
	if api := mapping(im.own["api"]); api != nil {
		text, err := encoded(api)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &im.api); err != nil {
			return fmt.Errorf("%s: %w", pointer(ownKey, "api"), err)
		}
	}
	im.api.Operations, im.api.Definition = nil, nil
	return nil
}

// info takes the name, the description and the suffix.
func (im *importer) info() {
	info := mapping(im.doc["info"])
	title, description := text(info["title"]), text(info["description"])
	name := cmp.Or(im.options.Name, text(im.own["name"]), title)
	im.api.Name = tidyName(name)
	if im.api.Name == "" {
		im.api.Name = "API"
	}
	if im.api.Name == title {
		delete(info, "title")
	} else if im.options.Name == "" && im.own["name"] == nil {
		im.gap(Changed, pointer("info", "title"), "the API's name is %q: the title is none", im.api.Name)
	}
	if own, ok := im.own["description"].(string); ok {
		im.api.Description = own
	} else {
		im.api.Description = tidyText(description, longestDescription)
	}
	if im.api.Description == description {
		delete(info, "description")
	} else if im.own["description"] == nil {
		im.gap(Changed, pointer("info", "description"), "the API's description is a part of it: it has at most %d characters", longestDescription)
	}
	im.api.Suffix = cmp.Or(im.options.Suffix, text(im.own["suffix"]), suffixOf(im.api.Name))
	if list := im.own["implied"]; slices.Contains(texts(list), "version") && text(info["version"]) == impliedVersion {
		delete(info, "version")
	}
	if len(info) == 0 {
		delete(im.doc, "info")
	}
}

// Longest texts of a catalog, in characters.
const (
	longestName        = 128
	longestDescription = 4096
	longestExample     = 1024
)

// tidyName is a text as the name of something.
func tidyName(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool { return c != '-' && !strconv.IsPrint(c) || c == ' ' }), " ")
	return strings.TrimSpace(shortened(s, longestName))
}

// tidyText is a text without control characters.
func tidyText(s string, longest int) string {
	return shortened(strings.Map(func(c rune) rune {
		switch {
		case c == '\r' || c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || c == '\uFFFD':
			return -1
		}
		return c
	}, s), longest)
}

var notInSuffix = regexp.MustCompile(`[^a-z0-9._-]+`)

func suffixOf(name string) string {
	s := strings.Trim(notInSuffix.ReplaceAllString(strings.ToLower(name), "-"), "._-")
	if len(s) > 64 {
		s = strings.TrimRight(s[:64], "._-")
	}
	return cmp.Or(s, "api")
}

// servers takes the backend's URL. Where Export wrote the document, the servers are the
// gateway's, and the original ones stand elsewhere.
func (im *importer) servers() {
	if im.own != nil {
		delete(im.doc, "servers")
		if original, ok := im.own["servers"]; ok {
			im.doc["servers"] = original
		}
		switch {
		case im.options.Backend != "":
			im.api.Backend.URL = im.options.Backend
		case im.api.Backend.URL == "":
			im.gap(Lost, pointer("servers"), "the document is of a gateway and does not say where its requests go: give the backend's URL")
		}
		return
	}
	im.api.Backend.URL = im.options.Backend
	for i, s := range list(im.doc["servers"]) {
		at := pointer("servers", strconv.Itoa(i))
		address, fault := serverURL(mapping(s))
		switch {
		case im.api.Backend.URL != "":
			im.gap(Kept, at, "it is not used: requests go to %s", shown(im.api.Backend.URL))
		case fault != "":
			im.gap(Changed, at, "%s", fault)
		default:
			im.api.Backend.URL = address
			if variables := mapping(mapping(s)["variables"]); len(variables) > 0 {
				im.gap(Changed, at+pointer("variables"), "its variables have their defaults")
			}
		}
	}
	if im.api.Backend.URL == "" {
		im.gap(Lost, pointer("servers"), "it names no absolute http or https URL: give the backend's URL")
	}
}

// serverURL is the URL of a server, its variables replaced by their defaults.
func serverURL(server map[string]any) (address, fault string) {
	address = text(server["url"])
	for name, v := range mapping(server["variables"]) {
		address = strings.ReplaceAll(address, "{"+name+"}", text(mapping(v)["default"]))
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || strings.ContainsAny(address, "{}"):
		return "", "it is no URL"
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", "it is no absolute http or https URL"
	case u.User != nil:
		return "", "it has a user or password, which belong elsewhere"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", "it has a query or a fragment, which a backend has not"
	}
	return strings.TrimSuffix(address, "/"), ""
}

// shown is a URL without user and password.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "another URL"
	}
	return u.Redacted()
}

// rest keeps what is left of the document.
func (im *importer) rest() {
	for _, key := range []string{"webhooks"} {
		if len(mapping(im.doc[key])) > 0 {
			im.gap(Kept, pointer(key), "calls of the backend to its clients do not pass the gateway")
		}
	}
	delete(im.doc, ownKey)
	if components := mapping(im.doc["components"]); components != nil && len(components) == 0 {
		delete(im.doc, "components")
	}
	if v := text(im.doc["openapi"]); im.own != nil && v == impliedOpenAPI && slices.Contains(texts(im.own["implied"]), "openapi") {
		delete(im.doc, "openapi")
	}
	if len(im.doc) > 0 {
		im.api.Definition = im.doc
	}
	if !im.options.Bare {
		return
	}
	im.gap(Lost, "", "schemas, responses and all else that the catalog has no field for was left out, as was asked for")
	im.api.Definition = nil
	for i := range im.api.Operations {
		im.api.Operations[i].Definition = nil
	}
}

// check is what a catalog says of the definitions: everything else was looked at before.
func (im *importer) check() error {
	mistakes := parsed(catalog.API{Name: "api", Suffix: "api", Backend: catalog.Backend{URL: harmless}, Definition: im.api.Definition,
		Operations: im.api.Operations})
	for _, m := range mistakes {
		if strings.Contains(m.Field, "definition") {
			return fmt.Errorf("%s %s (leave out what the catalog has no field for)", m.Field, m.Message)
		}
	}
	return nil
}
