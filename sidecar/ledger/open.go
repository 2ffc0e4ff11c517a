package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// Options are the parts of a ledger that its owner sets, and those that tests change.
type Options struct {
	Log *slog.Logger // slog.Default unless given
	// OnReset is called when Resets has moved, whichever sidecar did it; OnEvent for each
	// event that this ledger stored, after it is durable. Neither may block.
	OnReset func()
	OnEvent func(Event)
	// Now is the machine's wall clock; time.Now unless given. SQLite's ledger time begins
	// with it.
	Now func() time.Time
	// Monotonic is the time that has passed, since any moment; that of the process unless
	// given. Everything but the beginning of SQLite's ledger time is measured by it.
	Monotonic func() time.Duration
	// Server changes what PostgreSQL's clock shows; as it is unless given.
	Server func(time.Time) time.Time
}

// Ledger grants and settles leases. Its methods may be called from several goroutines; Take
// is answered while Run runs.
type Ledger struct {
	storage Storage
	o       Options
	queue   chan *pending
	done    chan struct{} // closed when Run has ended
	resets  atomic.Uint64
	// published is a copy of the clock, for those who do not wait for the turn.
	published atomic.Pointer[clock]

	turn sync.Mutex // held by what reads or writes below
	clock
	ids  map[Name]int64     // of counters that are on record
	busy map[int64]struct{} // counters with so many charges that some should be merged
	// A ledger that comes to a shared storage first waits for another's heartbeat: the
	// clock may have stepped before its own first look.
	seen      seen
	announced uint64 // the resets that OnReset was told of

	swept time.Duration // own time of the last sweep; Clean's
	sweep int64         // the last counter that an unfinished sweep looked at; Clean's

	waiting sync.Mutex // held by what reads or writes below
	waits   map[int64]*wait
}

// New makes a ledger over a storage of one's own; see Commit, Beat and Clean for doing by
// hand what Run does.
func New(storage Storage, o Options) *Ledger {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.clocks()
	return &Ledger{storage: storage, o: o, queue: make(chan *pending, maxGroup), done: make(chan struct{}),
		ids: map[Name]int64{}, busy: map[int64]struct{}{}, waits: map[int64]*wait{}}
}

func (o *Options) clocks() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Monotonic == nil {
		start := time.Now()
		o.Monotonic = func() time.Duration { return time.Since(start) }
	}
}

// Open makes the ledger of a database and reads its clock.
func Open(ctx context.Context, db *database.DB, o Options) (*Ledger, error) {
	o.clocks()
	storage, err := openSQL(ctx, db, o)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	l := New(storage, o)
	if err := l.Beat(ctx); err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	return l, nil
}

// Resets moves when an administrator resets or raises a counter. It is what the last
// heartbeat saw.
func (l *Ledger) Resets() uint64 { return l.resets.Load() }

// seen is what the first heartbeats saw of other ledgers' ones.
type seen struct {
	beat  int64         // Meta.Beat at the first
	until time.Duration // own time until which another's is awaited; 0: not
}

// worth is from how many ms on a step of the clock is worth a warning.
const worth = 1000

const (
	// beatInterval is how often a ledger looks at the clock.
	beatInterval = time.Second
	// patience is how long a new ledger waits for another's heartbeat.
	patience = 2 * beatInterval
)

// Beat looks at the clock once: a step of it is put on record, and so is that this ledger
// lives. Run does so once a second, also when nothing is asked.
func (l *Ledger) Beat(ctx context.Context) error {
	l.turn.Lock()
	moved, err := l.beat(ctx)
	l.turn.Unlock()
	if moved && l.o.OnReset != nil {
		l.o.OnReset()
	}
	return err
}

