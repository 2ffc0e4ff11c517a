package catalog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	maxTemplate   = 1024
	maxOperations = 1000
)

var (
	parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// literal is a path segment of characters that stand for themselves: RFC 3986's pchar
	// without percent-encoding.
	literal      = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()*+,;=:@-]+$`)
	resourceKind = regexp.MustCompile(`^[a-z]{1,32}$`)
)

func (k *checker) operations(p *path, a *API) {
	if len(a.Operations) == 0 {
		k.on(p, "must declare at least one operation: what is not declared answers 404")
	}
	if len(a.Operations) > maxOperations {
		k.on(p, "must declare at most %d operations", maxOperations)
		return
	}
	unique(k, p, "name", a.Operations, func(o Operation) string { return o.Name }, exact)
	shapes := map[string]int{}
	for i := range a.Operations {
		o := &a.Operations[i]
		q := p.item(i)
		k.name(q.field("name"), o.Name)
		k.description(q.field("description"), o.Description)
		k.method(q.field("method"), o.Method)
		k.limits(q.field("limits"), o.Limits)
		k.counterKey(q.field("limits"), o.Limits, longestSubscription+"/api:"+keyed.Replace(a.Name)+"/operation:"+keyed.Replace(o.Name))
		parameters, ok := k.template(q.field("template"), o.Template)
		if !ok || k.isBroken(q.field("template")) {
			continue
		}
		shape := o.Method + " " + templateShape(o.Template)
		if first, twice := shapes[shape]; twice && slices.Contains(methods, o.Method) {
			k.on(q.field("template"), "%s matches the same paths as operation %q%s",
				o.Method, a.Operations[first].Name, k.line(p.item(first).field("template")))
		} else {
			shapes[shape] = i
		}
		k.parameters(q.field("parameters"), a, o, parameters)
		k.resource(q, a, o, parameters)
	}
}

func (k *checker) method(p *path, method string) {
	if upper := strings.ToUpper(method); upper != method && slices.Contains(methods, upper) {
		k.on(p, "must be in upper case: %s", upper)
		return
	}
	k.oneOf(p, method, methods)
}

// template checks an operation's template and returns the names of its parameters.
func (k *checker) template(p *path, template string) (parameters []string, ok bool) {
	parameters, fault := templateParameters(template)
	if fault != "" {
		k.on(p, "%s", fault)
	}
	return parameters, fault == ""
}

// templateParameters returns the parameters of a template, or what is wrong with it.
func templateParameters(template string) (parameters []string, fault string) {
	switch {
	case template == "/":
		return nil, ""
	case !strings.HasPrefix(template, "/"):
		return nil, `must begin with "/"`
	case strings.Contains(template, "?"):
		return nil, "must have no query; describe query parameters under parameters, with in: query"
	case strings.Contains(template, "#"):
		return nil, "must have no fragment"
	case len(template) > maxTemplate:
		return nil, fmt.Sprintf("must have at most %d characters", maxTemplate)
	}
	for _, segment := range strings.Split(template[1:], "/") {
		name, fault := segmentParameter(segment)
		if fault == "" && name != "" && slices.Contains(parameters, name) {
			fault = fmt.Sprintf("names the parameter {%s} twice", name)
		}
		if fault != "" {
			return nil, fault
		}
		if name != "" {
			parameters = append(parameters, name)
		}
	}
	return parameters, ""
}

// segmentParameter returns the name that a segment is a parameter for, empty for a
// literal, or what is wrong with it.
func segmentParameter(segment string) (name, fault string) {
	inner, opened := strings.CutPrefix(segment, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	switch {
	case opened && closed && parameterName.MatchString(inner) && len(inner) <= maxName:
		return inner, ""
	case opened && closed && !strings.ContainsAny(inner, "{}"):
		return "", fmt.Sprintf("%q is no name of a parameter: letters, digits and underscores, not beginning with a digit", inner)
	case strings.ContainsAny(segment, "{}"):
		return "", fmt.Sprintf("a parameter is a whole segment, like /{id}/, not a part of one as in %q", segment)
	}
	return "", literalFault(segment)
}

// literalFault says what is wrong with a literal path segment. Dot segments are refused
// with path parameters as well ("..;x"), which some servers cut off first.
func literalFault(segment string) string {
	beforeParameters, _, _ := strings.Cut(segment, ";")
	switch {
	case segment == "":
		return "must have no empty segment: no // and no slash at the end"
	case beforeParameters == "." || beforeParameters == ".." || beforeParameters == "":
		return "must have no dot segment, and none that begins with a semicolon"
	case strings.Contains(segment, "%"):
		return "must not be percent-encoded: clients' paths are decoded before they are compared"
	case !literal.MatchString(segment):
		return "must have only letters, digits and -._~!$&'()*+,;=:@ outside of parameters"
	}
	return ""
}

// templateShape is a template without the names of its parameters. Templates of one
// shape match the same paths; for any two others, one of which has a literal where the
// other has a parameter, the literal decides.
func templateShape(template string) string {
	segments := strings.Split(template, "/")
	for i, segment := range segments {
		if strings.HasPrefix(segment, "{") {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

func (k *checker) parameters(p *path, a *API, o *Operation, inTemplate []string) {
	seen := map[string]int{}
	for i := range o.Parameters {
		parameter := &o.Parameters[i]
		q := p.item(i)
		k.description(q.field("description"), parameter.Description)
		k.text(q.field("example"), parameter.Example, maxValue)
		k.oneOf(q.field("in"), parameter.In, places)
		id := parameter.In + " " + parameter.Name
		switch parameter.In {
		case "path":
			k.pathParameter(q, parameter, inTemplate)
		case "query":
			k.queryName(q.field("name"), parameter.Name)
			if parameter.Name == a.Keys.Query {
				k.on(q.field("name"), "%q carries the consumer's key and never reaches the backend", parameter.Name)
			}
		case "header":
			id = strings.ToLower(id)
			if k.headerName(q.field("name"), parameter.Name) && strings.EqualFold(parameter.Name, a.Keys.Header) {
				k.on(q.field("name"), "%q carries the consumer's key and never reaches the backend", parameter.Name)
			}
		}
		if first, twice := seen[id]; twice && parameter.Name != "" {
			k.on(q.field("name"), "%q is described already%s", parameter.Name, k.line(p.item(first)))
			continue
		}
		seen[id] = i
	}
}

// pathParameter checks that the template has the parameter. It is always required: a
// path without it is another path.
func (k *checker) pathParameter(p *path, parameter *Parameter, inTemplate []string) {
	if !slices.Contains(inTemplate, parameter.Name) {
		k.on(p.field("name"), "the template has no parameter {%s}%s", parameter.Name, hint(parameter.Name, inTemplate))
	}
	if k.has(p.field("required")) && !parameter.Required {
		k.on(p.field("required"), "a path parameter is always required; write true, or leave it out")
	}
	parameter.Required = true
}

// resource checks what an operation creates and requires.
func (k *checker) resource(p *path, a *API, o *Operation, inTemplate []string) {
	for field, kind := range map[string]string{"creates": o.Creates, "requires": o.Requires} {
		if k.has(p.field(field)) && !resourceKind.MatchString(kind) {
			k.on(p.field(field), "must be a kind of resource, one lower-case word like job")
			return
		}
	}
	if o.Creates != "" && o.Method != "POST" && slices.Contains(methods, o.Method) {
		k.on(p.field("creates"), "only a POST creates a resource; this operation is %s", o.Method)
	}
	if o.Requires == "" {
		return
	}
	id := o.Requires + "id"
	if !slices.Contains(inTemplate, id) {
		k.on(p.field("requires"), "requires: %s needs a parameter {%s} in the template", o.Requires, id)
		return
	}
	k.resourceScope(p.field("requires"), a, o, slices.DeleteFunc(slices.Clone(inTemplate), func(name string) bool { return name == id }))
}

// resourceScope checks that a resource can be found again: it is recorded under the
// parameters of the operation that created it, so these must be the others' as well.
func (k *checker) resourceScope(p *path, a *API, o *Operation, scope []string) {
	slices.Sort(scope)
	var expected []string
	for _, creator := range a.Operations {
		if creator.Creates != o.Requires {
			continue
		}
		parameters, fault := templateParameters(creator.Template)
		slices.Sort(parameters)
		if fault != "" || slices.Equal(parameters, scope) {
			return
		}
		expected = append(expected, fmt.Sprintf("%q has %s", creator.Name, braced(parameters)))
	}
	if len(expected) > 0 {
		k.on(p, "a %s is found by the template's other parameters, which are %s here, but operation %s: they must be the same",
			o.Requires, braced(scope), strings.Join(expected, ", "))
	}
}

// braced lists parameters as a template writes them.
func braced(parameters []string) string {
	if len(parameters) == 0 {
		return "none"
	}
	return "{" + strings.Join(parameters, "}, {") + "}"
}
