package ledger_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// BenchmarkTake is a worker's message: what the last lease spent is settled, and a new one
// is taken. 64 workers ask at once, of 512 counters.
func BenchmarkTake(b *testing.B) {
	for name, source := range map[string]func() string{
		"sqlite":   func() string { return filepath.Join(b.TempDir(), "ledger.db") },
		"postgres": func() string { return postgrestest.Shared(b).Database(b) },
	} {
		b.Run(name, func(b *testing.B) { benchmarkTake(b, source()) })
	}
}

func benchmarkTake(b *testing.B, source string) {
	l := openLedger(b, open(b, source), ledger.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- l.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ran; err != nil {
			b.Error(err)
		}
	}()
	var workers atomic.Int64
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		worker := workers.Add(1)
		batch := ledger.Batch{Worker: fmt.Sprintf("vm%d", worker)}
		for n := uint64(1); pb.Next(); n++ {
			limit := ledger.Limit{Limit: wire.Limit{Name: "minute", Key: fmt.Sprintf("subscription:%d", (uint64(worker)*31+n)%512), Kind: wire.KindRate,
				Unit: wire.UnitCalls, Amount: 1_000_000, WindowMillis: 60_000}, Wanted: 100}
			batch.Takes = []ledger.Take{{ID: n, Waiting: true, Limits: []ledger.Limit{limit}}}
			grants, err := l.Take(ctx, batch)
			if err != nil || len(grants[0].Leases) != 1 {
				b.Errorf("grants %+v, %v", grants, err)
				return
			}
			lease := grants[0].Leases[0]
			batch.Settlements = []wire.Settlement{{Take: n, Counter: lease.Counter, Spent: lease.Units, AgeMillis: 100}}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "grants/s")
}
