// Package ledger is the durable record of what was leased: the only authority on limits.
// It grants, settles and forgets leases so that no limit in calls ever admits more than its
// amount, for any interleaving of workers, sidecars, messages and crashes (docs/limits.md
// has the algorithm and why it holds). What it has answered is durable.
package ledger

import (
	"errors"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// Batch is what one message of one worker asks of the ledger: first everything is settled,
// then the takes are answered in their order.
type Batch struct {
	Worker      string // wire.DecideRequest.VM
	Settlements []wire.Settlement
	Abandoned   []uint64
	Takes       []Take
}

// Take asks for a lease on each of Limits, all or none.
type Take struct {
	ID           uint64
	Waiting      bool
	Subscription uint32 // whose counters these are listed under, see Counter; 0: nobody's
	// Until is when the subscription expires: no lease outlives it. Zero: never.
	Until  time.Time
	Limits []Limit
}

// Limit is a limit and what the worker wants of it.
type Limit struct {
	wire.Limit
	Held   bool  // the worker has a lease on it: nothing is taken
	Wanted int64 // units, beyond what waits
}

// Grant is the answer to a Take.
type Grant struct {
	// Leases: empty where Exhausted is set, where the take was abandoned, and where it was
	// granted before: a reply that was lost stays lost.
	Leases    []wire.Lease
	Exhausted *wire.Exhausted
}

// Counter is the state of one counter, for people.
type Counter struct {
	ID int64
	// Subscription is whose it is. One whose key several subscriptions use is nobody's, 0,
	// from when the second asked for it: it is listed with Filter.All only.
	Subscription uint32
	Limit        wire.Limit // as it was last asked for
	Period       int64      // of a quota, from 0; else 0
	// Leased is what is out in open leases and may be spent or come back, Used what else
	// counts in the window or period: it was spent, or its worker has not said so in time.
	// Left is what is neither; below 0 when overdrawn.
	Used, Leased, Left int64
	// Raised is what was added to the amount of this period.
	Raised int64
	// Reset is when Left grows next; zero: never, or nothing is used.
	Reset time.Time
}

// Event says that a limit reached a part of its amount, once per window.
type Event struct {
	Time         time.Time
	Counter      int64
	Subscription uint32
	Limit        wire.Limit
	Percent      int // 80, 95 or 100
	Used         int64
}

// Adjustment is a change of a counter by an administrator, as audited.
type Adjustment struct {
	Time    time.Time
	Actor   string
	Action  string // limit.reset or limit.raise
	Counter int64
	// Subscription is whose counter it is; 0: nobody's.
	Subscription uint32
	Units        int64 // of a raise
	// Before and After are the counter's state, as JSON objects.
	Before, After string
}

// Filter says which rows a list has, newest or lowest id first.
type Filter struct {
	Subscription uint32 // whose; 0: nobody's
	All          bool   // everybody's; Subscription then says nothing
	Max          int    // how many at most; 0: 1000
}

// ErrUnavailable is wrapped when the database is full, locked or gone, and while the ledger
// learns whether its clock stepped: nothing was granted, and the same message may be sent
// again.
var ErrUnavailable = errors.New("the ledger is not available")

// ErrInvalid is wrapped when a message can never be taken.
var ErrInvalid = errors.New("the ledger was asked for what cannot be")

// ErrClosed is wrapped when Run has ended.
var ErrClosed = errors.New("the ledger is closed")
