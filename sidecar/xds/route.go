package xds

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tollgate/tollgate/internal/catalog"
)

const corsFilter = "envoy.filters.http.cors"

// Unfiltered is the body of the answer to a request that the filter has not let into an
// API. A client meets it only where the filter is missing from Envoy's chain.
const Unfiltered = `{ "statusCode": 503, "message": "The gateway cannot check requests: its filter is missing." }`

// internalHeaders are ours and Envoy's: nothing of them concerns a backend. Envoy adds the
// last two for callers from outside.
var internalHeaders = []string{
	APIHeader,
	"x-envoy-expected-rq-timeout-ms",
	"x-envoy-original-path",
	"x-envoy-original-host",
	"x-envoy-attempt-count",
	"x-envoy-external-address",
	"x-envoy-internal",
}

// corsHeaders are removed from the answers of a backend whose API declares CORS, or it
// could widen what the catalog says.
var corsHeaders = []string{
	"access-control-allow-credentials",
	"access-control-allow-headers",
	"access-control-allow-methods",
	"access-control-allow-origin",
	"access-control-expose-headers",
	"access-control-max-age",
}

// newRoutes makes one table. A request is routed twice: first as it comes, which must find
// a route or no filter runs, and again when the filter has named the API. So there are, in
// this order: the ways to the backends, which need the filter's header; the APIs as
// clients address them, which carry the CORS policy and lead nowhere; and a last one for
// all the rest, which leads nowhere either.
//
// There is one virtual host for all: where a host matters, its routes match on it.
func newRoutes(apis []catalog.API) (*routev3.RouteConfiguration, error) {
	host := &routev3.VirtualHost{Name: "gateway", Domains: []string{"*"}}
	for _, api := range apis {
		routes, err := backendRoutes(api)
		if err != nil {
			return nil, fmt.Errorf("API %q: %w", api.Name, err)
		}
		host.Routes = append(host.Routes, routes...)
	}
	for _, api := range apis {
		routes, err := clientRoutes(api)
		if err != nil {
			return nil, fmt.Errorf("API %q: %w", api.Name, err)
		}
		host.Routes = append(host.Routes, routes...)
	}
	host.Routes = append(host.Routes, unfiltered("unfiltered",
		&routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}))
	return &routev3.RouteConfiguration{
		Name:                   RouteConfiguration,
		VirtualHosts:           []*routev3.VirtualHost{host},
		RequestHeadersToRemove: internalHeaders,
		// A file at a time: while a new cluster is on its way its route answers 503.
		ValidateClusters: wrapperspb.Bool(false),
	}, nil
}

// backendRoutes lead to the API's cluster. Batch POSTs have routes of their own, without
// retries: nobody wants a job twice.
func backendRoutes(api catalog.API) ([]*routev3.Route, error) {
	b, err := newBackend(api.Backend.URL)
	if err != nil {
		return nil, err
	}
	// The prefix is what prefix_rewrite replaces; a regex in its place would be replaced whole.
	prefix := &routev3.RouteMatch_Prefix{Prefix: "/" + api.Suffix + "/"}
	headers := []*routev3.HeaderMatcher{header(APIHeader, exact(api.Suffix))}
	if len(api.Hosts) > 0 { // another API may have the same suffix on other hosts
		headers = append(headers, authority(api.Hosts))
	}
	var routes []*routev3.Route
	for _, op := range api.Operations {
		if op.Method != http.MethodPost || (op.Creates == "" && op.Requires == "") {
			continue
		}
		match := &routev3.RouteMatch{
			PathSpecifier: prefix,
			Headers: append(headers[:len(headers):len(headers)],
				header(":method", exact(op.Method)), header(":path", regex(pathRegex(api.Suffix, op.Template)))),
		}
		routes = append(routes, backendRoute(api, b, api.Suffix+" "+op.Name, match, false))
	}
	match := &routev3.RouteMatch{PathSpecifier: prefix, Headers: headers}
	return append(routes, backendRoute(api, b, api.Suffix, match, true)), nil
}

func backendRoute(api catalog.API, b backend, name string, match *routev3.RouteMatch, retry bool) *routev3.Route {
	timeout := time.Duration(api.Backend.Timeout)
	action := &routev3.RouteAction{
		ClusterSpecifier:            &routev3.RouteAction_Cluster{Cluster: ClusterName(api)},
		ClusterNotFoundResponseCode: routev3.RouteAction_SERVICE_UNAVAILABLE,
		// The filter's path is "/suffix/...", with something or nothing after that slash.
		PrefixRewrite:        b.path + "/",
		HostRewriteSpecifier: &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: b.header},
		Timeout:              durationpb.New(timeout),
		// A backend that thinks sends no bytes meanwhile: the call's own bound counts.
		IdleTimeout: durationpb.New(timeout + 10*time.Second),
	}
	if retry {
		action.RetryPolicy = &routev3.RetryPolicy{RetryOn: "connect-failure", NumRetries: wrapperspb.UInt32(1)}
	}
	hidden := slices.Clone(api.HideResponseHeaders)
	if api.CORS != nil {
		hidden = append(hidden, corsHeaders...)
	}
	return &routev3.Route{
		Name:                    name,
		Match:                   match,
		Action:                  &routev3.Route_Route{Route: action},
		ResponseHeadersToRemove: hidden,
	}
}

