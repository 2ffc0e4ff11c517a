package gate

import (
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// resourceIDMax is the longest id in bytes that is learned from a response.
const resourceIDMax = 256

// BodyMax is the most of a held response body that the gate reads, in bytes.
const BodyMax = 4 << 10

// intend says what is about to be created, before the backend hears of it: without a
// sidecar nothing is submitted that nobody could own.
func (x *Exchange) intend(now time.Time) Outcome {
	x.wait(now)
	return Outcome{Step: Record, Record: x.recording(""), Edits: x.hide(x.target())}
}

func (x *Exchange) recording(id string) *wire.ResourceRequest {
	resource := x.resource(x.op.Creates)
	resource.ID = id
	return &wire.ResourceRequest{
		Version: wire.Version, Store: x.about.store, Call: x.head.RequestID, Subscription: x.record.Subscription,
		API: x.api.Name, Operation: x.op.Name, Resource: resource,
	}
}

// Intended goes on with the request after the sidecar's answer to its intent. Only now does
// it spend: nothing may come between that and going on.
func (x *Exchange) Intended(ok bool, now time.Time) Outcome {
	x.resume()
	outcome := x.recorded(ok, now)
	x.giveBack()
	return outcome
}

func (x *Exchange) recorded(ok bool, now time.Time) Outcome {
	if refusal := x.admit(now); refusal != nil {
		return x.refuse(*refusal, now)
	}
	if x.subject() != x.about {
		return x.decide(now)
	}
	x.identity.Decision = x.decision.answer.Decision
	if !ok {
		return x.refuse(*unavailable("sidecar_unavailable"), now)
	}
	x.intended = true
	return x.pass(now)
}

// Created goes on with a held response. The client sees the id only once it is recorded.
func (x *Exchange) Created(body []byte, now time.Time) Outcome {
	id, ok := resourceID(body)
	if !ok {
		return x.refuse(refusal{status: 502, reason: x.op.Creates + "_id_unreadable"}, now)
	}
	x.wait(now)
	return Outcome{Step: Record, Record: x.recording(id)}
}

// Recorded goes on with the response after the sidecar's answer to its id.
func (x *Exchange) Recorded(ok bool, now time.Time) Outcome {
	x.resume()
	if !ok {
		return x.refuse(*unavailable(x.op.Creates + "_not_recorded"), now)
	}
	return Outcome{Step: Forward}
}

// resourceID reads a JSON string of letters, digits, "-" and "_": AzureML answers a
// submit with the job's id alone.
func resourceID(body []byte) (string, bool) {
	id, quoted := strings.CutPrefix(strings.TrimSpace(string(body)), `"`)
	id, closed := strings.CutSuffix(id, `"`)
	if !quoted || !closed || id == "" || len(id) > resourceIDMax {
		return "", false
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		letterOrDigit := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letterOrDigit && c != '-' && c != '_' {
			return "", false
		}
	}
	return id, true
}

// Creates says whether the response's status decides on the next step.
func (x *Exchange) Creates() bool { return x.op != nil && x.op.Creates != "" && !x.replied }
