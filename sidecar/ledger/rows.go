package ledger

import (
	"context"
	"math"

	"github.com/tollgate/tollgate/internal/wire"
)

// Storage runs transactions over the rows of one ledger. Package ledger has one for SQL
// (Open), package memory one for simulations.
type Storage interface {
	// Transact runs f in one transaction. When it returns nil, what f has put is durable;
	// else nothing of it is there, but for a commit whose answer was lost. f may run more
	// than once. A storage that cannot be used at present says so with ErrUnavailable.
	Transact(ctx context.Context, f func(Rows) error) error
	// View is Transact for f that only reads.
	View(ctx context.Context, f func(Rows) error) error
}

// Rows are the rows of a ledger within one transaction: they keep and find, and decide
// nothing. Times are Unix milliseconds of the ledger's clock.
type Rows interface {
	Clockwork
	Charges
	Records
}

// Clockwork is the ledger's clock and what is remembered of it.
type Clockwork interface {
	// Now reads the clock, after the rows that were locked before are held.
	Now() (Reading, error)
	// Latest is the latest time that was used on any counter; of none 0.
	Latest() (int64, error)
	// Meta reads the ledger's own row, and holds it.
	Meta() (Meta, error)
	PutMeta(Meta) error
	// Steps are those of PutStep that were not dropped, oldest first.
	Steps() ([]Step, error)
	// PutStep gives the step its ID.
	PutStep(Step) (Step, error)
	DropSteps([]Step) error
}

// Charges are counters and what was leased of them. Counters and charges that are asked for
// and are not there are missing in the answer.
type Charges interface {
	// Find is the ids of counters, in the order of the rows. Missing ones are made as they
	// are given; of those that exist, only Name counts.
	Find([]Row) ([]int64, error)
	// Lock reads counters and holds them until the transaction ends; ids ascend.
	Lock(ids []int64) ([]Row, error)
	// PutCounters writes everything but Name.
	PutCounters([]Row) error
	// Of is all charges of these calls.
	Of([]Call) ([]Charge, error)
	// PutCharges inserts charges, or replaces those of the same call and counter.
	PutCharges([]Charge) error
	// Usage adds up charges, one answer for each window in its order.
	Usage([]Window) ([]Usage, error)
	// Oldest is charges of a counter that have units and a slot after the one given, by
	// slot, at most max.
	Oldest(counter, after int64, max int) ([]Charge, error)
	// Forget takes the units from all closed charges of a counter.
	Forget(counter int64) error
	// Bury remembers abandoned calls, as of now; Buried is which of these are.
	Bury(calls []Call, now int64) error
	Buried([]Call) ([]Call, error)
	// Overdue is charges whose Until is at most until, earliest first, at most max.
	Overdue(until int64, max int) ([]Charge, error)
	// DropCharges deletes charges, but those whose Until is beyond until by now.
	DropCharges(charges []Charge, until int64) error
	// DropIdle deletes what a Sweep says is idle.
	DropIdle(Sweep) (Swept, error)
}

// Records are for people.
type Records interface {
	// Counters is those whose Ends is after the time, by id.
	Counters(f Filter, after int64) ([]Row, error)
	// Count is how many counters there are whose Ends is after the time.
	Count(after int64) (int, error)
	PutEvents([]Event) error
	Events(Filter) ([]Event, error)
	// PutAdjustments comes last in a transaction: where they are audited, it waits for
	// others that audit, and they for it.
	PutAdjustments([]Adjustment) error
	Adjustments(Filter) ([]Adjustment, error)
}

// Reading is what the ledger's clock shows.
type Reading struct {
	T int64
	// Ahead is how far the machine's wall clock is ahead of T, where T does not follow it.
	Ahead int64
	// Timeline changes when the database goes on from a copy that may lack commits.
	Timeline string
	// Shared: several ledgers, each in its own process, use this storage.
	Shared bool
}

// Meta is the ledger's own row.
type Meta struct {
	T        int64 // the highest that was read, at the last heartbeat
	Beat     int64 // counts heartbeats of all ledgers that share the storage
	Ahead    int64 // Reading.Ahead, at the last heartbeat
	Timeline string
	Resets   uint64
}

// Step is a jump of the clock from Before to After, or with Lost a time at which commits may
// have been lost; then Before and After are the same.
type Step struct {
	ID            int64
	Before, After int64
	// High is the highest time that was known before it: above Before after a step back.
	High int64
	Lost bool
}

// Name tells counters apart.
type Name struct {
	Name, Key    string
	Kind         wire.LimitKind
	Unit         wire.LimitUnit
	WindowMillis int64
	StartMillis  int64 // of a quota; else 0
	Period       int64 // of a quota; else 0
}

// Row is a counter.
type Row struct {
	ID int64
	Name
	// Subscription is whose it is, as long as no other asks for it: then it is nobody's,
	// 0, from then on.
	Subscription uint32
	// As it was last asked for.
	Amount      int64
	SuccessOnly bool
	ReportOnly  bool
	// T is the last ledger time that was used on it.
	T int64
	// Used, of a quota, is what its closed charges spent; else 0.
	Used int64
	// Raised is what was added to the amount of this period.
	Raised int64
	// Warned has the times of the last events at 80, 95 and 100 %; 0: none.
	Warned [3]int64
	// Ends is when a quota's period is over; Forever for any other counter.
	Ends int64
}

// Forever is after every time.
const Forever = math.MaxInt64

// limit is the limit as it was last asked for.
func (r *Row) limit() wire.Limit {
	return wire.Limit{Name: r.Name.Name, Key: r.Key, Kind: r.Kind, Unit: r.Unit, Amount: r.Amount, WindowMillis: r.WindowMillis,
		StartMillis: r.StartMillis, SuccessOnly: r.SuccessOnly, ReportOnly: r.ReportOnly}
}

// Call is a take of a worker.
type Call struct {
	Worker string
	Take   uint64
}

// Charge is what one call was leased of one counter.
type Charge struct {
	Call
	Counter int64
	// Slot is the latest ledger time at which a unit may have been spent.
	Slot int64
	// Units are those leased, and once it is closed those spent; of a quota then 0, since
	// they are in the counter's Used.
	Units   int64
	Granted int64 // the ledger time of the grant
	Open    bool
	// Overdraft: more than Units may be spent (wire.Limit.Deferred).
	Overdraft bool
	// Until is the ledger time after which nobody needs the row.
	Until int64
}

// Window says which charges of a counter count: those with a slot after After. Open ones
// are live while their slot is after Live.
type Window struct{ Counter, After, Live int64 }

// Usage is what charges add up to. Charges without units do not count.
type Usage struct {
	Units     int64 // of all
	OpenUnits int64 // of those that are open
	Live      int64 // how many are open and live
	LiveUnits int64 // of these
	Rows      int64 // how many there are
	Oldest    int64 // the lowest slot; of no rows 0
}

// Sweep says what is idle: tombstones up to the time Tombs; of the first Max counters whose
// id is above After, a quota's whose T and Ends are at most Before, another's whose window
// after T is over by Before, none of which has a charge by then; events up to the time
// Records; events and adjustments beyond the newest MaxRecords.
type Sweep struct {
	Tombs, Before, Records int64
	After                  int64
	Max                    int // at most so many of each are deleted
}

// Swept is what one DropIdle did.
type Swept struct {
	Counters []int64 // the ids of those that were deleted
	Last     int64   // the highest id that was looked at; Sweep.After: there is none above it
	More     bool    // of the rest there may be more
}

// MaxRecords is how many events, and how many adjustments, are kept.
const MaxRecords = 100_000
