package emulator

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is what a path means. Names and templates are those of the AzureML help page.
type route struct {
	name     string // template, for logs and counts; empty: no such path
	methods  map[string]string
	byWS     bool // /workspaces/..., not /subscriptions/...
	owner    string
	service  string
	job      string
	operator string // what the path ends in: swagger.json, execute, jobs, job, start
}

// operations maps the end of a path to the methods it has, each with the query parameters that it takes.
var operations = map[string]map[string]string{
	"swagger.json": {http.MethodGet: "api-version"},
	"execute":      {http.MethodPost: "api-version details format"},
	"jobs":         {http.MethodPost: "api-version"},
	"job":          {http.MethodGet: "api-version", http.MethodDelete: "api-version"},
	"start":        {http.MethodPost: "api-version"},
}

// match reads an escaped path. Nothing in a valid path needs a percent sign, so a segment that has one matches nothing: there is
// no second reading of a path for a gateway to disagree with.
func match(path string) route {
	s := strings.Split(path, "/")
	if len(s) < 6 || len(s) > 8 || s[0] != "" || s[3] != "services" || s[1] != "workspaces" && s[1] != "subscriptions" {
		return route{}
	}
	r := route{byWS: s[1] == "workspaces", owner: s[2], service: s[4]}
	r.name = "/" + s[1] + "/{id}/services/{service}/" + s[5]
	switch tail := s[5:]; {
	case len(tail) == 1 && operations[tail[0]] != nil && tail[0] != "job" && tail[0] != "start":
		r.operator = tail[0]
	case len(tail) == 2 && tail[0] == "jobs":
		r.operator, r.job, r.name = "job", tail[1], r.name+"/{job}"
	case len(tail) == 3 && tail[0] == "jobs" && tail[2] == "start":
		r.operator, r.job, r.name = "start", tail[1], r.name+"/{job}/start"
	default:
		return route{}
	}
	r.methods = operations[r.operator]
	return r
}

// allow lists the route's methods for the Allow header.
func (r route) allow() string {
	var methods []string
	for method := range r.methods {
		methods = append(methods, method)
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// find checks that the ids of a route are those of the service. AzureML's ids are GUIDs: letter case does not matter.
func (s *Server) find(r route) *Error {
	if !isID(r.service) {
		return NewError("WebServiceIdInvalid")
	}
	known := strings.EqualFold(r.service, s.config.Service)
	if !r.byWS {
		if !known || !strings.EqualFold(r.owner, s.config.Subscription) {
			return NewError("WebServiceNotFound")
		}
		return nil
	}
	if !strings.EqualFold(r.owner, s.config.Workspace) {
		return NewError("WorkspaceNotFound")
	}
	if !known {
		return NewError("WebServiceIdNotFoundInWorkspace")
	}
	return nil
}

// options are the query's parameters, checked.
type options struct{ details, swagger bool }

// parseQuery takes each of the allowed parameters once and no other. api-version is 2.0 and must be there, but for swagger.json.
func parseQuery(raw, allowed string, versionOptional bool) (options, *Error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return options{}, NewError("InvalidQueryParameter", "", "The query is not well-formed.")
	}
	names := strings.Fields(allowed)
	for _, name := range sortedKeys(query) {
		if !slices.Contains(names, name) {
			return options{}, NewError("InvalidQueryParameter", name, "The parameter is not known.")
		}
		if len(query[name]) > 1 {
			return options{}, NewError("InvalidQueryParameter", name, "The parameter is there more than once.")
		}
	}
	if version := query.Get("api-version"); version != "2.0" && (query.Has("api-version") || !versionOptional) {
		return options{}, NewError("BadVersionCall", version)
	}
	var o options
	if query.Has("details") {
		switch value := query.Get("details"); {
		case strings.EqualFold(value, "true"):
			o.details = true
		case !strings.EqualFold(value, "false"):
			return options{}, NewError("InvalidQueryParameter", "details", "The value must be true or false.")
		}
	}
	if query.Has("format") {
		if !strings.EqualFold(query.Get("format"), "swagger") {
			return options{}, NewError("InvalidQueryParameter", "format", "The value must be swagger.")
		}
		o.swagger = true
	}
	return o, nil
}
