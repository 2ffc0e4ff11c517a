package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/store"
	"github.com/tollgate/tollgate/sidecar/xds"
)

// secretPrefix begins the environment variables that the admin API may name.
const secretPrefix = "TOLLGATE_SECRET_"

// applyFile applies the catalog file to the store and returns the state of the file that it
// read. After an error it may be called again. Without a file it does nothing.
func (s *sidecar) applyFile(ctx context.Context) (fs.FileInfo, error) {
	if s.catalog == "" {
		return nil, nil
	}
	seen, err := os.Stat(s.catalog)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	c, err := readCatalog(s.catalog, s.options)
	if err != nil {
		return seen, err
	}
	source := store.FileSource(filepath.Base(s.catalog))
	plan, err := s.store.Apply(ctx, store.Application{
		Catalog: c, Secrets: s.reader, Conflicts: store.ConflictsKeep,
		Write: store.Write{Actor: source, Origin: "file", Source: source, Operator: true},
	})
	if err != nil {
		return seen, err
	}
	for _, kept := range plan.Kept {
		s.log.Warn("the catalog file is not followed here: take it over with `tollgate apply --conflicts take-over`, or remove it from the file",
			"kind", kept.Kind, "name", kept.Name, "managed_by", kept.Source)
	}
	s.log.Info("applied the catalog", "file", s.catalog, "changes", len(plan.Changes))
	return seen, nil
}

// firstApply applies the catalog file at start. One with mistakes is refused, and so is one
// that cannot be applied to an empty store. Where there is something to serve, that is served
// when the file does not go with what others have put into the store since.
func (s *sidecar) firstApply(ctx context.Context) (fs.FileInfo, error) {
	held, err := s.store.Config(ctx)
	if err != nil {
		return nil, err
	}
	s.running.Store(held)
	seen, err := s.applyFile(ctx)
	if err != nil && len(held.APIs) > 0 && s.refused(err) {
		return seen, nil
	}
	return seen, err
}

// reapplyFile applies the file that changed, or says what its mistakes are.
func (s *sidecar) reapplyFile(ctx context.Context) {
	s.persist(ctx, "applying the catalog", func() error {
		_, err := s.applyFile(ctx)
		var broken *brokenCatalog
		switch {
		case errors.As(err, &broken):
			for _, m := range broken.mistakes {
				s.log.Error("the catalog is refused, the last good one stays", "mistake", m.String())
			}
			return nil // only another change of the file mends it
		case err == nil:
			wake(s.configured) // the file is touched when a secret's file has changed
		case s.refused(err):
			return nil
		}
		return err
	})
}

// refused says whether the store refused the file for what is in it, and logs why.
func (s *sidecar) refused(err error) bool {
	var invalid *store.InvalidError
	var used *store.InUseError
	switch {
	case errors.As(err, &invalid):
		for _, m := range invalid.Mistakes {
			s.log.Error("the catalog is refused, the last good one stays", "field", m.Field, "mistake", m.Message)
		}
	case errors.As(err, &used):
		s.log.Error("the catalog is refused, the last good one stays", "mistake", used.Error())
	default:
		return false
	}
	return true
}

// accept says whether the gateway can run with a catalog: what can fail without having
// changed anything. A secret that is where it was before is not looked for: if it is missing,
// that is no fault of this change. Its errors hold no secret.
func (s *sidecar) accept(c *catalog.Catalog) error {
	changed := *c
	changed.APIs = slices.DeleteFunc(slices.Clone(c.APIs), s.hasKey)
	if _, err := backendKeys(&changed, s.reader); err != nil {
		return err
	}
	if s.xds == "" {
		return nil
	}
	_, _, err := xds.Files(c, xds.Options{})
	return err
}

// hasKey says whether the API's backend has the key that it is published with.
func (s *sidecar) hasKey(api catalog.API) bool {
	return api.Backend.Key != nil && slices.ContainsFunc(s.running.Load().APIs, func(held catalog.API) bool {
		return held.Name == api.Name && held.Backend.Key != nil && *held.Backend.Key == *api.Backend.Key
	})
}

// allowSecret says whether the admin API may name a secret of this machine: what it names is
// sent to a backend that it chose.
func (s *sidecar) allowSecret(secret catalog.Secret) error {
	switch {
	case secret.Env != "" && !strings.HasPrefix(secret.Env, secretPrefix) && !slices.Contains(s.allowEnv, secret.Env):
		return fmt.Errorf("the environment variable's name must begin with %s, or the sidecar allow it with --allow-env", secretPrefix)
	case secret.File != "" && s.secrets == "":
		return errors.New("the sidecar has no folder of secrets: start it with --secrets, or name an environment variable")
	case secret.File != "" && !filepath.IsLocal(secret.File):
		return errors.New("must be a path below the sidecar's folder of secrets (--secrets)")
	}
	return nil
}

// persist calls try until it succeeds or ctx ends. An error is logged when its text is not
// that of the one before.
func (s *sidecar) persist(ctx context.Context, doing string, try func() error) {
	logged := ""
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := try()
		if err == nil || ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != logged {
			s.log.Error(doing+" failed, trying again", "error", text)
			logged = text
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
