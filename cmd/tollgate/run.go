package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// run serves until ctx ends, which is no error, or a part of it fails. The ledger counts
// until nobody is served any more.
func (s *sidecar) run(ctx context.Context, l listeners, seen fs.FileInfo) error {
	g, ctx := errgroup.WithContext(ctx)
	var users sync.WaitGroup // of the ledger
	use := func(serve func() error) {
		users.Add(1)
		g.Go(func() error { defer users.Done(); return serve() })
	}
	use(func() error { return s.server.Serve(ctx, l.filters) })
	if l.admin != nil {
		use(func() error { return s.administration.Serve(ctx, l.admin) })
	}
	if l.administration != nil {
		use(func() error { return s.administration.ServeTokens(ctx, l.administration) })
	}
	if l.metrics != nil {
		use(func() error { return serveMetrics(ctx, l.metrics, s.registry) })
	}
	g.Go(func() error { return s.count(ctx, &users) })
	if s.catalog != "" {
		g.Go(func() error { follow(ctx, s.catalog, seen, s.log, func() { s.reapplyFile(ctx) }); return nil })
	}
	g.Go(func() error { s.follow(ctx); return nil })
	g.Go(func() error { s.configure(ctx); return nil })
	g.Go(func() error { s.tidy(ctx); return nil })
	g.Go(func() error {
		if err := s.engine.Watch(ctx, func() { s.refresh(ctx) }); err != nil && ctx.Err() == nil {
			return fmt.Errorf("following the policies: %w", err)
		}
		return nil
	})
	from := "store " + s.database.String()
	if s.catalog != "" {
		from = "catalog " + s.catalog
	}
	s.ready(fmt.Sprintf("tollgate: ready at %s, %s, revision %s", s.socket, from, s.server.Revision()))
	return g.Wait()
}

// count runs the ledger until users are done with it. It ends later than ctx, so that what
// is under way then is still granted and settled, and before the database is closed.
func (s *sidecar) count(ctx context.Context, users *sync.WaitGroup) error {
	counting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() { users.Wait(); stop() }()
	if err := s.ledger.Run(counting); err != nil && counting.Err() == nil {
		return fmt.Errorf("keeping the ledger: %w", err)
	}
	return nil
}

// refresh publishes a policy that changed.
func (s *sidecar) refresh(ctx context.Context) {
	s.persist(ctx, "publishing the policy", func() error { return s.server.Refresh(ctx) })
}

func serveMetrics(ctx context.Context, l net.Listener, r *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}
