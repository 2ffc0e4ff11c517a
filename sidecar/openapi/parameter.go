package openapi

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^`|~-]{1,128}$")
	queryName  = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,128}$`)
	templated  = regexp.MustCompile(`\{([^{}/]*)\}`)
)

// projecting is how the parameters of an operation in a document become those in a catalog.
type projecting struct {
	resolve  func(any) (map[string]any, bool)
	keys     catalog.Keys
	key      string // of the path: its query, if any, has parameters as well
	template string
}

// projection is the parameters of an operation in a catalog, where each comes from, -1 for
// the path's query, and what could not be taken.
type projection struct {
	parameters []catalog.Parameter
	origins    []int
	refused    map[int]Gap
}

func (p *projecting) project(raws []any) projection {
	result := projection{refused: map[int]Gap{}}
	seen := map[string]bool{}
	for i, raw := range raws {
		m, ok := p.resolve(raw)
		if !ok {
			result.refused[i] = Gap{Reason: "its reference leads nowhere", Severity: Lost}
			continue
		}
		one := projected(m)
		id := identity(&one)
		if reason, severity := p.refusal(&one); reason != "" {
			result.refused[i] = Gap{Reason: reason, Severity: severity}
			continue
		}
		if seen[id] {
			result.refused[i] = Gap{Reason: "it stands twice", Severity: Kept}
			continue
		}
		seen[id] = true
		result.parameters, result.origins = append(result.parameters, one), append(result.origins, i)
	}
	for _, one := range queryOf(p.key) {
		if reason, _ := p.refusal(&one); reason == "" && !seen[identity(&one)] {
			seen[identity(&one)] = true
			result.parameters, result.origins = append(result.parameters, one), append(result.origins, -1)
		}
	}
	return result
}

func identity(p *catalog.Parameter) string {
	if p.In == "header" {
		return p.In + " " + strings.ToLower(p.Name)
	}
	return p.In + " " + p.Name
}

// notInPath is why a parameter is left out, of an export as well: its path was changed since.
const notInPath = "the path has no such parameter: it is left out"

// refusal says why a catalog does not take a parameter; see package catalog for the rules.
func (p *projecting) refusal(one *catalog.Parameter) (reason string, severity Severity) {
	switch one.In {
	case "path":
		if !slices.Contains(templateNames(p.template), one.Name) {
			return notInPath, Lost
		}
	case "query":
		switch {
		case one.Name == p.keys.Query:
			return "it carries the consumer's key to the gateway and does not reach the backend", Changed
		case !queryName.MatchString(one.Name):
			return "its name has other characters than letters, digits and -._~: it passes, and the catalog does not list it", Kept
		}
	case "header":
		switch {
		case strings.EqualFold(one.Name, p.keys.Header):
			return "it carries the consumer's key to the gateway and does not reach the backend", Changed
		case strings.Contains(one.Name, "_"):
			return "requests with an underscore in a header's name are refused", Lost
		case !headerName.MatchString(one.Name):
			return "it is no name of a header", Lost
		}
	case "cookie":
		return "cookies pass as they are, and the catalog does not list them", Kept
	default:
		return "it is in none of path, query, header and cookie", Kept
	}
	return "", ""
}

// projected is a parameter of a document in the catalog's words.
func projected(m map[string]any) catalog.Parameter {
	p := catalog.Parameter{Name: text(m["name"]), In: text(m["in"]), Description: tidyText(text(m["description"]), longestDescription), Required: truth(m["required"])}
	if p.In == "path" {
		p.Required = true
	}
	if example, ok := exampleOf(m); ok {
		p.Example = example
	}
	return p
}

// exampleOf is a parameter's example as text, if there is one that fits into a catalog.
func exampleOf(m map[string]any) (string, bool) {
	schema := mapping(m["schema"])
	candidates := []any{m["example"], firstOf(m["examples"]), schema["example"], firstOf(schema["examples"])}
	for _, v := range candidates {
		if v == nil {
			continue
		}
		s, ok := v.(string)
		if !ok {
			data, err := encoded(v)
			if err != nil {
				continue
			}
			s = string(data)
		}
		if s != "" && tidyText(s, longestExample) == s {
			return s, true
		}
	}
	return "", false
}

// firstOf is the first of several examples: of a list, or by name.
func firstOf(v any) any {
	if l := list(v); len(l) > 0 {
		return l[0]
	}
	first := ""
	for name := range mapping(v) {
		if first == "" || name < first {
			first = name
		}
	}
	return mapping(mapping(v)[first])["value"]
}

// rebuilt is a parameter of a catalog in a document's words.
func rebuilt(p *catalog.Parameter) object {
	o := object{{"name", p.Name}, {"in", p.In}}
	o.add("description", p.Description)
	if p.Required {
		o.add("required", true)
	}
	o.add("schema", object{{"type", "string"}})
	o.add("example", p.Example)
	return o
}

// overridden is a parameter of a document with what the catalog says of it by now.
func overridden(m map[string]any, p *catalog.Parameter) map[string]any {
	was := projected(m)
	m = mapping(plain(m))
	if was.Description != p.Description {
		m["description"] = p.Description
	}
	if was.Required != p.Required {
		m["required"] = p.Required
	}
	if was.Example != p.Example {
		delete(m, "examples")
		m["example"] = p.Example
	}
	return m
}

// impliedParameter is what a document has to say of a parameter of its path.
func impliedParameter(name string) object {
	return rebuilt(&catalog.Parameter{Name: name, In: "path", Required: true})
}

// templateNames are the parameters of a path.
func templateNames(template string) []string {
	var names []string
	for _, m := range templated.FindAllStringSubmatch(template, -1) {
		names = append(names, m[1])
	}
	return names
}

// queryOf is the parameters in the query of a path, which some documents have although
// OpenAPI does not allow it: AzureML's among them.
func queryOf(key string) []catalog.Parameter {
	_, query, ok := strings.Cut(key, "?")
	if !ok {
		return nil
	}
	var all []catalog.Parameter
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		decodedName, err := url.QueryUnescape(name)
		decodedValue, err2 := url.QueryUnescape(value)
		if name == "" || err != nil || err2 != nil {
			continue
		}
		p := catalog.Parameter{Name: decodedName, In: "query", Required: true}
		if !strings.ContainsAny(decodedValue, "{}") && tidyText(decodedValue, longestExample) == decodedValue {
			p.Example = decodedValue
		}
		all = append(all, p)
	}
	return all
}

// templateOf is the template of a path: what stands before its query.
func templateOf(key string) string {
	template, _, _ := strings.Cut(key, "?")
	return template
}

// mergedParameters is those of an operation and, of the path's, those that it does not
// describe itself.
func (im *importer) mergedParameters(shared, own []any) []any {
	described := map[string]bool{}
	for _, raw := range own {
		if m, ok := im.resolve(raw); ok {
			described[fmt.Sprint(m["in"], " ", m["name"])] = true
		}
	}
	var all []any
	for _, raw := range shared {
		if m, ok := im.resolve(raw); !ok || !described[fmt.Sprint(m["in"], " ", m["name"])] {
			all = append(all, raw)
		}
	}
	return append(all, own...)
}
