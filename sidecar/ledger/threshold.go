package ledger

import "github.com/tollgate/tollgate/internal/wire"

// percents are the parts of a limit that are reported when they are reached.
var percents = [3]int64{80, 95, 100}

// again is after how many ms at the earliest a concurrency limit is reported again.
const again = 60_000

// spent is what is known to be spent of a counter: what was settled, and permits, which are
// spent as they are granted.
func (g *group) spent(row *Row) int64 {
	u := g.usage[row.ID]
	return row.spent(u.Units, u.OpenUnits)
}

// spent is what is known to be spent when so many units are charged, and so many of them to
// open leases.
func (r *Row) spent(units, open int64) int64 {
	if r.Unit == wire.UnitCalls && !r.ReportOnly && r.Amount <= wire.PermitMax {
		return r.Used + units
	}
	return r.Used + units - open
}

// warn makes the events that are due when so much is known to be spent.
func (g *group) warn(row *Row, spent int64) {
	if row.Kind == wire.KindConcurrency || row.Amount+row.Raised < 1 {
		return // of slots only a refusal is an event
	}
	for i, percent := range percents {
		if row.reaches(spent, percent) {
			g.report(row, i, spent)
		}
	}
}

// reaches says that what is spent is so much of the amount, in percent.
func (r *Row) reaches(spent, percent int64) bool {
	return float64(spent)*100 >= float64(percent)*float64(r.Amount+r.Raised)
}

// reached makes the event of a limit that refused a request.
func (g *group) reached(w *want) {
	before := *w.row
	w.row.asked(&w.limit.Limit)
	if !g.report(w.row, len(percents)-1, g.spent(w.row)) {
		*w.row = before // a refusal writes nothing else
	}
}

// report makes an event, unless there was one in this window.
func (g *group) report(row *Row, i int, spent int64) bool {
	now := max(g.now(row), 1)
	if last := row.Warned[i]; last != 0 {
		switch row.Kind {
		case wire.KindQuota:
			return false
		case wire.KindRate:
			if now < last+row.WindowMillis {
				return false
			}
		default:
			if now < last+again {
				return false
			}
		}
	}
	row.Warned[i] = now
	g.dirty[row.ID] = struct{}{}
	g.events = append(g.events, Event{Time: g.time(), Counter: row.ID, Subscription: row.Subscription, Limit: row.limit(),
		Percent: int(percents[i]), Used: spent})
	return true
}
