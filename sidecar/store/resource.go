package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// ErrConflict says that a resource belongs to another call.
var ErrConflict = errors.New("the resource belongs to another call")

// ErrNoIntent says that no submit with this call was announced, so that nobody knows which
// backend it went to.
var ErrNoIntent = errors.New("no submit with this call was announced")

// Submit is a call that creates a resource.
type Submit struct {
	Call         string
	Subscription uint32 // 0: keyless, whose resources are nobody's
	Backend      string // the backend's URL
	API          string
	Operation    string
	Resource     wire.Resource // ID is empty before the backend gave one
}

// Intend records that a submit is about to be forwarded. Repeating it changes nothing.
func (s *Store) Intend(ctx context.Context, submit Submit) error {
	return s.db.Transact(ctx, "recording an intent", func(tx *database.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO intent (call, subscription, kind, scope, backend, api, operation, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, submit.Call, int64(submit.Subscription), submit.Resource.Kind, s.scopeKey(submit.Resource.Scope),
			submit.Backend, submit.API, submit.Operation, s.now().UnixMilli())
		return err
	})
}

// Own records that submit's subscription created submit's resource, for ever. The backend
// is that of the call's intent, or submit.Backend where there is none; ErrNoIntent when
// that is empty as well. Repeating it changes nothing; ErrConflict when the resource
// belongs to another call or subscription.
func (s *Store) Own(ctx context.Context, submit Submit) error {
	if !storable(submit.Resource.ID) {
		return errors.New("recording a resource: its id is no text")
	}
	scope := s.scopeKey(submit.Resource.Scope)
	return s.db.Transact(ctx, "recording a resource", func(tx *database.Tx) error {
		backend := submit.Backend
		err := tx.QueryRow(ctx, `SELECT backend FROM intent WHERE call = ? AND subscription = ? AND kind = ? AND scope = ?`,
			submit.Call, int64(submit.Subscription), submit.Resource.Kind, scope).Scan(&backend)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if backend == "" {
			return ErrNoIntent
		}
		if _, err := tx.Exec(ctx, `
			INSERT INTO resource (backend, kind, scope, id, subscription, call, created) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, backend, submit.Resource.Kind, scope, submit.Resource.ID,
			int64(submit.Subscription), submit.Call, s.now().UnixMilli()); err != nil {
			return err
		}
		var owner uint32
		var call string
		if err := tx.QueryRow(ctx, `SELECT subscription, call FROM resource WHERE backend = ? AND kind = ? AND scope = ? AND id = ?`,
			backend, submit.Resource.Kind, scope, submit.Resource.ID).Scan(&owner, &call); err != nil {
			return err
		}
		if owner != submit.Subscription || call != submit.Call {
			return ErrConflict
		}
		return nil
	})
}

// Owner returns the subscription that created a resource; false when that is not known.
// A resource that was submitted without a key is nobody's: false as well.
func (s *Store) Owner(ctx context.Context, backend string, r wire.Resource) (uint32, bool, error) {
	if !storable(r.ID) {
		return 0, false, nil // Own refuses it
	}
	var owner uint32
	err := s.db.View(ctx, "looking up an owner", func(tx *database.Tx) error {
		return tx.QueryRow(ctx, `SELECT subscription FROM resource WHERE backend = ? AND kind = ? AND scope = ? AND id = ?`,
			backend, r.Kind, s.scopeKey(r.Scope), r.ID).Scan(&owner)
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	return owner, owner != 0, nil
}

// scopeKey stands for a resource's scope, JSON with sorted names, under the store's pepper.
// A scope's values are those of a path, where a caller may have put a key by mistake, and
// nothing but their equality is needed.
func (s *Store) scopeKey(scope map[string]string) string {
	text := []byte("{}")
	if len(scope) > 0 {
		text, _ = json.Marshal(scope) // a map of strings always marshals
	}
	h := hmac.New(sha256.New, s.pepper)
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}
