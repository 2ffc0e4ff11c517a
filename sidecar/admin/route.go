package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
)

const (
	// maxBody is the size in bytes of the largest body, maxAPI that of an API with its
	// operations and their definitions, maxFile that of a catalog file.
	maxBody = 1 << 20
	maxAPI  = 4 << 20
	maxFile = catalog.MaxSize
	// shortWork bounds the work for one call, longWork that of one that reads or writes much.
	shortWork = 5 * time.Second
	longWork  = 2 * time.Minute
)

// The kinds of bodies that a path takes.
const (
	typeJSON = "application/json"
	typeYAML = "application/yaml"
)

// Route is a method and path of the API, and what it asks of a call before its handler.
type Route struct {
	Method, Path string
	Right        Right
	// types are the media types of a body, the first unless the call says which; none: a body
	// is not read.
	types []string
	// optional: there need be no body.
	optional bool
	most     int64 // bytes of a body; 0: maxBody
	// creates takes an Idempotency-Key; the answer to a secret is not kept.
	creates, secret bool
	work            time.Duration // 0: shortWork
}

// pattern is the route's in a http.ServeMux.
func (r *Route) pattern() string { return r.Method + " " + r.Path }

// routes are all of the API.
type routes struct {
	server    *Server
	mux       *http.ServeMux
	api       huma.API
	byPattern map[string]*Route
	ordered   []*Route
	openAPI   []byte
}

// methods are those that a path can have.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// routed makes the API's routes, and the document that describes them.
func (s *Server) routed() *routes {
	rs := &routes{server: s, mux: http.NewServeMux(), byPattern: map[string]*Route{}}
	speak()
	config := huma.DefaultConfig("tollgate admin API", "1")
	config.OpenAPIPath, config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", "", nil
	config.RejectUnknownQueryParameters = true
	config.Info.Description = "Manages the gateway: what docs/api.md describes."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token of the admin API. The Unix socket needs none."},
	}
	config.Security = []map[string][]string{{"token": {}}}
	rs.api = humago.New(rs.mux, config)
	s.describeCatalog(rs.api.OpenAPI())
	s.objectRoutes(rs)
	s.operationRoutes(rs)
	s.subscriptionRoutes(rs)
	s.keyRoutes(rs)
	s.limitRoutes(rs)
	s.usageRoutes(rs)
	s.auditRoutes(rs)
	s.tokenRoutes(rs)
	s.catalogRoutes(rs)
	s.backupRoutes(rs)
	s.documentRoutes(rs)
	return rs
}

// Routes are what the API has, as registered.
func (s *Server) Routes() []Route {
	list := make([]Route, len(s.routes.ordered))
	for i, r := range s.routes.ordered {
		list[i] = *r
	}
	return list
}

// add serves a route by a handler. What it returns as an error becomes a problem.
func add[I, O any](rs *routes, r Route, o huma.Operation, handle func(context.Context, *I) (*O, error)) {
	rs.keep(&r)
	o.Method, o.Path, o.OperationID = r.Method, r.Path, operationID(&r)
	o.MaxBodyBytes, o.BodyReadTimeout = -1, -1 // it is read already
	registry := rs.api.OpenAPI().Components.Schemas
	if o.Responses == nil {
		o.Responses = map[string]*huma.Response{}
	}
	o.Responses["default"] = &huma.Response{Description: "A problem.", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: registry.Schema(reflect.TypeFor[Problem](), true, "")},
	}}
	body := o.RequestBody
	o.SkipValidateBody = body != nil // the handler's work
	huma.Register(rs.api, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, rs.server.explained(ctx, err)
		}
		return out, nil
	})
	if registered := find(rs.api.OpenAPI(), &r); body != nil {
		registered.RequestBody = body
	}
}

// keep remembers what a route asks for.
func (rs *routes) keep(r *Route) {
	rs.byPattern[r.pattern()] = r
	rs.ordered = append(rs.ordered, r)
}

// find is a route in the document.
func find(o *huma.OpenAPI, r *Route) *huma.Operation {
	item := o.Paths[r.Path]
	return map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
		http.MethodPatch: item.Patch, http.MethodDelete: item.Delete}[r.Method]
}

// operationID is like get-v1-apis-name.
func operationID(r *Route) string {
	path := strings.NewReplacer("/", "-", "{", "", "}", "").Replace(r.Path)
	return strings.ToLower(r.Method) + path
}

// of is the route for a request, or the problem that there is none.
func (rs *routes) of(r *http.Request) (*Route, error) {
	path := r.URL.EscapedPath()
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." { // the mux would redirect
			return nil, problem(http.StatusNotFound, "path_unknown", "nothing is at this path")
		}
	}
	if !plain(r.URL.Path) {
		return nil, problem(http.StatusNotFound, "path_unknown", "nothing is at this path, which is not text")
	}
	if route := rs.at(r); route != nil {
		return route, nil
	}
	var allowed []string
	for _, m := range methods {
		if rs.at(&http.Request{Method: m, URL: r.URL, Host: r.Host}) != nil {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		return nil, problem(http.StatusNotFound, "path_unknown", "nothing is at this path")
	}
	p := problem(http.StatusMethodNotAllowed, "method_unknown", "this path is for %s", strings.Join(allowed, ", "))
	p.header = http.Header{"Allow": {strings.Join(allowed, ", ")}}
	return nil, p
}

// at is the route of a method and path; nil: there is none.
func (rs *routes) at(r *http.Request) *Route {
	_, pattern := rs.mux.Handler(r)
	route := rs.byPattern[pattern]
	if route == nil {
		return nil
	}
	given := strings.Split(r.URL.EscapedPath(), "/")
	for i, segment := range strings.Split(route.Path, "/") {
		if segment == "{slot}" && given[i] != slotName(wire.SlotPrimary) && given[i] != slotName(wire.SlotSecondary) {
			return nil
		}
	}
	return route
}

// documentRoutes serve the document itself.
func (s *Server) documentRoutes(rs *routes) {
	document, err := json.Marshal(rs.api.OpenAPI())
	if err != nil { // it is made of our own types
		panic(fmt.Errorf("describing the admin API: %w", err))
	}
	rs.openAPI = document
	text, err := rs.api.OpenAPI().YAML()
	if err != nil {
		panic(fmt.Errorf("describing the admin API: %w", err))
	}
	for path, document := range map[string]struct {
		kind string
		text []byte
	}{"/openapi.json": {"application/openapi+json", document}, "/openapi.yaml": {"application/openapi+yaml", text}} {
		r := &Route{Method: http.MethodGet, Path: path, Right: RightRead}
		rs.keep(r)
		rs.mux.HandleFunc(r.pattern(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", document.kind)
			_, _ = w.Write(document.text) // the client is gone, and sees that itself
		})
	}
	slices.SortFunc(rs.ordered, func(a, b *Route) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
}