// beat is Beat with the turn held. It says whether OnReset has to be called.
func (l *Ledger) beat(ctx context.Context) (moved bool, err error) {
	var b beating
	err = l.storage.Transact(ctx, func(rows Rows) error {
		b = beating{clock: l.clock, seen: l.seen, rows: rows}
		return b.run(l.o.Monotonic)
	})
	if err != nil {
		return false, fmt.Errorf("reading the ledger's clock: %w", err)
	}
	first := !l.known
	l.learn(b.clock)
	l.seen = b.seen
	for _, s := range b.found {
		level := slog.LevelWarn
		if s.After-s.Before < worth && !s.Lost {
			level = slog.LevelInfo
		}
		l.o.Log.Log(ctx, level, "the ledger's clock stepped, or its database went on from another copy: limits count longer for a while",
			"before", time.UnixMilli(s.Before).UTC(), "after", time.UnixMilli(s.After).UTC(), "lost", s.Lost)
	}
	l.resets.Store(b.meta.Resets)
	moved = !first && l.announced != b.meta.Resets
	l.announced = b.meta.Resets
	return moved, nil
}

// learn takes a look at the clock over.
func (l *Ledger) learn(c clock) {
	l.clock = c
	l.published.Store(&c)
}

// beating is one heartbeat.
type beating struct {
	clock
	seen  seen
	rows  Rows
	meta  Meta
	found []Step
}

func (b *beating) run(own func() time.Duration) (err error) {
	if b.meta, err = b.rows.Meta(); err != nil {
		return err
	}
	old := b.meta
	r, err := read(b.rows, own)
	if err != nil {
		return err
	}
	if err := b.follow(r); err != nil {
		return err
	}
	first := !b.known
	if first || b.fell(r) {
		// All ledgers go on from what any of them has used. What one has only read is
		// forgotten: others do not know of it.
		if b.high, err = b.rows.Latest(); err != nil {
			return err
		}
	}
	b.high = max(b.high, b.meta.T)
	if err := b.detect(r); err != nil {
		return err
	}
	b.accept(r)
	b.await(r, first)
	if r.Shared && b.seen.until == 0 { // else it cannot vouch for the clock yet
		b.meta.T = b.high
		b.meta.Beat++
	}
	if away := r.Ahead - b.meta.Ahead; away > jump || away < -jump {
		b.meta.Ahead = r.Ahead
	}
	b.meta.Timeline = r.Timeline
	if b.meta == old {
		return nil
	}
	return b.rows.PutMeta(b.meta)
}

// follow reads the steps on record. What another ledger recorded since moves the pair, unless
// the last reading was after it: then the clock is not ahead.
func (b *beating) follow(r reading) error {
	steps, err := b.rows.Steps()
	if err != nil {
		return err
	}
	last := int64(0)
	if n := len(b.steps); n > 0 {
		last = b.steps[n-1].ID
	}
	for _, s := range steps {
		if s.ID > last && b.known && b.ahead(r) {
			b.followed(s)
			b.floor = min(b.floor, r.T-r.after) // where it was not the only one
		}
	}
	b.steps = steps
	return nil
}

// detect puts on record what a reading shows.
func (b *beating) detect(r reading) error {
	switch back := b.meta.Ahead - r.Ahead; {
	case b.known && b.ahead(r):
		if err := b.put(b.step(r)); err != nil {
			return err
		}
		b.ceiling, b.mark = r.T-r.before, r.before
	case !b.known && !r.Shared && b.meta.Timeline != "" && back > jump:
		// The wall clock stepped while the last process went on by its own: this one
		// begins with the wall clock.
		if err := b.put(Step{Before: r.T - back, After: r.T, High: r.T - back}); err != nil {
			return err
		}
	}
	if b.meta.Timeline != "" && b.meta.Timeline != r.Timeline {
		return b.put(Step{Before: r.T, After: r.T, High: b.high, Lost: true})
	}
	return nil
}

func (b *beating) put(s Step) error {
	s, err := b.rows.PutStep(s)
	if err != nil {
		return err
	}
	b.steps = append(b.steps, s)
	b.found = append(b.found, s)
	return nil
}

// await decides whether another ledger has to vouch for the clock first: one that lives
// would see a step within its next heartbeat. Nothing but waiting tells whether one does.
func (b *beating) await(r reading, first bool) {
	now := time.Duration(r.after) * time.Millisecond
	switch {
	case first && r.Shared && b.meta.Beat > 0:
		b.seen = seen{beat: b.meta.Beat, until: now + patience}
	case b.seen.until > 0 && (b.meta.Beat != b.seen.beat || now > b.seen.until):
		b.seen = seen{}
	}
}

// unavailable wraps errors of a storage in ErrUnavailable.
func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
