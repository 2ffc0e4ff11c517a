package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/secret"
)

// brokenCatalog is a catalog that is refused, with every mistake in it.
type brokenCatalog struct {
	file     string
	mistakes []catalog.Mistake
}

func (b *brokenCatalog) Error() string {
	lines := make([]string, 0, len(b.mistakes)+1)
	noun := "mistakes"
	if len(b.mistakes) == 1 {
		noun = "mistake"
	}
	lines = append(lines, fmt.Sprintf("%s has %d %s", b.file, len(b.mistakes), noun))
	for _, m := range b.mistakes {
		lines = append(lines, m.String())
	}
	return strings.Join(lines, "\n")
}

// readCatalog returns the catalog in file, or *brokenCatalog.
func readCatalog(file string, o catalog.Options) (*catalog.Catalog, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	c, mistakes := catalog.Parse(file, data, o)
	if len(mistakes) > 0 {
		return nil, &brokenCatalog{file, mistakes}
	}
	return c, nil
}

// backendKeys reads the keys of APIs that inject one, by API name. Its error names every
// key that is missing.
func backendKeys(c *catalog.Catalog, r secret.Reader) (map[string]string, error) {
	keys := map[string]string{}
	var errs []error
	for _, api := range c.APIs {
		if api.Backend.Authorization != string(wire.AuthorizationInject) || api.Backend.Key == nil {
			continue
		}
		key, err := r.Read(*api.Backend.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("API %q: backend.key: %w", api.Name, err))
			continue
		}
		keys[api.Name] = key
	}
	return keys, errors.Join(errs...)
}
