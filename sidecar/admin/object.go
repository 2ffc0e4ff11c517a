package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/store"
)

// group is a kind of objects and where they are.
type group struct {
	kind   store.Kind
	plural string // the segment of their path
	one    string // for people, with its article
	key    string // the field of the spec that is the name
	most   int64  // bytes of a spec; 0: maxBody
}

var groups = []group{
	{store.KindAPI, "apis", "an API", "name", maxAPI},
	{store.KindProduct, "products", "a product", "name", 0},
	{store.KindGroup, "groups", "a group", "name", 0},
	{store.KindDeveloper, "developers", "a developer", "email", 0},
}

var organization = group{store.KindOrganization, "organization", "the organization", "", 0}

func (g group) path() string { return "/v1/" + g.plural }

// at is the path of one of them.
func (g group) at(name string) string {
	if g.key == "" {
		return g.path()
	}
	return Path(g.plural, name)
}

// Named is in the path of one object.
type Named struct {
	Name string `path:"name" maxLength:"512" doc:"Its name."`
}

// Idempotent is what a creation takes.
type Idempotent struct {
	Key string `header:"Idempotency-Key" maxLength:"255" doc:"Names this creation: sent again, it gets the first one's answer."`
}

type (
	createInput struct {
		Idempotent
		RawBody []byte
	}
	replaceInput struct {
		Named
		Matching
		IfNoneMatch string `header:"If-None-Match" enum:"*" doc:"Only create it; 412 where it is there."`
		RawBody     []byte
	}
	removeInput struct {
		Named
		Matching
	}
	organizationInput struct {
		Matching
		IfNoneMatch string `header:"If-None-Match" enum:"*" doc:"Only create it; 412 where it is there."`
		RawBody     []byte
	}
	objectOutput struct {
		Status   int
		ETag     string `header:"ETag"`
		Location string `header:"Location"`
		Body     Object
	}
	objectList struct{ Body List[Object] }
)

func (s *Server) objectRoutes(rs *routes) {
	specTypes := []string{typeJSON}
	read := func(g group, path string, o huma.Operation) (Route, huma.Operation) {
		o.Tags, o.Responses = []string{g.plural}, answers(g, http.StatusOK)
		return Route{Method: http.MethodGet, Path: path, Right: RightRead}, o
	}
	put := func(g group, path string) (Route, huma.Operation) {
		return Route{Method: http.MethodPut, Path: path, Right: RightWrite, types: specTypes, most: g.most},
			huma.Operation{Summary: "Replace " + g.one, Tags: []string{g.plural}, RequestBody: specBody(g), Responses: answers(g, http.StatusOK, http.StatusCreated)}
	}
	for _, g := range groups {
		add(rs, Route{Method: http.MethodGet, Path: g.path(), Right: RightRead},
			huma.Operation{Summary: "List " + g.plural, Tags: []string{g.plural}},
			func(ctx context.Context, in *Paging) (*objectList, error) { return s.listObjects(ctx, g, in) })
		add(rs, Route{Method: http.MethodPost, Path: g.path(), Right: RightWrite, types: specTypes, most: g.most, creates: true},
			huma.Operation{Summary: "Create " + g.one, Tags: []string{g.plural}, DefaultStatus: http.StatusCreated, RequestBody: specBody(g), Responses: answers(g, http.StatusCreated)},
			func(ctx context.Context, in *createInput) (*objectOutput, error) {
				return s.createObject(ctx, g, in.RawBody)
			})
		route, o := read(g, g.path()+"/{name}", huma.Operation{Summary: "Read " + g.one})
		add(rs, route, o, func(ctx context.Context, in *Named) (*objectOutput, error) { return s.readObject(ctx, g, in.Name) })
		route, o = put(g, g.path()+"/{name}")
		add(rs, route, o, func(ctx context.Context, in *replaceInput) (*objectOutput, error) {
			return s.replaceObject(ctx, g, in.Name, replacement{in.Matching, in.IfNoneMatch != "", in.RawBody})
		})
		add(rs, Route{Method: http.MethodDelete, Path: g.path() + "/{name}", Right: RightWrite},
			huma.Operation{Summary: "Delete " + g.one, Tags: []string{g.plural}},
			func(ctx context.Context, in *removeInput) (*struct{}, error) { return nil, s.deleteObject(ctx, g, in) })
	}
	route, o := read(organization, organization.path(), huma.Operation{Summary: "Read the organization"})
	add(rs, route, o, func(ctx context.Context, _ *struct{}) (*objectOutput, error) {
		return s.readObject(ctx, organization, "")
	})
	route, o = put(organization, organization.path())
	o.Summary = "Replace the organization, or create it"
	add(rs, route, o, func(ctx context.Context, in *organizationInput) (*objectOutput, error) {
		return s.replaceObject(ctx, organization, "", replacement{in.Matching, in.IfNoneMatch != "", in.RawBody})
	})
}

// shownObject is an object as this API shows it.
func shownObject(o *store.Object) Object {
	return Object{Kind: string(o.Kind), Name: o.Name, Spec: o.Spec, Source: o.Source, Revision: o.Revision, Created: o.Created.UTC(), Updated: o.Updated.UTC()}
}

// objectReply answers with an object, which is at location when it was created.
func objectReply(g group, o store.Object, status int) *objectOutput {
	out := &objectOutput{Status: status, ETag: etag(o.Revision), Body: shownObject(&o)}
	if status == http.StatusCreated {
		out.Location = g.at(o.Name)
	}
	return out
}

