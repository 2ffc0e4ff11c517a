package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tollgate/tollgate/sidecar/store"
)

type (
	newTokenInput struct {
		Idempotent
		Body NewToken
	}
	tokenInput struct {
		Name string `path:"name" maxLength:"512" doc:"The token's name."`
	}
	tokenList         struct{ Body List[Token] }
	issuedTokenOutput struct{ Body IssuedToken }
)

func (s *Server) tokenRoutes(rs *routes) {
	tags := []string{"tokens"}
	add(rs, Route{Method: http.MethodGet, Path: "/v1/tokens", Right: RightReadTokens}, huma.Operation{Summary: "List tokens", Tags: tags}, s.listTokens)
	add(rs, Route{Method: http.MethodPost, Path: "/v1/tokens", Right: RightTokens, types: []string{typeJSON}, creates: true, secret: true},
		huma.Operation{Summary: "Make a token and show it, once", Tags: tags, DefaultStatus: http.StatusCreated}, s.createToken)
	add(rs, Route{Method: http.MethodDelete, Path: "/v1/tokens/{name}", Right: RightTokens}, huma.Operation{Summary: "Revoke a token", Tags: tags}, s.revokeToken)
}

func (s *Server) listTokens(ctx context.Context, in *Paging) (*tokenList, error) {
	all, err := s.store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	var rest []store.Token
	for _, t := range all {
		if t.Name > in.After && len(rest) <= in.Limit {
			rest = append(rest, t)
		}
	}
	return &tokenList{page(rest, in.Limit, func(t *store.Token) string { return t.Name }, shownToken)}, nil
}

func shownToken(t *store.Token) Token {
	return Token{Name: t.Name, Role: t.Role, Created: t.Created.UTC(), Expires: moment(t.Expires), Used: moment(t.Used)}
}

func (s *Server) createToken(ctx context.Context, in *newTokenInput) (*issuedTokenOutput, error) {
	n := store.NewToken{Name: in.Body.Name, Role: in.Body.Role}
	if in.Body.Expires != nil {
		n.Expires = *in.Body.Expires
	}
	t, clear, err := s.store.CreateToken(ctx, n, written(ctx))
	if errors.Is(err, store.ErrExists) {
		return nil, problem(http.StatusConflict, "exists", "there is a token %q already: revoke it, or take another name", n.Name)
	}
	if err != nil {
		return nil, err
	}
	return &issuedTokenOutput{IssuedToken{Token: shownToken(&t), Clear: clear}}, nil
}

func (s *Server) revokeToken(ctx context.Context, in *tokenInput) (*struct{}, error) {
	err := s.store.RevokeToken(ctx, in.Name, written(ctx))
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	all, err := s.store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = t.Name
	}
	return nil, missing("not_found", named("token", in.Name), in.Name, names)
}
