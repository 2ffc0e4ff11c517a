package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
)

// exportRows is how many rows an export holds at a time: an API may have some megabytes.
const exportRows = 250

// errAgain says that an export cannot begin again: a part of it was given out.
var errAgain = errors.New("the database gave the export up half way")

// Through is the same store, read through another database.DB of its database: what takes its
// time there keeps no connection from s.
func (s *Store) Through(db *database.DB) *Store {
	other := *s
	other.db = db
	return &other
}

// exportedKinds are the kinds of objects in the order of a catalog file.
var exportedKinds = []Kind{KindOrganization, KindAPI, KindProduct, KindGroup, KindDeveloper}

// EachExported calls each for all that the store holds at one moment, as a catalog file
// declares it and in its order: catalog.Organization, where there is one, then every
// catalog.API, Product, Group, Developer and Subscription, each sorted by name, byte by byte.
// Keys are their digests, without those on their way out, and backends' URLs are without
// overrides. It holds few of them at a time. An error of each ends it.
func (s *Store) EachExported(ctx context.Context, each func(item any) error) error {
	begun := false
	return s.db.View(ctx, "exporting", func(tx *database.Tx) error {
		if begun {
			return errAgain
		}
		begun = true
		x := exporting{ctx: ctx, tx: tx, name: byteOrder(s.db.Dialect()), each: each}
		for _, kind := range exportedKinds {
			if err := x.objects(kind); err != nil {
				return err
			}
		}
		return x.subscriptions()
	})
}

// byteOrder makes a column of text be sorted and compared byte by byte, as SQLite does anyway.
func byteOrder(d database.Dialect) string {
	if d == database.PostgreSQL {
		return ` COLLATE "C"`
	}
	return ""
}

// exporting is an export at work.
type exporting struct {
	ctx  context.Context
	tx   *database.Tx
	name string // what follows a column with names
	each func(any) error
}

func (x *exporting) objects(kind Kind) error {
	comparison := `>=` // the organization has no name
	for last := ""; ; comparison = `>` {
		page, err := selectObjects(x.ctx, x.tx, `kind = ? AND name`+x.name+` `+comparison+` ? ORDER BY name`+x.name+` LIMIT ?`, string(kind), last, int64(exportRows))
		if err != nil {
			return err
		}
		for _, o := range page {
			last = o.Name
			item, err := exported(o)
			if err == nil {
				err = x.each(item)
			}
			if err != nil {
				return err
			}
		}
		if len(page) < exportRows {
			return nil
		}
	}
}

func (x *exporting) subscriptions() error {
	for last := ""; ; {
		page, err := selected(x.ctx, x.tx, `s.removed = 0 AND s.name`+x.name+` > ? ORDER BY s.name`+x.name+` LIMIT ?`, last, int64(exportRows))
		if err != nil {
			return err
		}
		for _, r := range page {
			last = r.Name
			if err := x.each(r.exported()); err != nil {
				return err
			}
		}
		if len(page) < exportRows {
			return nil
		}
	}
}

// exported is an object as a catalog file declares it.
func exported(o Object) (item any, err error) {
	switch o.Kind {
	case KindOrganization:
		item, err = decoded[catalog.Organization](o)
	case KindAPI:
		item, err = decoded[catalog.API](o)
	case KindProduct:
		item, err = decoded[catalog.Product](o)
	case KindGroup:
		item, err = decoded[catalog.Group](o)
	case KindDeveloper:
		item, err = decoded[catalog.Developer](o)
	}
	return item, err
}

// decoded is an object's spec.
func decoded[T any](o Object) (spec T, err error) {
	if err := json.Unmarshal(o.Spec, &spec); err != nil {
		return spec, fmt.Errorf("%s: %w", label(o.Kind, o.Name), err)
	}
	return spec, nil
}

// Export is what EachExported gives as one catalog.
func (s *Store) Export(ctx context.Context) (*catalog.Catalog, error) {
	c := &catalog.Catalog{APIs: []catalog.API{}, Products: []catalog.Product{}, Groups: []catalog.Group{},
		Developers: []catalog.Developer{}, Subscriptions: []catalog.Subscription{}}
	err := s.EachExported(ctx, func(item any) error {
		switch item := item.(type) {
		case catalog.Organization:
			c.Organization = item
		case catalog.API:
			c.APIs = append(c.APIs, item)
		case catalog.Product:
			c.Products = append(c.Products, item)
		case catalog.Group:
			c.Groups = append(c.Groups, item)
		case catalog.Developer:
			c.Developers = append(c.Developers, item)
		case catalog.Subscription:
			c.Subscriptions = append(c.Subscriptions, item)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}
