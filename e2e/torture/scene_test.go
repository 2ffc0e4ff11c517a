package torture_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
)

// patience is for what has to be well again in the end, on a machine that is busy.
const patience = 2 * time.Minute

const estate = `
organization: {name: test, administrator: admin@example.com}
apis:
  - name: Torture
    suffix: torture
    backend: {url: %q}
    operations:
      - {name: Call, method: POST, template: /call}
products:
%sdevelopers:
  - {email: dev@example.com}
subscriptions:
%s`

// scene is what is tortured: gateways with two workers each on one ledger, and clients.
type scene struct {
	t        *testing.T
	start    time.Time
	gateways []*harness.Gateway
	postgres *postgrestest.Server // nil: the ledger is a SQLite file
	plans    []*plan
	random   *rand.Rand

	crashed map[string]int // by what was done
	stop    context.CancelFunc
	clients sync.WaitGroup
}

// newScene starts the gateways, and the clients as well.
func newScene(t *testing.T, gateways int, postgres *postgrestest.Server, plans []*plan) *scene {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := &scene{t: t, start: time.Now(), postgres: postgres, plans: plans, random: rand.New(rand.NewPCG(seed, 0)), crashed: map[string]int{}}
	b := &backend{t: t, start: s.start, plans: map[string]*plan{}}
	server := httptest.NewServer(b)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	o := harness.Options{Backends: map[string]string{}}
	var products, subscriptions strings.Builder
	for i, p := range plans {
		p.key, p.seen, p.answers = harness.NewKey(), map[string]bool{}, map[string]int{}
		b.plans[p.name] = p
		variable := fmt.Sprintf("TEST_KEY_%d", i)
		o.Env = append(o.Env, variable+"="+p.key)
		fmt.Fprintf(&products, "  - {name: %s, apis: [Torture], limits: [%s]}\n", p.name, p.limit())
		fmt.Fprintf(&subscriptions, "  - {name: %s, developer: dev@example.com, product: %s, primary_key: {env: %s}}\n", p.name, p.name, variable)
	}
	o.Catalog = fmt.Sprintf(estate, server.URL, products.String(), subscriptions.String())
	if postgres != nil {
		o.Store = postgres.Database(t)
	}
	for range gateways {
		s.gateways = append(s.gateways, harness.Start(t, o))
		o.Beside = s.gateways[0]
	}
	s.startClients()
	return s
}

func (s *scene) startClients() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.t.Cleanup(func() { stop(); s.clients.Wait() })
	for _, p := range s.plans {
		for range p.clients {
			c := &client{plan: p, start: s.start, gateways: s.gateways, random: rand.New(rand.NewPCG(s.random.Uint64(), 0))}
			s.clients.Go(func() { c.run(ctx) })
		}
	}
}

// now is the clock of calls.
func (s *scene) now() time.Duration { return time.Since(s.start) }

// card is one thing to do to a gateway.
type card struct {
	name string
	play func(*scene, *harness.Gateway)
}

// deck has each card as often as it is played in a round.
var deck = []card{
	{"sidecar killed", killSidecar}, {"sidecar killed", killSidecar}, {"sidecar killed", killSidecar},
	{"Envoy killed", killEnvoy}, {"Envoy killed", killEnvoy},
	{"both killed", killBoth},
	{"sidecar frozen", freezeSidecar},
	{"Envoy frozen", freezeEnvoy},
	{"PostgreSQL killed", killPostgres}, {"PostgreSQL killed", killPostgres},
	{"PostgreSQL frozen", freezePostgres},
}

// torment plays the deck again and again for that long, and at least once.
func (s *scene) torment(long time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(long); len(s.crashed) == 0 || time.Now().Before(end); {
		round := append([]card(nil), deck...)
		s.random.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		for _, c := range round {
			if s.postgres == nil && strings.HasPrefix(c.name, "PostgreSQL") {
				continue
			}
			s.pause(200*time.Millisecond, time.Second)
			s.revive()
			c.play(s, s.gateways[s.random.IntN(len(s.gateways))])
			s.crashed[c.name]++
		}
	}
}

// pause lets clients call for a random time.
func (s *scene) pause(least, most time.Duration) {
	timer := time.NewTimer(least + time.Duration(s.random.Int64N(int64(most-least))))
	defer timer.Stop()
	<-timer.C
}

// revive starts what has ended, by our hand or because its database was gone.
func (s *scene) revive() {
	for _, g := range s.gateways {
		if !g.SidecarRuns() {
			g.LaunchSidecar()
		}
		if !g.EnvoyRuns() {
			g.StartEnvoy()
		}
	}
}

// awaitReady waits until a gateway serves, and starts again what ends meanwhile: what is
// killed before it does anything tells nothing.
func (s *scene) awaitReady(g *harness.Gateway) {
	g.Eventually(patience, "a gateway is ready again", func() bool {
		s.revive()
		r, err := g.Try(s.t.Context(), harness.Call{Path: harness.ReadyPath})
		return err == nil && r.Status == 200
	})
}

func killSidecar(s *scene, g *harness.Gateway) {
	g.KillSidecar()
	if s.random.IntN(2) == 0 {
		g.LaunchSidecar()
	} // else the next round finds it dead
}

func killEnvoy(s *scene, g *harness.Gateway) {
	s.awaitReady(g)
	s.pause(500*time.Millisecond, time.Second)
	g.KillEnvoy()
	g.StartEnvoy()
}

func killBoth(s *scene, g *harness.Gateway) {
	s.awaitReady(g)
	g.KillSidecar()
	g.KillEnvoy()
	g.StartEnvoy()
	g.LaunchSidecar()
}

func freezeSidecar(s *scene, g *harness.Gateway) {
	g.FreezeSidecar()
	s.pause(50*time.Millisecond, 3*time.Second)
	g.ThawSidecar()
}

// freezeEnvoy has workers that wake up with leases which are over, and which the ledger has
// counted for the last time.
func freezeEnvoy(s *scene, g *harness.Gateway) {
	s.awaitReady(g)
	s.pause(500*time.Millisecond, time.Second)
	g.FreezeEnvoy()
	s.pause(4200*time.Millisecond, 6*time.Second)
	g.ThawEnvoy()
}

func killPostgres(s *scene, _ *harness.Gateway) {
	s.postgres.Kill()
	s.pause(time.Millisecond, 500*time.Millisecond)
	s.postgres.Restart()
}

func freezePostgres(s *scene, _ *harness.Gateway) {
	s.postgres.Freeze()
	s.pause(50*time.Millisecond, 2*time.Second)
	s.postgres.Thaw()
}
