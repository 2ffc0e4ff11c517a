package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/sidecar/audit"
)

type (
	auditInput struct {
		Limit  int       `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many there are on a page at most."`
		After  int64     `query:"after" minimum:"1" doc:"What the page before had as next: only older entries follow."`
		Kind   string    `query:"kind" maxLength:"512" doc:"Only changes of this kind."`
		Name   string    `query:"name" maxLength:"512" doc:"Only changes of what has this name."`
		Actor  string    `query:"actor" maxLength:"512" doc:"Only changes by this actor."`
		Action string    `query:"action" maxLength:"512" doc:"Only this action, like subscription.approve."`
		Since  time.Time `query:"since" doc:"Only changes from this time on (RFC 3339)."`
		Until  time.Time `query:"until" doc:"Only changes before this time (RFC 3339)."`
	}
	auditList   struct{ Body List[AuditEntry] }
	verifyInput struct {
		Expect string `query:"expect" maxLength:"100" doc:"A head, ID:HASH, that was noted: it must be in the audit still."`
	}
	verifyOutput struct{ Body AuditReport }
)

func (s *Server) auditRoutes(rs *routes) {
	tags := []string{"audit"}
	add(rs, Route{Method: http.MethodGet, Path: "/v1/audit", Right: RightReadAudit}, huma.Operation{Summary: "List who changed what, newest first", Tags: tags}, s.listAudit)
	add(rs, Route{Method: http.MethodGet, Path: "/v1/audit/verify", Right: RightReadAudit, work: longWork},
		huma.Operation{Summary: "Verify that the audit is as it was written", Tags: tags}, s.verifyAudit)
}

func (s *Server) listAudit(ctx context.Context, in *auditInput) (*auditList, error) {
	q := audit.Query{Kind: in.Kind, Name: in.Name, Actor: in.Actor, Action: in.Action, Since: in.Since, Until: in.Until, After: in.After, Limit: in.Limit}
	found, err := withNext(q.Limit, func(last *audit.Entry, limit int) ([]audit.Entry, error) {
		if last != nil {
			q.After = last.ID
		}
		q.Limit = limit
		return audit.List(ctx, s.reading, q)
	})
	if err != nil {
		return nil, err
	}
	return &auditList{page(found, in.Limit, func(e *audit.Entry) string { return strconv.FormatInt(e.ID, 10) }, shownEntry)}, nil
}

func shownEntry(e *audit.Entry) AuditEntry {
	return AuditEntry{ID: e.ID, Time: e.Time.UTC(), Actor: e.Actor, Origin: e.Origin, Action: e.Action, Kind: e.Kind, Name: e.Name,
		Before: document(e.Before), After: document(e.After), Hash: hex.EncodeToString(e.Hash[:])}
}

// document is JSON, or nil for what is none: somebody wrote to the audit.
func document(text string) json.RawMessage {
	if !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}

func (s *Server) verifyAudit(ctx context.Context, in *verifyInput) (*verifyOutput, error) {
	var expect *audit.Head
	if in.Expect != "" {
		head, err := audit.ParseHead(in.Expect)
		if err != nil {
			return nil, invalidField("query.expect", "%s", err)
		}
		expect = &head
	}
	release, err := s.verifications.take(ctx, "verification")
	if err != nil {
		return nil, err
	}
	defer release()
	found, err := audit.Verify(ctx, s.reading, expect)
	if err != nil {
		return nil, err
	}
	report := AuditReport{Head: found.Head.String(), Rows: found.Rows}
	if found.Broken != nil {
		report.Broken = &AuditBreak{ID: found.Broken.ID, Why: found.Broken.Why}
	}
	return &verifyOutput{report}, nil
}
