package simulation_test

import (
	"time"

	"github.com/tollgate/tollgate/sidecar/ledger"
)

// epoch is the Unix time at which worlds begin, in ms.
const epoch = 1_800_000_000_000

// server is the machine whose wall clock ledger time begins with: PostgreSQL's, or that of
// the one sidecar that has the SQLite file.
type server struct {
	*world
	ppm     int64         // how much faster it runs; not above 0
	stepped time.Duration // the sum of all steps
	high    int64         // the latest that anybody read
	jumps   []jump
	last    time.Duration // when it stepped
	unread  bool          // nobody has read it since the last step
	total   time.Duration // of the steps' lengths
}

// jump is a step of ledger time as it truly happened: from the latest that it ever was.
type jump struct {
	at            time.Duration
	before, after int64
}

func (s *server) millis() int64 {
	return epoch + (scaled(s.now, s.ppm) + s.stepped).Milliseconds()
}

func (s *server) step(by time.Duration) {
	before := s.millis()
	if s.Shared {
		s.high = max(s.high, before)
	}
	s.stepped += by
	s.total += by.Abs()
	s.last = s.now
	if s.Shared {
		s.jumped(before)
	}
	s.note("the wall clock steps by %v", by)
}

// jumped notes that ledger time would be another now. Steps that nobody sees one by one are
// one.
func (s *server) jumped(before int64) {
	if last := len(s.jumps) - 1; s.unread {
		s.jumps[last].after = s.millis()
		return
	}
	s.unread = true
	s.jumps = append(s.jumps, jump{s.now, max(before, s.high), s.millis()})
}

// reading is what the storage's clock shows to a sidecar.
func (s *server) reading(c *sidecar) ledger.Reading {
	s.unread = false
	if s.Shared {
		r := ledger.Reading{T: s.millis(), Timeline: "1", Shared: true}
		if s.mutant == twoClocks && c.index == 0 {
			r.T += 90_000
		}
		s.high = max(s.high, r.T)
		return r
	}
	t := c.origin + c.monotonic().Milliseconds()
	s.high = max(s.high, t)
	return ledger.Reading{T: t, Ahead: s.millis() - t, Timeline: "1"}
}
