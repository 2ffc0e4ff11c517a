package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/store"
)

// attempts is how often an operation is changed anew when its API was changed meanwhile.
const attempts = 5

var apis = groups[0]

// InAPI is in the path of operations.
type InAPI struct {
	API string `path:"api" maxLength:"512" doc:"The API's name."`
}

// OfOperation is in the path of one operation.
type OfOperation struct {
	Operation string `path:"operation" maxLength:"512" doc:"The operation's name."`
}

type (
	operationsInput struct {
		InAPI
		Paging
	}
	operationInput struct {
		InAPI
		OfOperation
	}
	newOperationInput struct {
		InAPI
		Matching
		Idempotent
		RawBody []byte
	}
	changedOperationInput struct {
		InAPI
		OfOperation
		Matching
		IfNoneMatch string `header:"If-None-Match" enum:"*" doc:"Only create it; 412 where it is there."`
		RawBody     []byte
	}
	removedOperationInput struct {
		InAPI
		OfOperation
		Matching
	}
)

func (s *Server) operationRoutes(rs *routes) {
	const all, one = "/v1/apis/{api}/operations", "/v1/apis/{api}/operations/{operation}"
	operations := group{kind: "operation"}
	tags := []string{"operations"}
	add(rs, Route{Method: http.MethodGet, Path: all, Right: RightRead}, huma.Operation{Summary: "List an API's operations", Tags: tags},
		s.listOperations)
	add(rs, Route{Method: http.MethodPost, Path: all, Right: RightWrite, types: []string{typeJSON}, creates: true},
		huma.Operation{Summary: "Create an operation", Tags: tags, DefaultStatus: http.StatusCreated,
			RequestBody: bodyOf(catalogSchema("operation"), typeJSON), Responses: answers(operations, http.StatusCreated)},
		s.createOperation)
	add(rs, Route{Method: http.MethodGet, Path: one, Right: RightRead},
		huma.Operation{Summary: "Read an operation", Tags: tags, Responses: answers(operations, http.StatusOK)},
		func(ctx context.Context, in *operationInput) (*objectOutput, error) {
			return s.operationReply(ctx, in.API, in.Operation, http.StatusOK)
		})
	add(rs, Route{Method: http.MethodPut, Path: one, Right: RightWrite, types: []string{typeJSON}},
		huma.Operation{Summary: "Replace an operation", Tags: tags,
			RequestBody: bodyOf(catalogSchema("operation"), typeJSON), Responses: answers(operations, http.StatusOK, http.StatusCreated)},
		s.replaceOperation)
	add(rs, Route{Method: http.MethodDelete, Path: one, Right: RightWrite}, huma.Operation{Summary: "Delete an operation", Tags: tags},
		func(ctx context.Context, in *removedOperationInput) (*struct{}, error) {
			_, err := s.changeAPI(ctx, in.API, in.Matching, func(a *apiSpec) error {
				i := a.index(in.Operation)
				if i < 0 {
					return a.missing(in.Operation)
				}
				a.operations = slices.Delete(a.operations, i, i+1)
				return nil
			})
			return nil, err
		})
}

func (s *Server) listOperations(ctx context.Context, in *operationsInput) (*objectList, error) {
	a, err := s.api(ctx, in.API)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(a.operations, func(x, y operation) int { return strings.Compare(x.name, y.name) })
	from, _ := slices.BinarySearchFunc(a.operations, in.After, func(o operation, after string) int {
		if o.name > after {
			return 1
		}
		return -1
	})
	rest := a.operations[from:]
	l := page(rest[:min(len(rest), in.Limit+1)], in.Limit, func(o *operation) string { return o.name }, a.shown)
	return &objectList{l}, nil
}

