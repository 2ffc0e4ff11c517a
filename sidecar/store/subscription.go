package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// Subscription is a subscription as the store holds it.
type Subscription struct {
	ID uint32 // never 0, never given to another subscription
	// Revision moves with every change of a field below, and with one of its developer.
	Revision   uint32
	Name       string
	Scope      Scope
	State      wire.State // as declared: expiry is derived from Expires
	Expires    uint32     // Unix seconds; 0: never. Active while now < Expires.
	Attributes map[string]string
	Developer  Developer
	// Keys are sorted by slot; the one that lives as long as the subscription comes before
	// those on their way out.
	Keys []Key
	// Started is when the store first saw it, in UTC, to the millisecond. It never changes.
	Started time.Time
	Updated time.Time // when its revision last moved, like Started
	// Source is what manages it, see Write.Source.
	Source string
	Note   string // why it was rejected, suspended or cancelled
	Shown  bool   // its keys were made and shown
}

// Scope is what a subscription opens.
type Scope struct {
	Kind ScopeKind
	Name string // of the product or API, empty for all APIs
}

// ScopeKind tells the three kinds of scopes apart.
type ScopeKind string

// The kinds of scopes.
const (
	ScopeProduct ScopeKind = "product"
	ScopeAPI     ScopeKind = "api"
	ScopeAllAPIs ScopeKind = "all_apis"
)

// Developer is a person who subscribes.
type Developer struct {
	Email  string
	Name   string
	Groups []string
}

// Key is one key of a subscription.
type Key struct {
	Slot    wire.Slot
	Digest  [32]byte
	Expires uint32 // Unix seconds; 0: with its subscription
	Source  string // what manages it, see Write.Source
	Created time.Time
	Used    time.Time // when a call last came with it, about; zero: never
}

// Catalog is the subscription as a catalog file declares it, without keys.
func (s *Subscription) Catalog() catalog.Subscription {
	c := catalog.Subscription{Name: s.Name, Developer: s.Developer.Email, State: StateName(s.State)}
	switch s.Scope.Kind {
	case ScopeProduct:
		c.Product = s.Scope.Name
	case ScopeAPI:
		c.API = s.Scope.Name
	case ScopeAllAPIs:
		c.AllAPIs = true
	}
	if s.Expires != 0 {
		at := time.Unix(int64(s.Expires), 0).UTC()
		c.ExpiresAt = &at
	}
	if len(s.Attributes) > 0 {
		c.Attributes = s.Attributes
	}
	return c
}

