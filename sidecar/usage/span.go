package usage

import "time"

// span is what of which table answers a query. A zero since is that of the oldest row.
type span struct {
	table
	since, until time.Time
}

// span picks the coarsest table that has exactly what is asked for. Where that is no longer
// kept, it goes on to coarser ones, and rounds outwards; no table is coarser than a row of
// the answer.
func (q *Query) span(now time.Time) span {
	since, until := floor(q.Since, time.Minute), ceil(q.Until, time.Minute)
	open := !q.Until.Before(now) // nothing is later: what has begun may be in it, whole
	at := 0
	for i, t := range tables {
		if q.allows(t) && since.Equal(floor(since, t.length)) && (open || until.Equal(ceil(until, t.length))) {
			at = i
		}
	}
	kept := func(t table) time.Time { return floor(now.Add(-t.keep), t.length) }
	for at+1 < len(tables) && q.allows(tables[at+1]) && !since.IsZero() && since.Before(kept(tables[at])) {
		at++
	}
	s := span{tables[at], floor(since, tables[at].length), ceil(until, tables[at].length)}
	if open {
		s.until = floor(now, s.length).Add(s.length)
	}
	if oldest := kept(s.table); !s.since.IsZero() && s.since.Before(oldest) {
		s.since = oldest
	}
	return s
}

// allows says whether rows of the answer can be made of a table's.
func (q *Query) allows(t table) bool { return q.Per == "" || t.length <= q.Per.length() }

// floor and ceil round to whole minutes, hours or days of UTC. The zero time stays.
func floor(t time.Time, length time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Unix(t.Unix()-mod(t.Unix(), int64(length/time.Second)), 0).UTC()
}

func ceil(t time.Time, length time.Duration) time.Time {
	if f := floor(t, length); f.Before(t) {
		return f.Add(length)
	}
	return t.UTC()
}

func mod(a, b int64) int64 { return (a%b + b) % b }
