package ledger

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tollgate/tollgate/internal/wire"
)

const (
	maxSettlements = 10_000 // and abandoned calls, in a batch
	maxTakes       = 256    // in a batch
	maxLimits      = 64     // in a take
	maxKey         = 1024   // bytes of a counter's key
	maxAmount      = 1 << 53
	maxSpent       = 1 << 44 // in one lease
	// longestWindow is the longest window of a rate, in ms.
	longestWindow = 31 * 24 * 3_600_000
	// longestPeriod is the longest period of a quota, in ms.
	longestPeriod = 1 << 47
	// farthestStart is the latest start of a quota, and below 0 the earliest: policies have
	// the years 1 to 9999.
	farthestStart = 1 << 48
)

// check refuses what can never be taken, so that it does not spoil what others ask for.
func (b *Batch) check() error {
	switch {
	case b.Worker == "" || !plain(b.Worker, 64):
		return fmt.Errorf("%w: a worker without a name", ErrInvalid)
	case len(b.Settlements) > maxSettlements || len(b.Abandoned) > maxSettlements || len(b.Takes) > maxTakes:
		return fmt.Errorf("%w: too much in one message", ErrInvalid)
	}
	for _, s := range b.Settlements {
		if s.Spent > maxSpent {
			return fmt.Errorf("%w: %d units spent of one lease", ErrInvalid, s.Spent)
		}
	}
	for i := range b.Takes {
		if err := b.Takes[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (t *Take) check() error {
	if t.ID == 0 || len(t.Limits) > maxLimits {
		return fmt.Errorf("%w: a take without an id, or with more than %d limits", ErrInvalid, maxLimits)
	}
	for i := range t.Limits {
		if err := check(&t.Limits[i].Limit); err != nil {
			return err
		}
		for j := range i {
			if same(&t.Limits[i].Limit, &t.Limits[j].Limit) {
				return fmt.Errorf("%w: limit %q stands twice", ErrInvalid, t.Limits[i].Name)
			}
		}
	}
	return nil
}

func check(l *wire.Limit) error {
	window, start := l.WindowMillis, l.StartMillis
	ok := l.Known() && l.Name != "" && plain(l.Name, 64) && plain(l.Key, maxKey) && l.Amount >= 0 && l.Amount <= maxAmount
	switch l.Kind {
	case wire.KindRate:
		ok = ok && window >= 1 && window <= longestWindow
	case wire.KindQuota:
		ok = ok && window >= 0 && window <= longestPeriod && start >= -farthestStart && start <= farthestStart
	case wire.KindConcurrency:
		ok = ok && window == 0 && l.Unit == wire.UnitCalls
	}
	if !ok {
		return fmt.Errorf("%w: limit %q: its kind, unit, amount or window", ErrInvalid, l.Name)
	}
	return nil
}

// same says that two limits would be charged to one counter.
func same(a, b *wire.Limit) bool {
	return a.Name == b.Name && a.Key == b.Key && a.Kind == b.Kind && a.Unit == b.Unit && a.WindowMillis == b.WindowMillis &&
		(a.Kind != wire.KindQuota || a.StartMillis == b.StartMillis)
}

// plain says that every database takes the text.
func plain(s string, longest int) bool {
	return len(s) <= longest && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

func (n Name) compare(o Name) int {
	return cmp.Or(cmp.Compare(n.Name, o.Name), cmp.Compare(n.Key, o.Key), cmp.Compare(n.Kind, o.Kind), cmp.Compare(n.Unit, o.Unit),
		cmp.Compare(n.WindowMillis, o.WindowMillis), cmp.Compare(n.StartMillis, o.StartMillis), cmp.Compare(n.Period, o.Period))
}

func (c Call) compare(o Call) int {
	return cmp.Or(cmp.Compare(c.Worker, o.Worker), cmp.Compare(c.Take, o.Take))
}
