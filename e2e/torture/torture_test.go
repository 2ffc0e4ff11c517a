package torture_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/torture"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

var duration = flag.Duration("torture.duration", 10*time.Second, "how long each scene is tortured, at least")

// I1, with two gateways on PostgreSQL. All are killed with SIGKILL again and again.
func TestTwoGatewaysOnPostgreSQL(t *testing.T) { stage(t, 2, postgrestest.Start(t)) }

// I1, with one gateway on SQLite.
func TestOneGatewayOnSQLite(t *testing.T) { stage(t, 1, nil) }

func stage(t *testing.T, gateways int, postgres *postgrestest.Server) {
	permits := &plan{name: "permits", kind: "rate", amount: 20, window: 2 * time.Second, clients: 3}
	leases := &plan{name: "leases", kind: "rate", amount: 750, window: 3 * time.Second, clients: 3}
	life := &plan{name: "life", kind: "quota", amount: 3000 + int(duration.Seconds())*50, clients: 2}
	// Half of it is used under torture, however long that takes, the rest afterwards.
	life.pace = 4 * time.Duration(life.clients) * *duration / time.Duration(life.amount)
	life.pause.Store(int64(life.pace))
	s := newScene(t, gateways, postgres, []*plan{permits, leases, life})
	defer s.judge() // also where it does not come to an end
	s.torment(*duration)
	t.Logf("after %s: %v", s.now().Round(time.Second), s.crashed)
	for _, p := range s.plans {
		t.Log(p.report())
	}
	s.mend()
	s.useUp(life)
	s.wasted(life)
}

// judge ends all calls and finds the one too many.
func (s *scene) judge() {
	s.t.Helper()
	s.stop()
	s.clients.Wait()
	for _, p := range s.plans {
		s.t.Log(p.report())
		check(s.t, p)
	}
}

// ahead is for how long a worker leases ahead at most, with the time to do so.
const ahead = 6 * time.Second

// wasted holds that a worker which is killed takes no more with it than what it expected to
// spend soon: at most twice what all clients use in that time, for two may ask at once.
func (s *scene) wasted(p *plan) {
	s.t.Helper()
	workers := 2 * (s.crashed["Envoy killed"] + s.crashed["both killed"])
	waste := p.amount - p.passed()
	s.t.Logf("of a quota of %d calls %d were wasted, by %d workers that were killed: %.1f each", p.amount, waste, workers, float64(waste)/float64(workers))
	if each := 2 * p.clients * int(ahead/p.pace); waste > workers*each {
		s.t.Errorf("%d calls of %d were wasted by %d workers, at most %d are explained", waste, p.amount, workers, workers*each)
	}
}

// mend waits until every limit lets about as much pass as it allows, through all gateways.
func (s *scene) mend() {
	s.t.Helper()
	for _, g := range s.gateways {
		s.awaitReady(g)
		g.AwaitReady(patience)
	}
	began := s.now()
	for _, p := range s.plans {
		if p.kind != "rate" {
			continue
		}
		s.gateways[0].Eventually(patience, fmt.Sprintf("%s lets %d calls pass in a window again", p.name, p.amount*3/4), func() bool {
			return torture.Most(p.since(began), p.window) >= p.amount*3/4
		})
		s.t.Logf("%s after the torture %s is as before", s.now()-began, p.name)
	}
}

// leaseLife is longer than a worker may spend from a lease of a quota.
const leaseLife = 16 * time.Second

// useUp has a quota used to its end: nothing is left of it, and what is still leased is held
// by workers that were killed, for nothing of it is spent any more.
func (s *scene) useUp(p *plan) {
	s.t.Helper()
	p.pause.Store(0)
	var c admin.Counter
	defer func() {
		if s.t.Failed() {
			s.t.Logf("%s\n%+v", p.report(), c)
		}
	}()
	passed, since := p.passed(), s.now()
	s.gateways[0].Eventually(patience, "the quota is used up", func() bool {
		s.pause(200*time.Millisecond, 300*time.Millisecond)
		c = s.gateways[0].Limits(p.name).Counter(s.t, p.name)
		if n := p.passed(); n != passed || c.Left > 0 {
			passed, since = n, s.now()
		}
		return s.now()-since > leaseLife
	})
}

func check(t *testing.T, p *plan) {
	t.Helper()
	if answered, passed := p.answered(), p.passed(); answered > passed {
		t.Errorf("%s: %d calls were answered with 200, of which %d reached the backend", p.name, answered, passed)
	}
	for answer, n := range p.answers {
		status, reason, _ := strings.Cut(answer, " ")
		switch {
		case status == "200", status == "503", answer == noAnswer:
		case status == "429" && reason == "rate_limited" && p.kind == "rate":
		case status == "403" && reason == "quota_exceeded" && p.kind == "quota":
		default:
			t.Errorf("%s: %d answers are %s", p.name, n, answer)
		}
	}
	if p.kind == "quota" {
		if n := p.passed(); n > p.amount {
			t.Errorf("%s: %d calls passed, of %d for life", p.name, n, p.amount)
		}
		return
	}
	most := torture.Most(p.since(0), p.window)
	t.Logf("%s: at most %d calls passed within one window, of %d", p.name, most, p.amount)
	if most > p.amount {
		t.Errorf("%s: %d calls passed within %s, of %d", p.name, most, p.window, p.amount)
	}
}
