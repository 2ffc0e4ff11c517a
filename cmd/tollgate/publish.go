package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/sidecar/filterapi"
	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/xds"
)

const (
	// lookAtStore is how often the store is asked what others changed in it, sidecars beside
	// this one on PostgreSQL, and how soon what failed is tried again.
	lookAtStore = 250 * time.Millisecond
	// tidyEvery is how often what is over leaves the store.
	tidyEvery = time.Minute
)

// published is what was published last: the store's changes, and the ledger's resets.
type published struct {
	change, configured int64
	resets             uint64
}

// move has what changed published soon.
func (s *sidecar) move() {
	select {
	case s.moved <- struct{}{}:
	default: // what waits will see this as well
	}
}

// follow publishes what changes in the store, until ctx ends.
func (s *sidecar) follow(ctx context.Context) {
	look := time.NewTicker(lookAtStore)
	defer look.Stop()
	logged := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-s.moved:
		}
		err := s.publish(ctx)
		switch {
		case err == nil && logged != "":
			s.log.Info("what the store holds is published again")
			logged = ""
		case err != nil && ctx.Err() == nil && err.Error() != logged:
			logged = err.Error()
			s.log.Error("publishing failed, trying again", "error", logged)
		}
	}
}

// publish publishes what the store holds where that has moved since the last time. Where the
// gateway cannot run with what it holds, keys are published all the same.
func (s *sidecar) publish(ctx context.Context) error {
	// Read before what they count: what changes meanwhile is published once more.
	now := published{resets: s.ledger.Resets()}
	reread := s.reread.Swap(false)
	var err error
	if now.change, now.configured, err = s.store.Change(ctx); err != nil {
		return err
	}
	switch {
	case reread || s.server.Revision().Store == "" || now.configured != s.last.configured:
		if err = s.reload(ctx); err != nil {
			s.reread.Store(true)
			return errors.Join(err, s.server.Refresh(ctx))
		}
	case now != s.last:
		if err := s.server.Refresh(ctx); err != nil {
			return err
		}
	}
	s.last = now
	return nil
}

// reload makes the store's catalog what policies see, Envoy routes and filters serve.
func (s *sidecar) reload(ctx context.Context) error {
	c, err := s.store.Config(ctx)
	if err != nil {
		return err
	}
	keys, err := backendKeys(c, s.reader)
	if err != nil {
		return err
	}
	if _, err := s.engine.SetCatalog(policy.CatalogData(c)); err != nil {
		return fmt.Errorf("giving policies the catalog: %w", err)
	}
	var routing error
	if s.xds != "" {
		if err := xds.Write(s.xds, c, xds.Options{}); err != nil {
			routing = fmt.Errorf("writing Envoy's routes and clusters: %w", err)
		}
	}
	// A key that was revoked is refused from now on, also where no route can be written.
	return errors.Join(routing, s.server.Publish(ctx, filterapi.Catalog{Catalog: c, BackendKeys: keys}))
}

// tidy has what is over leave the store, until ctx ends.
func (s *sidecar) tidy(ctx context.Context) {
	each := time.NewTicker(tidyEvery)
	defer each.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-each.C:
		}
		_, keys := s.store.DropExpiredKeys(ctx)
		if err := errors.Join(keys, s.store.DropOldAnswers(ctx)); err != nil && ctx.Err() == nil {
			s.log.Error("tidying the store", "error", err)
		}
	}
}