func (s *Server) createOperation(ctx context.Context, in *newOperationInput) (*objectOutput, error) {
	name, err := operationName(in.RawBody)
	if err != nil {
		return nil, err
	}
	a, err := s.changeAPI(ctx, in.API, in.Matching, func(a *apiSpec) error {
		if name != "" && a.index(name) >= 0 {
			return problem(http.StatusConflict, "exists", "the API %q has an operation %q already", in.API, name)
		}
		a.put(len(a.operations), operation{name, slices.Clone(in.RawBody)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.reply(name, http.StatusCreated)
}

func (s *Server) replaceOperation(ctx context.Context, in *changedOperationInput) (*objectOutput, error) {
	name, err := operationName(in.RawBody)
	switch {
	case err != nil:
		return nil, err
	case name != in.Operation:
		return nil, invalidField("name", "must be %q, as in the path", in.Operation)
	}
	status := http.StatusOK
	a, err := s.changeAPI(ctx, in.API, in.Matching, func(a *apiSpec) error {
		i := a.index(name)
		switch {
		case i < 0 && in.IfNoneMatch == "":
			return a.missing(name)
		case i < 0:
			i, status = len(a.operations), http.StatusCreated
		case in.IfNoneMatch != "":
			return problem(http.StatusPreconditionFailed, "moved", "the API %q has an operation %q already, and If-None-Match: * only creates", in.API, name)
		}
		a.put(i, operation{name, slices.Clone(in.RawBody)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.reply(name, status)
}

func (s *Server) operationReply(ctx context.Context, api, name string, status int) (*objectOutput, error) {
	a, err := s.api(ctx, api)
	if err != nil {
		return nil, err
	}
	return a.reply(name, status)
}

// apiSpec is an API whose operations can be told apart.
type apiSpec struct {
	store.Object
	fields     map[string]json.RawMessage
	operations []operation
	written    int // the operation that was written; -1: none
}

type operation struct {
	name string
	spec json.RawMessage
}

// api reads an API.
func (s *Server) api(ctx context.Context, name string) (*apiSpec, error) {
	o, err := s.store.Object(ctx, store.KindAPI, name)
	if err != nil {
		return nil, s.about(ctx, apis, name, err)
	}
	return openAPISpec(o)
}

func openAPISpec(o store.Object) (*apiSpec, error) {
	a := &apiSpec{Object: o, written: -1}
	var list []json.RawMessage
	err := json.Unmarshal(o.Spec, &a.fields)
	if err == nil && a.fields["operations"] != nil {
		err = json.Unmarshal(a.fields["operations"], &list)
	}
	if err != nil {
		return nil, fmt.Errorf("reading API %q: %w", o.Name, err)
	}
	for _, spec := range list {
		name, err := operationName(spec)
		if err != nil {
			return nil, fmt.Errorf("reading API %q: %w", o.Name, err)
		}
		a.operations = append(a.operations, operation{name, spec})
	}
	return a, nil
}

// operationName is the name that an operation gives; empty: none that is text.
func operationName(spec []byte) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(spec, &fields); err != nil || fields == nil {
		return "", invalidField("", "must be a mapping with the fields of an operation")
	}
	return nameIn(spec, "name"), nil
}

func (a *apiSpec) index(name string) int {
	return slices.IndexFunc(a.operations, func(o operation) bool { return o.name == name })
}

// put writes the operation at i, or after the last.
func (a *apiSpec) put(i int, o operation) {
	a.written = i
	if i == len(a.operations) {
		a.operations = append(a.operations, o)
	} else {
		a.operations[i] = o
	}
}

func (a *apiSpec) missing(name string) error {
	names := make([]string, len(a.operations))
	for i, o := range a.operations {
		names[i] = o.name
	}
	return missing("not_found", named("operation", name)+" of the API "+strconv.Quote(a.Name), name, names)
}

// shown is an operation as this API shows it.
func (a *apiSpec) shown(o *operation) Object {
	shown := shownObject(&a.Object)
	shown.Kind, shown.API, shown.Name, shown.Spec = "operation", a.Name, o.name, o.spec
	return shown
}

func (a *apiSpec) reply(name string, status int) (*objectOutput, error) {
	i := a.index(name)
	if i < 0 {
		return nil, a.missing(name)
	}
	out := &objectOutput{Status: status, ETag: etag(a.Revision), Body: a.shown(&a.operations[i])}
	if status == http.StatusCreated {
		out.Location = Path("apis", a.Name, "operations", name)
	}
	return out, nil
}

// spec is the API with its operations as they are now.
func (a *apiSpec) spec() ([]byte, error) {
	list := make([]json.RawMessage, len(a.operations))
	for i, o := range a.operations {
		list[i] = o.spec
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	a.fields["operations"] = text
	return json.Marshal(a.fields)
}

// changeAPI reads an API, changes its operations and writes it back; again where it was
// changed meanwhile, unless the caller named the revision to change.
func (s *Server) changeAPI(ctx context.Context, name string, m Matching, change func(*apiSpec) error) (*apiSpec, error) {
	revision, err := m.revision()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		a, err := s.api(ctx, name)
		if err != nil {
			return nil, err
		}
		if revision != 0 && revision != a.Revision {
			return nil, store.ErrMoved
		}
		if err := change(a); err != nil {
			return nil, err
		}
		spec, err := a.spec()
		if err != nil {
			return nil, fmt.Errorf("writing API %q: %w", name, err)
		}
		w := written(ctx)
		w.Match, w.TakeOver = a.Revision, m.TakeOver
		o, err := s.store.Replace(ctx, store.KindAPI, name, spec, w)
		switch {
		case err == nil:
			return openAPISpec(o)
		case errors.Is(err, store.ErrMoved) && revision == 0 && attempt < attempts:
			continue
		}
		return nil, a.own(s.about(ctx, apis, name, err))
	}
}

// own makes the mistakes in the operation that was written relative to it.
func (a *apiSpec) own(err error) error {
	var mistaken *store.InvalidError
	if !errors.As(err, &mistaken) {
		return err
	}
	prefix := fmt.Sprintf("operations[%d]", a.written)
	list := make([]catalog.Mistake, len(mistaken.Mistakes))
	for i, m := range mistaken.Mistakes {
		list[i] = m
		if rest, ok := strings.CutPrefix(m.Field, prefix); ok {
			list[i].Field = strings.TrimPrefix(rest, ".")
		}
	}
	return &store.InvalidError{Mistakes: list}
}
