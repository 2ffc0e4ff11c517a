package gate

import (
	"github.com/tollgate/tollgate/internal/lease"
	"github.com/tollgate/tollgate/internal/wire"
)

// Step is what the host does next with a request or its response.
type Step int

const (
	// Forward lets the request, or the response, go on.
	Forward Step = iota
	// Reply answers in the backend's place.
	Reply
	// Ask sends Outcome.Ask to the sidecar and waits: Answered or Unavailable is next.
	Ask
	// Record sends Outcome.Record and waits: Recorded is next.
	Record
	// Hold waits for the whole response body: Created is next.
	Hold
)

// Outcome is one decision of the gate. Edits apply whatever the step.
type Outcome struct {
	Step  Step
	Edits Edits
	Reply Response
	Ask   *wire.Ask
	Store string // of Ask's subscription
	// Message goes with Ask; Settled takes what became of it.
	Message lease.Message
	Record  *wire.ResourceRequest
}

// Edits are changes to a header map: first removals, then replacements.
type Edits struct {
	Remove []string
	Set    [][2]string
}

func (e *Edits) remove(name string)     { e.Remove = append(e.Remove, name) }
func (e *Edits) set(name, value string) { e.Set = append(e.Set, [2]string{name, value}) }

// Response is an answer that the gateway makes itself.
type Response struct {
	Status  int
	Headers [][2]string
	Body    []byte
}

// Identity is what is known of a request, for access logs and tracing. Nothing in it is
// secret or chosen by the client.
type Identity struct {
	API, Operation   string
	Subscription     uint32 // 0: none
	Decision, Reason string
}

// Allowed is the reason of a request that a decision let pass.
const Allowed = "allowed"