// clientRoutes match the API as clients address it. What they are for is the CORS policy:
// Envoy's CORS filter runs before ours and takes it from the route that it meets, which
// must be one to a cluster. That cluster does not exist.
func clientRoutes(api catalog.API) ([]*routev3.Route, error) {
	if api.CORS == nil {
		return nil, nil
	}
	policy, err := pack(corsPolicy(api))
	if err != nil {
		return nil, err
	}
	match := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/" + api.Suffix}}
	if len(api.Hosts) > 0 {
		match.Headers = []*routev3.HeaderMatcher{authority(api.Hosts)}
	}
	return []*routev3.Route{{
		Name:  api.Suffix + " unfiltered",
		Match: match,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier:            &routev3.RouteAction_Cluster{Cluster: NoCluster},
			ClusterNotFoundResponseCode: routev3.RouteAction_SERVICE_UNAVAILABLE,
		}},
		TypedPerFilterConfig: map[string]*anypb.Any{corsFilter: policy},
	}}, nil
}

// authority matches hosts as the filter does: whatever the port, and in any letter case.
func authority(hosts []string) *routev3.HeaderMatcher {
	quoted := make([]string, len(hosts))
	for i, h := range hosts {
		quoted[i] = regexp.QuoteMeta(h)
	}
	return header(":authority", regex("(?i)(?:"+strings.Join(quoted, "|")+")(?::[0-9]*)?"))
}

// corsPolicy allows what the API's operations use. Preflights from elsewhere are answered
// without permission, here, and never reach the filter: they carry no key to check.
func corsPolicy(api catalog.API) *corsv3.CorsPolicy {
	p := &corsv3.CorsPolicy{
		AllowMethods:                 strings.Join(methods(api), ", "),
		AllowHeaders:                 strings.Join(allowHeaders(api), ", "),
		ExposeHeaders:                strings.Join(api.CORS.ExposeHeaders, ", "),
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	if api.CORS.MaxAge > 0 {
		p.MaxAge = strconv.FormatInt(int64(time.Duration(api.CORS.MaxAge)/time.Second), 10)
	}
	for _, origin := range api.CORS.AllowOrigins {
		p.AllowOriginStringMatch = append(p.AllowOriginStringMatch, exact(origin)) // "*" is any
	}
	return p
}

func methods(api catalog.API) []string {
	seen := map[string]bool{}
	var list []string
	for _, op := range api.Operations {
		if !seen[op.Method] {
			seen[op.Method] = true
			list = append(list, op.Method)
		}
	}
	sort.Strings(list)
	return list
}

// allowHeaders is what the catalog lists, and what no call does without: the key.
func allowHeaders(api catalog.API) []string {
	list := append([]string{}, api.CORS.AllowHeaders...)
	needed := []string{api.Keys.Header, "Content-Type"}
	if api.Keys.Bearer {
		needed = append(needed, "Authorization")
	}
	for _, name := range needed {
		if name != "" && !containsFold(list, name) {
			list = append(list, name)
		}
	}
	return list
}

func containsFold(list []string, name string) bool {
	for _, s := range list {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}

// unfiltered answers instead of forwarding: a request that still is on such a route after
// all filters was checked by none.
func unfiltered(name string, match *routev3.RouteMatch) *routev3.Route {
	return &routev3.Route{
		Name:  name,
		Match: match,
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: http.StatusServiceUnavailable,
			Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: Unfiltered}},
		}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "content-type", Value: "application/json"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}
}

// header matches one whole header value.
func header(name string, m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m},
	}
}

func regex(whole string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: whole},
	}}
}

// pathRegex matches an operation's request targets as the filter spells them; each
// parameter is one segment, and any query may follow.
func pathRegex(suffix, template string) string {
	var b strings.Builder
	b.WriteString("/" + regexp.QuoteMeta(suffix))
	for segment := range strings.SplitSeq(strings.TrimPrefix(template, "/"), "/") {
		if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
			b.WriteString("/[^/?]+")
		} else {
			b.WriteString("/" + regexp.QuoteMeta(escape(segment)))
		}
	}
	b.WriteString(`(\?.*)?`)
	return b.String()
}

// escape percent-encodes all but RFC 3986's unreserved characters, as the filter does with
// every segment of a path (package internal/route).
func escape(segment string) string {
	// QueryEscape differs in spaces alone.
	return strings.ReplaceAll(url.QueryEscape(segment), "+", "%20")
}