// Subscriptions reads all subscriptions that were not removed, by ascending id.
func (s *Store) Subscriptions(ctx context.Context) ([]Subscription, error) {
	var all []Subscription
	err := s.db.View(ctx, "reading subscriptions", func(tx *database.Tx) error {
		all = nil
		return eachRow(ctx, tx, `s.removed = 0`, nil, func(r row) error {
			all = append(all, r.Subscription)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// row is a subscription's row; a removed one has no keys.
type row struct {
	Subscription
	removed bool
}

// pageRows is how many rows are read with one statement: few enough for the time that
// PostgreSQL gives a statement.
const pageRows = 5000

// eachRow calls each for the rows that meet a condition on s, by ascending id.
func eachRow(ctx context.Context, tx *database.Tx, condition string, arguments []any, each func(row) error) error {
	last := int64(0)
	for {
		page, err := selected(ctx, tx, condition+` AND s.id > ? ORDER BY s.id LIMIT `+strconv.Itoa(pageRows), append(arguments[:len(arguments):len(arguments)], last)...)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := each(r); err != nil {
				return err
			}
			last = int64(r.ID)
		}
		if len(page) < pageRows {
			return nil
		}
	}
}

// selected reads the subscriptions that meet a condition on s, which may go on with an order
// and a limit, with their developers and keys.
func selected(ctx context.Context, tx *database.Tx, condition string, arguments ...any) ([]row, error) {
	rows, err := selectRows(ctx, tx, condition, arguments)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	keys, err := selectKeys(ctx, tx, condition, arguments)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		rows[i].Keys = keys[rows[i].ID]
	}
	return rows, nil
}

func selectRows(ctx context.Context, tx *database.Tx, condition string, arguments []any) ([]row, error) {
	found, err := tx.Query(ctx, `
		SELECT s.id, s.revision, s.name, s.scope_kind, s.scope_name, s.state, s.expires, s.attributes, s.removed, s.started, s.updated,
		       s.source, s.note, s.shown, s.developer, COALESCE(d.spec, '')
		  FROM subscription s LEFT JOIN object d ON d.kind = 'developer' AND d.name = s.developer WHERE `+condition, arguments...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var rows []row
	for found.Next() {
		var r row
		var started, updated int64
		var attributes, developer string
		if err := found.Scan(&r.ID, &r.Revision, &r.Name, &r.Scope.Kind, &r.Scope.Name, &r.State, &r.Expires, &attributes, &r.removed,
			&started, &updated, &r.Source, &r.Note, &r.Shown, &r.Developer.Email, &developer); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(attributes), &r.Attributes); err != nil {
			return nil, fmt.Errorf("attributes of subscription %d: %w", r.ID, err)
		}
		if err := r.Developer.read(developer); err != nil {
			return nil, fmt.Errorf("developer %s: %w", r.Developer.Email, err)
		}
		r.Started, r.Updated = time.UnixMilli(started).UTC(), time.UnixMilli(updated).UTC()
		rows = append(rows, r)
	}
	return rows, found.Err()
}

// read takes name and groups from a developer's spec; an empty one is that of a developer
// who is gone.
func (d *Developer) read(spec string) error {
	var c catalog.Developer
	if spec != "" {
		if err := json.Unmarshal([]byte(spec), &c); err != nil {
			return err
		}
	}
	d.Name, d.Groups = c.Name, orEmpty(c.Groups)
	return nil
}

func selectKeys(ctx context.Context, tx *database.Tx, condition string, arguments []any) (map[uint32][]Key, error) {
	found, err := tx.Query(ctx, `
		SELECT subscription, slot, digest, expires, source, created, used FROM key
		 WHERE subscription IN (SELECT s.id FROM subscription s WHERE `+condition+`) ORDER BY subscription, slot, expires, digest`, arguments...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	keys := map[uint32][]Key{}
	for found.Next() {
		var id uint32
		var k Key
		var digest []byte
		var created, used int64
		if err := found.Scan(&id, &k.Slot, &digest, &k.Expires, &k.Source, &created, &used); err != nil {
			return nil, err
		}
		if len(digest) != len(k.Digest) {
			return nil, fmt.Errorf("key of subscription %d: digest of %d bytes", id, len(digest))
		}
		k.Digest, k.Created = [32]byte(digest), time.UnixMilli(created).UTC()
		if used > 0 {
			k.Used = time.UnixMilli(used).UTC()
		}
		keys[id] = append(keys[id], k)
	}
	return keys, found.Err()
}

// oneRow reads the live subscription with this name, or else with this id in decimal.
func oneRow(ctx context.Context, tx *database.Tx, nameOrID string) (Subscription, error) {
	rows, err := selected(ctx, tx, `s.removed = 0 AND s.name = ?`, shown(nameOrID))
	if err != nil {
		return Subscription{}, err
	}
	if id, err := strconv.ParseUint(nameOrID, 10, 32); err == nil && len(rows) == 0 {
		if rows, err = selected(ctx, tx, `s.removed = 0 AND s.id = ?`, int64(id)); err != nil {
			return Subscription{}, err
		}
	}
	if len(rows) == 0 {
		return Subscription{}, fmt.Errorf("subscription %q: %w", nameOrID, ErrNotFound)
	}
	return rows[0].Subscription, nil
}

// find is the live subscription with this name, or else with this id in decimal; ErrNotFound.
func (c *changing) find(nameOrID string) (Subscription, error) {
	return oneRow(c.ctx, c.tx, nameOrID)
}

// product reads a product; ErrNotFound.
func (c *changing) product(name string) (catalog.Product, error) {
	var spec string
	var p catalog.Product
	err := c.tx.QueryRow(c.ctx, `SELECT spec FROM object WHERE kind = 'product' AND name = ?`, shown(name)).Scan(&spec)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return p, fmt.Errorf("product %q: %w", name, ErrNotFound)
	case err != nil:
		return p, err
	}
	return p, json.Unmarshal([]byte(spec), &p)
}
