package gate

import (
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/dialect"
	"github.com/tollgate/tollgate/internal/wire"
)

const keyMissing = dialect.KeyMissing

// refusal is why a request is not forwarded.
type refusal struct {
	status     int
	reason     string
	message    string // the dialect's own when empty
	retryAfter int64  // seconds
	limit      string // that is exhausted
}

func invalidKey(reason string) *refusal {
	return &refusal{status: 401, reason: reason, message: dialect.KeyInvalid}
}

func unavailable(reason string) *refusal {
	return &refusal{status: 503, reason: reason, retryAfter: 1}
}

// undecided is the refusal for an answer that is no decision.
func undecided(answer wire.Answer) refusal {
	r := refusal{status: 500, reason: answer.Error}
	if answer.Status >= 400 && answer.Status <= 599 {
		r.status = answer.Status
	}
	if r.status == 503 {
		r.retryAfter = 1
	}
	return r
}

// Crashed answers for an exchange whose decision panicked: closed, in its dialect.
func (x *Exchange) Crashed(now time.Time) Outcome {
	x.resume()
	return x.refuse(refusal{status: 500, reason: "internal_error"}, now)
}

func (x *Exchange) refuse(r refusal, now time.Time) Outcome {
	e := dialect.Error{
		Status: r.status, Reason: r.reason, Message: r.message,
		RequestID: x.head.RequestID, RetryAfterSeconds: int(r.retryAfter),
	}
	if r.limit != "" {
		e.Violated = []string{r.limit}
	}
	form := wire.DialectAPIM
	if x.api != nil {
		form = x.api.Errors
		if r.status == 401 {
			e.Challenge = dialect.Challenge(x.head.Scheme, x.head.Host, x.api.Suffix, x.api.Keys.HeaderName)
		}
	}
	x.replied, x.status = true, r.status
	x.identity.Reason = r.reason
	api := ""
	if x.api != nil {
		api = x.api.Name
	}
	x.gate.deny(wire.Denial{
		Call: x.head.RequestID, TimeMillis: now.UnixMilli(), Status: r.status, Reason: r.reason,
		Decision: x.identity.Decision, Subscription: x.identity.Subscription, API: api, Operation: x.identity.Operation, Limit: r.limit,
	})
	headers, body := dialect.Render(dialect.Choose(form, x.head.Accept), e)
	return Outcome{Step: Reply, Edits: x.hide(x.refusedTarget()), Reply: Response{r.status, headers, body}}
}

func (x *Exchange) ready(now time.Time) Outcome {
	x.replied, x.probe = true, true
	response := Response{Status: 503, Headers: [][2]string{{"content-type", "application/json"}, {"retry-after", "1"}}, Body: []byte(`{"ready":false}`)}
	if x.gate.Ready(now) {
		response = Response{Status: 200, Headers: response.Headers[:1], Body: []byte(`{"ready":true}`)}
	}
	return Outcome{Step: Reply, Edits: x.hide(ReadyPath), Reply: response}
}

// opens says whether a scope holds the API.
func opens(s wire.Scope, api int) bool { return slices.Contains(s.APIs, api) }
