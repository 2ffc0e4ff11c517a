package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"
	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/store"
)

type (
	applyInput struct {
		Source    string `query:"source" required:"true" maxLength:"128" doc:"The file's name, without folders: what it declares is managed by it."`
		Conflicts string `query:"conflicts" enum:"refuse,keep,take_over" default:"refuse" doc:"What becomes of what another source manages and the file declares otherwise: refuse changes nothing at all, keep leaves it, take_over changes it."`
		Prune     bool   `query:"prune" doc:"Delete what the same source declared before and does not any more. It stays unless given, and is listed."`
		DryRun    bool   `query:"dry_run" doc:"Change nothing, and say what would."`
		RawBody   []byte
	}
	planOutput  struct{ Body Plan }
	exportInput struct {
		Accept string `header:"Accept" doc:"application/json or application/yaml."`
	}
)

func (s *Server) catalogRoutes(rs *routes) {
	tags := []string{"catalog"}
	file := &huma.Schema{Type: huma.TypeObject, Description: "A catalog file, or a part of one."}
	add(rs, Route{Method: http.MethodPost, Path: "/v1/catalog/apply", Right: RightWrite, types: []string{typeYAML, typeJSON}, most: maxFile, work: longWork},
		huma.Operation{Summary: "Apply a catalog file", Tags: tags, RequestBody: bodyOf(file, typeYAML, typeJSON)}, s.applyCatalog)
	add(rs, Route{Method: http.MethodGet, Path: "/v1/catalog", Right: RightRead, work: longWork},
		huma.Operation{Summary: "Export everything as a catalog file", Tags: tags, Responses: map[string]*huma.Response{"200": {
			Description: "A catalog file. Keys stand in it as digests, for those who may write.",
			Content:     map[string]*huma.MediaType{typeJSON: {Schema: file}, typeYAML: {Schema: file}},
		}}}, s.exportCatalog)
}

func (s *Server) applyCatalog(ctx context.Context, in *applyInput) (*planOutput, error) {
	if in.Source != filepath.Base(in.Source) || strings.ContainsAny(in.Source, `/\`) || in.Source == "." || in.Source == ".." || strings.ContainsFunc(in.Source, isControl) {
		return nil, invalidField("query.source", "must be the name of a file, without folders")
	}
	known := &knownNames{Server: s, ctx: ctx}
	options := s.catalog
	options.Partial, options.Known = true, known.known
	c, mistakes := catalog.Parse(in.Source, in.RawBody, options)
	switch {
	case known.err != nil:
		return nil, known.err
	case len(mistakes) > 0:
		return nil, invalid(fieldErrors(mistakes, true))
	}
	w := written(ctx)
	w.Source = store.FileSource(in.Source)
	// No secrets: keys stand in the file as digests, for another place is one of this machine.
	plan, err := s.store.Apply(ctx, store.Application{Catalog: c, Conflicts: store.Conflicts(in.Conflicts), Prune: in.Prune, DryRun: in.DryRun, Write: w})
	if err != nil {
		return nil, inTheWay(plan, err)
	}
	return &planOutput{shownPlan(plan, in.DryRun)}, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// knownNames are the names that the store has, for a file that declares only a part.
type knownNames struct {
	*Server
	ctx context.Context
	err error // the store could not be read
}

func (k *knownNames) known(kind, name string) bool {
	if k.err != nil || !plain(name) {
		return false
	}
	_, err := k.store.Object(k.ctx, store.Kind(kind), name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		k.err = err
	}
	return err == nil
}

// inTheWay is the problem that others manage what a file declares, with all of them.
func inTheWay(plan store.Plan, err error) error {
	var managed *store.ManagedError
	if !errors.As(err, &managed) || len(plan.Kept) == 0 {
		return err
	}
	p := problem(http.StatusConflict, "managed_elsewhere", "%s", &plan.Kept[0])
	if more := len(plan.Kept) - 1; more > 0 {
		p.Detail += fmt.Sprintf(" (and %d more, see errors)", more)
	}
	for i := range plan.Kept {
		k := &plan.Kept[i]
		p.Errors = append(p.Errors, FieldError{Field: strings.TrimSpace(k.Kind + " " + k.Name), Message: k.Error()})
	}
	return p
}

func shownPlan(p store.Plan, dry bool) Plan {
	shown := Plan{DryRun: dry, Changes: []PlannedChange{}, Kept: []Kept{}, Unpruned: []PlannedChange{}}
	for _, c := range p.Changes {
		shown.Changes = append(shown.Changes, shownChange(&c))
	}
	for _, c := range p.Unpruned {
		shown.Unpruned = append(shown.Unpruned, shownChange(&c))
	}
	for _, k := range p.Kept {
		shown.Kept = append(shown.Kept, Kept{Kind: k.Kind, Name: k.Name, Source: k.Source, Why: k.Why})
	}
	return shown
}

func shownChange(c *store.PlannedChange) PlannedChange {
	return PlannedChange{Action: c.Action, Kind: c.Kind, Name: c.Name, Before: document(string(c.Before)), After: document(string(c.After))}
}

// exportCatalog writes everything as a catalog file. The digests of keys are for those who
// could apply it again: a key that somebody chose may be guessed from its digest.
func (s *Server) exportCatalog(ctx context.Context, in *exportInput) (*downloadOutput, error) {
	kind := negotiation.SelectQValue(in.Accept, []string{typeJSON, typeYAML})
	if kind != typeYAML {
		kind = typeJSON
	}
	return &downloadOutput{func(c huma.Context) {
		s.send(c, kind, "exporting the catalog", func(w io.Writer) error {
			release, err := s.exports.take(ctx, "export")
			if err != nil {
				return err
			}
			defer release()
			e := newExporting(w, kind == typeYAML, May(calledBy(ctx).role, RightWrite))
			if err := s.reader.EachExported(ctx, e.item); err != nil {
				return err
			}
			return e.finish()
		})
	}}, nil
}
