package gate

import (
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// RouteHeader is what Envoy's routes match on. Only the filter sets it, so that without
// the filter nothing is routed (invariant I5).
const RouteHeader = "x-tollgate-api"

// Headers in which AzureML's clients send their key beside, or about, Authorization
// (the PowerShell client sends both), and API Management's default.
const (
	azureMLTokenHeader = "x-ms-metaanalytics-authorizationtoken"
	azureMLSDKHeader   = "x-aml-sdk"
	apimKeyHeader      = "ocp-apim-subscription-key"
	apimKeyQuery       = "subscription-key"
)

// carriedKeyMin is the length in bytes from which on a key is looked for in the rest of
// the request.
const carriedKeyMin = 16

// hides says whether a header is kept from policies and backends: each place where a
// consumer's key can stand, and what only the gateway may say.
func (x *Exchange) hides(name string) bool {
	if name == "" {
		return true
	}
	switch name[0] { // most names are none of these: one look at the first letter
	case 'a':
		if name == "authorization" {
			return x.hidesAuthorization()
		}
	case 'o':
		if name == apimKeyHeader {
			return true
		}
	case 'x':
		if strings.HasPrefix(name, "x-tollgate-") || name == azureMLTokenHeader {
			return true
		}
		if name == azureMLSDKHeader {
			return x.api == nil || x.api.Authorization == wire.AuthorizationInject
		}
	}
	if x.api != nil {
		return name == x.api.Keys.Header
	}
	return x.gate.held != nil && slices.Contains(x.gate.held.keyHeaders, name)
}

// hidesAuthorization is false only where the client's own credential is the backend's.
func (x *Exchange) hidesAuthorization() bool {
	return x.api == nil || x.bearer || x.api.Authorization != wire.AuthorizationPass
}

// hide takes every place of a consumer's key out of the request, before it can be logged,
// answered or paused: headers once, the target whenever it is to be another.
func (x *Exchange) hide(target string) Edits {
	var edits Edits
	if !x.hidden {
		for i := range x.head.Headers {
			name, value := x.head.Headers[i][0], x.head.Headers[i][1]
			if (x.hides(name) || x.carriesKey(value)) && !slices.Contains(edits.Remove, name) {
				edits.remove(name)
			}
		}
		x.hidden = true
	}
	if target != x.shown {
		edits.set(":path", target)
		x.shown = target
	}
	return edits
}

// target is the canonical target without the key.
func (x *Exchange) target() string {
	match := x.match
	match.Query = x.query
	return match.Target()
}

// refusedTarget is what remains of a refused request's target: no query, and of a path
// that matched nothing the suffix alone. The rest is the client's bytes, and a mistyped
// key may be among them.
func (x *Exchange) refusedTarget() string {
	switch {
	case x.api == nil:
		return "/"
	case x.op == nil:
		return "/" + x.api.Suffix
	}
	match := x.match
	match.Query = nil
	return match.Target()
}

// forward sends the request on, with what the backend and the route want to see.
func (x *Exchange) forward(now time.Time) Outcome {
	x.forwarded = now
	edits := x.hide(x.target())
	switch x.api.Authorization {
	case wire.AuthorizationInject:
		edits.replace("authorization", "Bearer "+x.api.BackendKey)
	case wire.AuthorizationConsumerKey:
		if x.key != "" {
			edits.replace("authorization", "Bearer "+x.key)
		}
	}
	if x.op.Creates != "" || x.CountsRows() {
		edits.remove("accept-encoding") // the response's body is read
	}
	for _, name := range x.decision.answer.Request.Remove {
		if mayChange(name) {
			edits.remove(name)
		}
	}
	for name, value := range x.decision.answer.Request.Set {
		if mayChange(name) {
			edits.replace(name, value)
		}
	}
	edits.set(RouteHeader, x.api.Suffix)
	return Outcome{Step: Forward, Edits: edits}
}

// mayChange says whether a policy may change a header: not the route, not the target.
func mayChange(name string) bool {
	return name != "" && name[0] != ':' && name != "host" && !strings.HasPrefix(name, "x-tollgate-")
}

// replace sets a header that may be marked for removal: one change instead of two.
func (e *Edits) replace(name, value string) {
	e.Remove = slices.DeleteFunc(e.Remove, func(removed string) bool { return removed == name })
	e.set(name, value)
}

// ResponseHead decides on the head of a response. A reply of the gateway's own passes
// unchanged. status may be 0 unless NeedsStatus.
func (x *Exchange) ResponseHead(status int) Outcome {
	if x.replied || x.api == nil {
		return Outcome{Step: Forward}
	}
	x.status = status
	var edits Edits
	if x.spent && x.spending.Nearest >= 0 {
		edits.Set = rateLimit(x.decision.rateLimitPolicy, x.limits()[x.spending.Nearest].Name, x.spending.Remaining, x.spending.ResetSeconds)
	}
	for _, name := range x.api.HideResponseHeaders {
		edits.remove(name)
	}
	for _, name := range x.decision.answer.Response.Remove {
		if mayChange(name) {
			edits.remove(name)
		}
	}
	for name, value := range x.decision.answer.Response.Set {
		if mayChange(name) {
			edits.replace(name, value)
		}
	}
	if x.op != nil && x.op.Creates != "" && status >= 200 && status < 300 {
		return Outcome{Step: Hold, Edits: edits}
	}
	return Outcome{Step: Forward, Edits: edits}
}
