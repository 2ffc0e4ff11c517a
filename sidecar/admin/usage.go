package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/usage"
)

type (
	usageInput struct {
		Since        time.Time `query:"since" doc:"From this time on (RFC 3339). Since the oldest row unless given."`
		Until        time.Time `query:"until" doc:"Before this time (RFC 3339). Until now unless given."`
		Per          string    `query:"per" enum:"minute,hour,day" doc:"The time of a row; one for the whole span unless given."`
		By           []string  `query:"by" enum:"subscription,developer,product,api,operation,outcome" doc:"What has rows of its own, with commas between."`
		Subscription string    `query:"subscription" maxLength:"512" doc:"Only this one's calls, by name or id."`
		Developer    string    `query:"developer" maxLength:"512" doc:"Only this developer's calls."`
		Product      string    `query:"product" maxLength:"512" doc:"Only calls with a subscription to this product."`
		API          string    `query:"api" maxLength:"512" doc:"Only calls of this API."`
		Operation    string    `query:"operation" maxLength:"512" doc:"Only calls of operations of this name."`
		Outcome      string    `query:"outcome" enum:"success,blocked,failed,other" doc:"Only calls that ended so."`
		Limit        int       `query:"limit" minimum:"1" maximum:"100000" default:"1000" doc:"How many rows at most."`
	}
	usageOutput struct{ Body usage.Report }
)

func (s *Server) usageRoutes(rs *routes) {
	add(rs, Route{Method: http.MethodGet, Path: "/v1/usage", Right: RightRead, work: longWork},
		huma.Operation{Summary: "Report what was called", Tags: []string{"usage"}}, s.reportUsage)
}

func (s *Server) reportUsage(ctx context.Context, in *usageInput) (*usageOutput, error) {
	q := usage.Query{
		Since: in.Since, Until: in.Until, Per: usage.Grain(in.Per), Subscription: in.Subscription, Developer: in.Developer,
		Product: in.Product, API: in.API, Operation: in.Operation, Outcome: wire.CallOutcome(in.Outcome), Limit: in.Limit,
	}
	for _, by := range in.By {
		q.By = append(q.By, usage.Dimension(by))
	}
	release, err := s.reports.take(ctx, "report")
	if err != nil {
		return nil, err
	}
	defer release()
	report, err := usage.Read(ctx, s.reading, q, s.now())
	var mistake *usage.QueryError
	if errors.As(err, &mistake) {
		return nil, invalidField("query."+mistake.Field, "%s", mistake.Text)
	}
	if err != nil {
		return nil, err
	}
	return &usageOutput{report}, nil
}
