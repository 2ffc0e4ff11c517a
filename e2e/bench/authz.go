package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/route"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/policy"
)

// registerAuthz serves ext_authz: bench authz CATALOG BACKEND SOCKET.
func registerAuthz(ctx context.Context, args []string, g *grpc.Server) error {
	if len(args) != 2 {
		return errors.New("authz CATALOG BACKEND SOCKET")
	}
	server, err := newAuthz(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	authv3.RegisterAuthorizationServer(g, server)
	return nil
}

// authz does what a small external authorization server would: it finds the operation,
// knows one key, evaluates our policies with the whole request as input, and has Envoy
// rewrite. It keeps no decision.
type authz struct {
	authv3.UnimplementedAuthorizationServer
	engine  *policy.Engine
	api     policy.API
	ops     []wire.Operation
	routes  *route.Table
	keys    map[[32]byte]*policy.Subscription
	product *policy.Product
	backend string // its key
}

func newAuthz(ctx context.Context, file, backend string) (*authz, error) {
	c, err := readCatalog(file, backend)
	if err != nil {
		return nil, err
	}
	engine, err := policy.Open(ctx, policy.Config{Catalog: policy.CatalogData(c)})
	if err != nil {
		return nil, err
	}
	api, demo := c.APIs[0], c.Subscriptions[0]
	a := &authz{
		engine: engine, api: policy.API{Name: api.Name, Suffix: api.Suffix, Tags: api.Tags},
		product: &policy.Product{Name: demo.Product}, backend: os.Getenv("AZUREML_API_KEY"),
	}
	a.keys = map[[32]byte]*policy.Subscription{apikey.Digest(os.Getenv("TOLLGATE_DEMO_KEY")): {
		ID: 1, Name: demo.Name, State: "active", Scope: policy.Scope{Kind: "product", Name: demo.Product},
		Developer: policy.Developer{Email: demo.Developer},
	}}
	for _, o := range api.Operations {
		a.ops = append(a.ops, wire.Operation{Name: o.Name, Method: o.Method, Template: o.Template})
	}
	a.routes, err = route.Compile([]wire.API{{Name: api.Name, Suffix: api.Suffix, Operations: a.ops}})
	return a, err
}

// Check is called for each request.
func (a *authz) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	request := r.GetAttributes().GetRequest().GetHttp()
	match, found := a.routes.Find(request.GetMethod(), request.GetHost(), request.GetPath())
	subscription := a.keys[apikey.Digest(request.GetHeaders()[keyHeader])]
	if found != route.Found || subscription == nil {
		return denied(typev3.StatusCode_Unauthorized), nil
	}
	operation := a.ops[match.Operation]
	decision, err := a.engine.Decide(ctx, policy.Input{
		API: a.api, Operation: policy.Operation{Name: operation.Name, Method: operation.Method, Template: operation.Template},
		Product: a.product, Subscription: subscription, Request: whole(r.GetAttributes(), match),
		Gateway: policy.Gateway{Name: "tollgate"},
	})
	if err != nil {
		return nil, err
	}
	if !decision.Allow {
		return denied(typev3.StatusCode(decision.Status)), nil //nolint:gosec // 400 to 599
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				header("authorization", "Bearer "+a.backend),
				header("x-tollgate-api", a.api.Suffix),
			},
			HeadersToRemove: []string{keyHeader},
		}},
	}, nil
}

const keyHeader = "ocp-apim-subscription-key"

// whole is all of a request, but for the key.
func whole(attributes *authv3.AttributeContext, match route.Match) wire.Request {
	http := attributes.GetRequest().GetHttp()
	path := match.Path()
	r := wire.Request{
		Method: &http.Method, Path: &path, Scheme: &http.Scheme, Host: &http.Host,
		Params: map[string]string{}, Query: map[string][]string{}, Headers: map[string][]string{},
		Source: &wire.Source{Address: attributes.GetSource().GetAddress().GetSocketAddress().GetAddress()},
	}
	for _, p := range match.Params {
		r.Params[p.Name] = p.Value
	}
	_, query, _ := strings.Cut(http.GetPath(), "?")
	if values, err := url.ParseQuery(query); err == nil { // the match has read it
		r.Query = values
	}
	for name, value := range http.GetHeaders() {
		if name != keyHeader && !strings.HasPrefix(name, ":") {
			r.Headers[name] = []string{value}
		}
	}
	return r
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func denied(code typev3.StatusCode) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied), Message: fmt.Sprint(int32(code))},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: code},
		}},
	}
}
