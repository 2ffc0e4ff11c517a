package gate

import (
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

// What a worker holds of what it counted. While the sidecar does not answer, rows wait and
// grow; calls for which there is no row any more are only counted.
const (
	usageRowsMax = 8192
	usageKeysMax = 8192
	// One report has at most so many rows and keys, and about so many bytes of rows.
	reportRowsMax  = 500
	reportBytesMax = 256 << 10
	// rowBytes is about what a row takes beside its names.
	rowBytes = 512
)

// usage is what was counted and not reported yet.
type usage struct {
	store string // that the subscriptions are of; empty before the first snapshot
	rows  map[usageKey]*usageRow
	last  *usageRow // of the latest call: the next one is often like it
	keys  map[keySlot]int64
	ready []wire.UsageRow // to be reported before rows are
	// dropped are calls that are in no row.
	dropped int64
}

// usageKey is what makes calls differ. Its names are the snapshot's own.
type usageKey struct {
	minute                  int64
	subscription            uint32
	outcome                 uint8 // place in outcomes
	product, api, operation string
}

var outcomes = [...]wire.CallOutcome{wire.CallSuccess, wire.CallBlocked, wire.CallFailed, wire.CallOther}

func outcomeOf(status int) uint8 {
	outcome := wire.OutcomeOf(status)
	for i := range outcomes {
		if outcomes[i] == outcome {
			return uint8(i)
		}
	}
	return uint8(len(outcomes) - 1)
}

type usageRow struct {
	usageKey
	calls, requestBytes, responseBytes int64
	total, backend                     usageTimes
}

// usageTimes is a histogram in microseconds; min means nothing while there is no call.
type usageTimes struct {
	sum, min, max int64
	counts        [wire.UsageBuckets]int64
	filled        int // one beyond the last bucket with a call
}

func (t *usageTimes) add(d time.Duration) {
	d = max(d, 0)
	bucket, micros := wire.UsageBucket(d), d.Microseconds()
	if t.filled == 0 || micros < t.min {
		t.min = micros
	}
	t.max = max(t.max, micros)
	t.sum += micros
	t.counts[bucket]++
	t.filled = max(t.filled, bucket+1)
}

func (t *usageTimes) wire() wire.UsageTimes {
	if t.filled == 0 {
		return wire.UsageTimes{}
	}
	return wire.UsageTimes{Counts: append([]int64(nil), t.counts[:t.filled]...), SumMicros: t.sum, MinMicros: t.min, MaxMicros: t.max}
}

// keySlot is a key as a KeyUse names it.
type keySlot struct {
	subscription, expires uint32
	slot                  wire.Slot
}

func newUsage() usage {
	return usage{rows: make(map[usageKey]*usageRow), keys: make(map[keySlot]int64)}
}

// row is where a call is counted; nil when there is no room.
func (u *usage) row(k usageKey) *usageRow {
	if u.last != nil && u.last.usageKey == k {
		return u.last
	}
	row := u.rows[k]
	if row == nil {
		if len(u.rows)+len(u.ready) >= usageRowsMax {
			return nil
		}
		row = &usageRow{usageKey: k}
		u.rows[k] = row
	}
	u.last = row
	return row
}

// used notes that a call came with a key.
func (u *usage) used(r *wire.KeyRecord, now time.Time) {
	k := keySlot{r.Subscription, r.KeyExpires, r.Slot}
	if _, known := u.keys[k]; known || len(u.keys) < usageKeysMax {
		u.keys[k] = now.UnixMilli()
	}
}

// move goes to a store: what was counted under another one's subscriptions is lost.
func (u *usage) move(store string) {
	if u.store != "" && u.store != store {
		for _, row := range u.rows {
			u.dropped += row.calls
		}
		u.dropped += callsIn(u.ready)
		u.ready, u.last = nil, nil
		clear(u.rows)
		clear(u.keys)
	}
	u.store = store
}

func callsIn(rows []wire.UsageRow) (calls int64) {
	for i := range rows {
		calls += rows[i].Calls
	}
	return calls
}

// report moves what was counted into a report, as much as one may carry.
func (u *usage) report(r *wire.UsageReport) {
	if len(u.ready) == 0 && len(u.rows) > 0 {
		u.ready = make([]wire.UsageRow, 0, len(u.rows))
		for _, row := range u.rows {
			u.ready = append(u.ready, wire.UsageRow{
				Minute: row.minute, Subscription: row.subscription, Product: row.product, API: row.api, Operation: row.operation,
				Outcome: outcomes[row.outcome], Calls: row.calls, RequestBytes: row.requestBytes, ResponseBytes: row.responseBytes,
				Total: row.total.wire(), Backend: row.backend.wire(),
			})
		}
		u.last = nil
		clear(u.rows)
	}
	n, bytes := 0, 0
	for n < len(u.ready) && n < reportRowsMax && bytes < reportBytesMax {
		row := &u.ready[n]
		bytes += rowBytes + len(row.Product) + len(row.API) + len(row.Operation)
		n++
	}
	r.Store, r.Rows, u.ready = u.store, u.ready[:n:n], u.ready[n:]
	for k, at := range u.keys {
		if len(r.Keys) == reportRowsMax {
			break
		}
		r.Keys = append(r.Keys, wire.KeyUse{Subscription: k.subscription, Slot: k.slot, Expires: k.expires, TimeMillis: at})
		delete(u.keys, k)
	}
	r.UsageDropped, u.dropped = u.dropped, 0
}

// empty says whether there is nothing to report.
func (u *usage) empty() bool {
	return len(u.rows) == 0 && len(u.ready) == 0 && len(u.keys) == 0 && u.dropped == 0
}

// Behind says whether there is more to report than the last Report could carry.
func (g *Gate) Behind() bool { return len(g.usage.ready) > 0 }

// Refused takes back a report that the sidecar will never take: its calls are lost, and the
// next report says how many.
func (g *Gate) Refused(r wire.UsageReport) { g.usage.dropped += r.UsageDropped + callsIn(r.Rows) }

// End is what the host knows of a stream that is over.
type End struct {
	Status                      int // of the response; 0: none, or as the gate knows it
	RequestBytes, ResponseBytes int64
}

// Counted says whether Ended is to be called: calls of ReadyPath are nobody's.
func (x *Exchange) Counted() bool { return !x.probe }

// Status is that of the response, and 0 while it is not known.
func (x *Exchange) Status() int { return x.status }

// Waits says whether the request is with the backend: then Responded is to be called.
func (x *Exchange) Waits() bool { return !x.forwarded.IsZero() && !x.responded }

// Responded notes that the head of the response is there.
func (x *Exchange) Responded(now time.Time) {
	x.responded, x.backend = true, now.Sub(x.forwarded)
}

// Ended counts the call, once, in the minute of its end.
func (x *Exchange) Ended(end End, now time.Time) {
	u := &x.gate.usage
	if x.probe || x.ended {
		return
	}
	x.ended = true
	if x.status != 0 {
		end.Status = x.status
	}
	k := usageKey{minute: now.Unix() / 60, subscription: x.identity.Subscription, outcome: outcomeOf(end.Status), product: x.product}
	if x.api != nil {
		k.api = x.api.Name
	}
	if x.op != nil {
		k.operation = x.op.Name
	}
	if k.subscription != 0 && x.store != u.store { // it began under another snapshot
		u.dropped++
		return
	}
	row := u.row(k)
	if row == nil {
		u.dropped++
		return
	}
	row.calls++
	row.requestBytes += max(0, end.RequestBytes)
	row.responseBytes += max(0, end.ResponseBytes)
	row.total.add(now.Sub(x.began))
	if x.responded {
		row.backend.add(x.backend)
	}
}