// written is by whom something is changed.
func written(ctx context.Context) store.Write {
	c := calledBy(ctx)
	return store.Write{Actor: c.actor, Origin: c.origin, Limited: !May(c.role, RightSecrets), Once: onceOf(ctx)}
}

func (s *Server) listObjects(ctx context.Context, g group, in *Paging) (*objectList, error) {
	found, err := s.reader.Objects(ctx, g.kind, in.After, in.Limit+1)
	if err != nil {
		return nil, err
	}
	return &objectList{page(found, in.Limit, func(o *store.Object) string { return o.Name }, shownObject)}, nil
}

func (s *Server) readObject(ctx context.Context, g group, name string) (*objectOutput, error) {
	o, err := s.store.Object(ctx, g.kind, name)
	if err != nil {
		return nil, s.about(ctx, g, name, err)
	}
	return objectReply(g, o, http.StatusOK), nil
}

func (s *Server) createObject(ctx context.Context, g group, spec []byte) (*objectOutput, error) {
	o, err := s.store.Create(ctx, g.kind, spec, written(ctx))
	if err != nil {
		return nil, s.about(ctx, g, nameIn(spec, g.key), err)
	}
	return objectReply(g, o, http.StatusCreated), nil
}

// replacement is what a PUT says.
type replacement struct {
	Matching
	createOnly bool
	spec       []byte
}

func (s *Server) replaceObject(ctx context.Context, g group, name string, in replacement) (*objectOutput, error) {
	revision, err := in.revision()
	if err != nil {
		return nil, err
	}
	if in.createOnly {
		return s.putNew(ctx, g, name, in.spec)
	}
	w := written(ctx)
	w.Match, w.TakeOver = revision, in.TakeOver
	o, err := s.store.Replace(ctx, g.kind, name, in.spec, w)
	if g.key == "" && errors.Is(err, store.ErrNotFound) && in.IfMatch == "" { // nothing else creates it
		return s.createObject(ctx, g, in.spec)
	}
	if err != nil {
		return nil, s.about(ctx, g, name, err)
	}
	return objectReply(g, o, http.StatusOK), nil
}

// putNew creates what must not be there (If-None-Match: *).
func (s *Server) putNew(ctx context.Context, g group, name string, spec []byte) (*objectOutput, error) {
	if given := nameIn(spec, g.key); given != name {
		return nil, invalidField(g.key, "must be %q, as in the path", name)
	}
	out, err := s.createObject(ctx, g, spec)
	var p *Problem
	if errors.As(err, &p) && p.Code == "exists" {
		return nil, problem(http.StatusPreconditionFailed, "moved", "%s, and If-None-Match: * only creates", p.Detail)
	}
	return out, err
}

func (s *Server) deleteObject(ctx context.Context, g group, in *removeInput) error {
	revision, err := in.revision()
	if err != nil {
		return err
	}
	w := written(ctx)
	w.Match, w.TakeOver = revision, in.TakeOver
	return s.about(ctx, g, in.Name, s.store.Delete(ctx, g.kind, in.Name, w))
}

// nameIn is the name that a spec gives, as far as it can be read.
func nameIn(spec []byte, key string) (name string) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(spec, &fields) == nil {
		_ = json.Unmarshal(fields[key], &name) // the store says what is wrong with it
	}
	return name
}

// about says more of an error that says that an object is, or is not, there.
func (s *Server) about(ctx context.Context, g group, name string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound) && g.key == "":
		return problem(http.StatusNotFound, "not_found", "there is no organization yet: PUT %s makes it", g.path())
	case errors.Is(err, store.ErrNotFound):
		found, listing := s.store.Objects(ctx, g.kind, "", catalog.MaxSuggestCandidates)
		if listing != nil {
			return errors.Join(err, listing)
		}
		names := make([]string, len(found))
		for i := range found {
			names[i] = found[i].Name
		}
		return missing("not_found", named(noun(g.kind), name), name, names)
	case errors.Is(err, store.ErrExists) && g.key == "":
		return problem(http.StatusConflict, "exists", "there is an organization already")
	case errors.Is(err, store.ErrExists):
		return problem(http.StatusConflict, "exists", "there is %s %q already", g.one, name)
	}
	return err
}

// noun is a kind for people.
func noun(k store.Kind) string {
	if k == store.KindAPI {
		return "API"
	}
	return string(k)
}

// answers document that an object is answered.
func answers(g group, statuses ...int) map[string]*huma.Response {
	list := map[string]*huma.Response{}
	for _, status := range statuses {
		r := &huma.Response{Description: http.StatusText(status), Headers: map[string]*huma.Param{
			"ETag": {Schema: &huma.Schema{Type: huma.TypeString}},
		}, Content: map[string]*huma.MediaType{typeJSON: {Schema: &huma.Schema{AllOf: []*huma.Schema{
			{Ref: "#/components/schemas/Object"}, {Properties: map[string]*huma.Schema{"spec": catalogSchema(string(g.kind))}},
		}}}}}
		if status == http.StatusCreated {
			r.Headers["Location"] = &huma.Param{Schema: &huma.Schema{Type: huma.TypeString}}
		}
		list[fmt.Sprint(status)] = r
	}
	return list
}
