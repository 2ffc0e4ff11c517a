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

// reapplyFile applies the file that changed, or says what its mistakes are.
func (s *sidecar) reapplyFile(ctx context.Context) {
	s.persist(ctx, "applying the catalog", func() error {
		_, err := s.applyFile(ctx)
		var broken *brokenCatalog
		var invalid *store.InvalidError
		switch {
		case errors.As(err, &broken):
			for _, m := range broken.mistakes {
				s.log.Error("the catalog is refused, the last good one stays", "mistake", m.String())
			}
			return nil // only another change of the file mends it
		case errors.As(err, &invalid):
			for _, m := range invalid.Mistakes {
				s.log.Error("the catalog is refused, the last good one stays", "field", m.Field, "mistake", m.Message)
			}
			return nil
		case err == nil:
			s.reread.Store(true) // the file is touched when a secret's file has changed
			s.move()
		}
		return err
	})
}

// accept says whether the gateway can run with a catalog: what can fail without having
// changed anything. Its errors hold no secret.
func (s *sidecar) accept(c *catalog.Catalog) error {
	if _, err := backendKeys(c, s.reader); err != nil {
		return err
	}
	if s.xds == "" {
		return nil
	}
	_, _, err := xds.Files(c, xds.Options{})
	return err
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
