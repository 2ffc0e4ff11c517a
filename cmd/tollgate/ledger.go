package main

import (
	"context"

	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// openLedger opens the ledger in the store's database, and what shows and changes it.
func (s *sidecar) openLedger(ctx context.Context) (err error) {
	s.ledger, err = ledger.Open(ctx, s.database, ledger.Options{
		Log:     s.log,
		OnReset: s.move,
		OnEvent: func(e ledger.Event) { s.server.Reached(e) },
	})
	if err != nil {
		return err
	}
	if s.limitMetrics > 0 {
		s.registry.MustRegister(admin.NewCollector(s.ledger, s.limitMetrics))
	}
	return nil
}
