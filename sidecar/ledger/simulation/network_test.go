package simulation_test

import (
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// message is one wire.DecideRequest on its way.
type message struct {
	vm          string
	asks        []wire.Ask
	settlements []wire.Settlement
	abandoned   []uint64
	reply       func(reply) // nil: nobody listens
}

// reply is a wire.DecideReply; not ok: any other status, or none at all.
type reply struct {
	ok      bool
	answers []wire.Answer
	settled bool
}

// transmit has something arrive: soon or late, twice or never.
func (w *world) transmit(arrive func()) {
	copies := 1
	switch {
	case w.fault(w.Faults.Loss):
		copies = 0
	case w.fault(w.Faults.Double):
		copies = 2
	}
	for range copies {
		w.after(w.delay(), arrive)
	}
}

func (w *world) delay() time.Duration {
	if w.fault(w.Faults.Slow) {
		return w.between(0, w.Faults.Slowest)
	}
	return w.between(100*time.Microsecond, 15*time.Millisecond)
}
