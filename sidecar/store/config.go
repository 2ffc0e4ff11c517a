package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
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

// Export is all that the store holds as a catalog file declares it, sorted by name: keys as
// their digests, without those on their way out, and backends' URLs without overrides.
func (s *Store) Export(ctx context.Context) (*catalog.Catalog, error) {
	var c *catalog.Catalog
	err := s.db.View(ctx, "exporting", func(tx *database.Tx) error {
		c = &catalog.Catalog{APIs: []catalog.API{}, Products: []catalog.Product{}, Groups: []catalog.Group{},
			Developers: []catalog.Developer{}, Subscriptions: []catalog.Subscription{}}
		if err := eachObject(ctx, tx, func(o Object) error { return export(c, o) }, allKinds...); err != nil {
			return err
		}
		return eachRow(ctx, tx, `s.removed = 0`, nil, func(r row) error {
			c.Subscriptions = append(c.Subscriptions, r.exported())
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(c.APIs, func(a, b catalog.API) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Products, func(a, b catalog.Product) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Groups, func(a, b catalog.Group) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Developers, func(a, b catalog.Developer) int { return strings.Compare(a.Email, b.Email) })
	slices.SortFunc(c.Subscriptions, func(a, b catalog.Subscription) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
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

func export(c *catalog.Catalog, o Object) error {
	var err error
	switch o.Kind {
	case KindOrganization:
		err = json.Unmarshal(o.Spec, &c.Organization)
	case KindAPI:
		c.APIs, err = decoded(c.APIs, o)
	case KindProduct:
		c.Products, err = decoded(c.Products, o)
	case KindGroup:
		c.Groups, err = decoded(c.Groups, o)
	case KindDeveloper:
		c.Developers, err = decoded(c.Developers, o)
	}
	return err
}

// decoded appends an object's spec to a list.
func decoded[T any](list []T, o Object) ([]T, error) {
	var spec T
	if err := json.Unmarshal(o.Spec, &spec); err != nil {
		return nil, fmt.Errorf("%s: %w", label(o.Kind, o.Name), err)
	}
	return append(list, spec), nil
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
