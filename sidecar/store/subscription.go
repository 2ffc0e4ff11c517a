package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// Subscription is a subscription as the store holds it.
type Subscription struct {
	ID uint32 // never 0, never given to another subscription
	// Revision moves with every change of a field below.
	Revision   uint32
	Name       string
	Scope      Scope
	State      wire.State // as declared: expiry is derived from Expires
	Expires    uint32     // Unix seconds; 0: never. Active while now < Expires.
	Attributes map[string]string
	Developer  Developer
	Keys       []Key // by slot; at most two
	// Started is when the store first saw it, in UTC, to the millisecond. It never changes.
	Started time.Time
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
	Slot   wire.Slot
	Digest [32]byte
}

// Subscriptions reads all subscriptions that were not removed, by ascending id.
func (s *Store) Subscriptions(ctx context.Context) ([]Subscription, error) {
	var rows []row
	if err := s.db.View(ctx, "reading subscriptions", func(tx *database.Tx) (err error) {
		rows, err = loadSubscriptions(ctx, tx)
		return err
	}); err != nil {
		return nil, err
	}
	var all []Subscription
	for _, r := range rows {
		if !r.removed {
			all = append(all, r.Subscription)
		}
	}
	return all, nil
}

// row is a subscription's row; a removed one has no keys.
type row struct {
	Subscription
	removed bool
}

func loadSubscriptions(ctx context.Context, tx *database.Tx) ([]row, error) {
	keys, err := loadKeys(ctx, tx)
	if err != nil {
		return nil, err
	}
	found, err := tx.Query(ctx, `
		SELECT s.id, s.revision, s.name, s.scope_kind, s.scope_name, s.state, s.expires, s.attributes, s.removed,
		       s.started, s.developer, COALESCE(d.name, ''), COALESCE(d.groups, '[]')
		  FROM subscription s LEFT JOIN developer d ON d.email = s.developer ORDER BY s.id`)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var rows []row
	for found.Next() {
		var r row
		var started int64
		var attributes, groups string
		if err := found.Scan(&r.ID, &r.Revision, &r.Name, &r.Scope.Kind, &r.Scope.Name, &r.State, &r.Expires, &attributes, &r.removed,
			&started, &r.Developer.Email, &r.Developer.Name, &groups); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(attributes), &r.Attributes); err != nil {
			return nil, fmt.Errorf("attributes of subscription %d: %w", r.ID, err)
		}
		if err := json.Unmarshal([]byte(groups), &r.Developer.Groups); err != nil {
			return nil, fmt.Errorf("groups of developer %s: %w", r.Developer.Email, err)
		}
		r.Started = time.UnixMilli(started).UTC()
		r.Keys = keys[r.ID]
		rows = append(rows, r)
	}
	return rows, found.Err()
}

func loadKeys(ctx context.Context, tx *database.Tx) (map[uint32][]Key, error) {
	found, err := tx.Query(ctx, `SELECT subscription, slot, digest FROM key ORDER BY subscription, slot`)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	keys := map[uint32][]Key{}
	for found.Next() {
		var id uint32
		var slot wire.Slot
		var digest []byte
		if err := found.Scan(&id, &slot, &digest); err != nil {
			return nil, err
		}
		if len(digest) != 32 {
			return nil, fmt.Errorf("key of subscription %d: digest of %d bytes", id, len(digest))
		}
		keys[id] = append(keys[id], Key{Slot: slot, Digest: [32]byte(digest)})
	}
	return keys, found.Err()
}
