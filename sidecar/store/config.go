package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// sortObjects sorts by name, byte by byte, as no database has to.
func sortObjects(objects []Object) {
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Name, b.Name) })
}

// Config is the organization, the APIs, the products and the groups, sorted by name, with
// the overrides of Options.Catalog in place. That of an empty store is empty. *InvalidError
// where Options.Catalog does not allow what the store holds.
func (s *Store) Config(ctx context.Context) (*catalog.Catalog, error) {
	var c *candidate
	if err := s.db.View(ctx, "reading the configuration", func(tx *database.Tx) (err error) {
		c, err = configuration(ctx, tx, "", "")
		return err
	}); err != nil {
		return nil, err
	}
	parsed, err := s.running(c)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return parsed, nil
}

// running is a candidate as the gateway would run it.
func (s *Store) running(c *candidate) (*catalog.Catalog, error) {
	parsed, err := c.parse(s.options.Catalog)
	if err != nil {
		return nil, err
	}
	parsed.Override(s.options.Catalog.BackendOverrides)
	return parsed, nil
}

// allKinds are the kinds of objects, in the order in which they need one another.
var allKinds = []Kind{KindOrganization, KindAPI, KindGroup, KindProduct, KindDeveloper}

// eachObject calls each for all objects of the kinds.
func eachObject(ctx context.Context, tx *database.Tx, each func(Object) error, kinds ...Kind) error {
	for _, kind := range kinds {
		for last, first := "", true; ; first = false {
			comparison := `>`
			if first {
				comparison = `>=`
			}
			page, err := selectObjects(ctx, tx, `kind = ? AND name `+comparison+` ? ORDER BY name LIMIT ?`, string(kind), last, int64(pageRows))
			if err != nil {
				return err
			}
			for _, o := range page {
				if err := each(o); err != nil {
					return err
				}
				last = o.Name
			}
			if len(page) < pageRows {
				break
			}
		}
	}
	return nil
}

func (s *Subscription) exported() catalog.Subscription {
	c := s.Catalog()
	for _, k := range s.Keys {
		secret := &catalog.Secret{SHA256: hex.EncodeToString(k.Digest[:])}
		switch {
		case k.Expires != 0:
		case k.Slot == wire.SlotSecondary:
			c.SecondaryKey = secret
		default:
			c.PrimaryKey = secret
		}
	}
	return c
}
