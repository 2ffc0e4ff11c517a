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

// wake has what waits for c go on, or know that it has to look once more.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // what waits will see this as well
	}
}

// move has what changed published soon.
func (s *sidecar) move() { wake(s.moved) }

// start publishes what the store holds for the first time.
func (s *sidecar) start(ctx context.Context) error {
	now, err := s.state(ctx)
	if err != nil {
		return err
	}
	if err := s.reload(ctx); err != nil {
		return err
	}
	s.last = now
	return nil
}

// state is what there is to publish. It is read before what it counts: what changes
// meanwhile is published once more.
func (s *sidecar) state(ctx context.Context) (now published, err error) {
	now.resets = s.ledger.Resets()
	now.change, now.configured, err = s.store.Change(ctx)
	return now, err
}

// follow publishes what changes in the store, until ctx ends: subscriptions and keys at
// once, and the configuration as soon as configure has worked it out.
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
		now, err := s.state(ctx)
		if err == nil {
			if now.configured != s.last.configured {
				wake(s.configured)
			}
			if now != s.last {
				err = s.server.Refresh(ctx)
			}
		}
		if err == nil {
			s.last, logged = now, ""
		} else if err.Error() != logged && ctx.Err() == nil {
			logged = err.Error()
			s.log.Error("publishing subscriptions failed, trying again", "error", logged)
		}
	}
}

// configure publishes the configuration that changed, until ctx ends.
func (s *sidecar) configure(ctx context.Context) {
	logged, wait := "", firstWait
	again := time.NewTimer(0)
	again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.configured:
		case <-again.C:
		}
		err := s.reload(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && logged != "":
			s.log.Info("what the store holds is published again")
			logged, wait = "", firstWait
		case err != nil:
			if err.Error() != logged {
				logged, wait = err.Error(), firstWait
				s.log.Error("publishing failed, trying again", "error", logged)
			}
			again.Reset(wait)
			wait = min(2*wait, lastWait)
		}
	}
}

// reload makes the store's configuration what policies see, Envoy routes and filters serve.
// An API whose backend's key is missing refuses its calls; the others go on.
func (s *sidecar) reload(ctx context.Context) error {
	c, err := s.store.Config(ctx)
	if err != nil {
		return err
	}
	keys, missing := backendKeys(c, s.reader)
	if missing != nil {
		s.log.Error("APIs refuse all calls while their backends' keys are missing", "error", missing)
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
	err = s.server.Publish(ctx, filterapi.Catalog{Catalog: c, BackendKeys: keys})
	if err == nil {
		s.running.Store(c)
	}
	return errors.Join(routing, err)
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
