package ledger

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// wait is for a slot of one counter.
type wait struct {
	counter int64
	freed   chan struct{}
	waiters int
}

// release wakes those who wait for slots that a group has freed, and has those of the group
// that found none wait for the next.
func (l *Ledger) release(g *group) {
	l.waiting.Lock()
	defer l.waiting.Unlock()
	for _, id := range g.freed {
		if w := l.waits[id]; w != nil {
			close(w.freed)
			delete(l.waits, id)
		}
	}
	for i := range g.results {
		for j, grant := range g.results[i].Grants {
			if grant.Exhausted == nil {
				continue
			}
			limit := &g.batches[i].Takes[j].Limits[grant.Exhausted.Limit].Limit
			if limit.Kind != wire.KindConcurrency || grant.Exhausted.RetryMillis < 0 {
				continue
			}
			name, _ := g.name(limit, g.high)
			g.results[i].freed = append(g.results[i].freed, l.wait(g.names[name]))
		}
	}
}

// wait begins to wait for a slot of a counter; leave ends it. l.waiting is held.
func (l *Ledger) wait(counter int64) *wait {
	w := l.waits[counter]
	if w == nil {
		w = &wait{counter: counter, freed: make(chan struct{})}
		l.waits[counter] = w
	}
	w.waiters++
	return w
}

// leave ends waits.
func (l *Ledger) leave(waits []*wait) {
	l.waiting.Lock()
	defer l.waiting.Unlock()
	for _, w := range waits {
		if w.waiters--; w.waiters == 0 && l.waits[w.counter] == w {
			delete(l.waits, w.counter)
		}
	}
}

// await waits until a slot may be free, or until slotWait is over: another sidecar may have
// freed one.
func (l *Ledger) await(ctx context.Context, waits []*wait) {
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case <-waits[0].freed:
	case <-timer.C:
	case <-ctx.Done():
	}
	l.leave(waits)
}
