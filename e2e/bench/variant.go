package main

// variant is one way to get a request checked and rewritten.
type variant struct {
	name, about string
	// filtered: the filter of bin/tollgate.wasm checks, with a sidecar of its own.
	filtered bool
	module   string // another compiled filter; empty: that one
	policy   string // Rego that is added to the built-in policies of that sidecar
	fresh    bool   // each request has another x-bench, so that policy decides anew
	// filter is what stands in the filter's place, an HTTP filter of Envoy's; nil: nothing.
	filter func(r *rig) object
	// server is the command line, but for the socket, by which this program is what that
	// filter asks; nil: it asks nobody.
	server func(r *rig) []string
	asks   bool // each request makes a call
	limits bool // the catalog has two limits
	// byPath: routes are picked by the path's prefix alone, for no header names the API.
	// The consumer's key goes on to the backend then.
	byPath bool
}

// object is a part of Envoy's configuration.
type object = map[string]any

// Names of the variants that ratios are made of.
const (
	bare      = "bare"
	warm      = "warm"
	cold      = "cold"
	extAuthz  = "ext_authz"
	limits    = "limits"
	ratelimit = "ratelimit"
)

// variants in the order in which they get load.
var variants = []variant{{
	name: bare, about: "no filter: the route is picked by the path's prefix",
	byPath: true,
}, {
	name: warm, about: "the filter, its decision kept",
	filtered: true,
}, {
	name: limits, about: "the filter, its decision kept, with two limits (a rate and a quota) spent from leases",
	filtered: true, limits: true,
}, {
	name: cold, about: "the filter, and a policy that reads a header that no two requests share: a call each",
	filtered: true, policy: headerPolicy, fresh: true, asks: true,
}, {
	name: "lua", about: "a Lua filter that knows one key and does the same rewriting",
	filter: luaFilter,
}, {
	name: extAuthz, about: "ext_authz (gRPC, Unix socket) to a server that evaluates the built-in policies with the whole input: a call each",
	filter: authzFilter, server: authzServer, asks: true,
}, {
	name: ratelimit, about: "Envoy's global rate limit filter (gRPC, Unix socket) with the same two limits, to a server that counts in memory, and nothing else (no key is checked, none replaced): a call each",
	filter: ratelimitFilter, server: ratelimitServer, asks: true,
	byPath: true,
}}

// headerPolicy makes decisions depend on a header. It never denies.
const headerPolicy = `package tollgate.access

deny contains "bench" if input.request.headers["x-bench"][0] == "deny"
`

// luaFilter answers 401 where the key is not the one, and else rewrites as the filter does.
func luaFilter(r *rig) object {
	return object{"name": "envoy.filters.http.lua", "typed_config": object{
		"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
		"default_source_code": object{"inline_string": `
local backend_keys = { ["` + r.keys.consumer + `"] = "Bearer ` + r.keys.backend + `" }

function envoy_on_request(handle)
  local headers = handle:headers()
  local authorization = backend_keys[headers:get("ocp-apim-subscription-key") or ""]
  if authorization == nil then
    handle:respond({[":status"] = "401"}, "")
    return
  end
  headers:remove("ocp-apim-subscription-key")
  headers:replace("authorization", authorization)
  headers:replace("x-tollgate-api", "` + apiSuffix + `")
end
`},
	}}
}

func authzFilter(*rig) object {
	return object{"name": "envoy.filters.http.ext_authz", "typed_config": object{
		"@type":                 "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
		"transport_api_version": "V3",
		"clear_route_cache":     true,
		"grpc_service":          serverGRPC(),
	}}
}
