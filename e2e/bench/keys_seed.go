package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

const (
	// seedRows is how many rows one statement writes, seedBatch how many subscriptions one
	// transaction.
	seedRows       = 200
	seedBatch      = 100_000
	seedDevelopers = 1000
	// suspendedEach is which subscriptions do not work: their keys are looked up, and no
	// one is asked.
	suspendedEach = 10
)

// seed writes subscriptions to the product Unlimited into a new store. It writes rows: no
// audit of a million of them is wanted here.
func (k *keysRig) seed(ctx context.Context) error {
	db, err := database.Open(ctx, database.Config{Source: k.path("tollgate.db")})
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := store.Open(ctx, db, store.Options{}); err != nil {
		return err
	}
	if err := db.Transact(ctx, "writing developers", func(tx *database.Tx) error {
		for i := range seedDevelopers {
			if _, err := tx.Exec(ctx, `INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated) VALUES ('developer', ?, ?, ?, '', 1, 1, 0, 0)`,
				developer(i), developer(i), fmt.Sprintf(`{"email":%q}`, developer(i))); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE meta SET change = 1`)
		return err
	}); err != nil {
		return err
	}
	for first := 1; first <= k.subscriptions; first += seedBatch {
		if err := db.Transact(ctx, "writing subscriptions", func(tx *database.Tx) error {
			// Indexes of random digests are written all over.
			if _, err := tx.Exec(ctx, `PRAGMA cache_size = -524288`); err != nil { // KiB
				return err
			}
			return k.seedBatch(ctx, tx, first, min(first+seedBatch, k.subscriptions+1))
		}); err != nil {
			return err
		}
	}
	return nil
}

func developer(i int) string { return fmt.Sprintf("developer-%d@example.org", i%seedDevelopers) }

// seedBatch writes the subscriptions from first to the one before end.
func (k *keysRig) seedBatch(ctx context.Context, tx *database.Tx, first, end int) error {
	now := time.Now()
	var subs, keys []row
	for id := first; id < end; id++ {
		state := wire.StateActive
		if id%suspendedEach == 0 {
			state = wire.StateSuspended
		}
		// Each has an expiry of its own: pages that are alike would be one page.
		subs = append(subs, row{id, fmt.Sprint("subscription-", id), fmt.Sprint("subscription-", id), developer(id), int(state),
			now.Unix() + 1<<24 + int64(id), now.UnixMilli(), now.UnixMilli()})
		for slot := 1; slot <= 2; slot++ {
			digest := sha256.Sum256([]byte(k.key(id, slot)))
			keys = append(keys, row{digest[:], id, slot, now.UnixMilli()})
		}
	}
	slices.SortFunc(keys, func(a, b row) int { return bytes.Compare(a[0].([]byte), b[0].([]byte)) })
	if err := insert(ctx, tx, `INSERT INTO subscription (id, name, look, developer, state, expires, started, updated, scope_kind, scope_name,
		attributes, revision, removed, source, change) VALUES `, "(?, ?, ?, ?, ?, ?, ?, ?, 'product', 'Unlimited', '{}', 1, 0, '', 1)", subs); err != nil {
		return err
	}
	return insert(ctx, tx, `INSERT INTO key (digest, subscription, slot, created, expires, source, used) VALUES `, "(?, ?, ?, ?, 0, '', 0)", keys)
}

// row is the values of one row.
type row []any

func insert(ctx context.Context, tx *database.Tx, statement, values string, all []row) error {
	for some := range slices.Chunk(all, seedRows) {
		list := strings.TrimSuffix(strings.Repeat(values+", ", len(some)), ", ")
		if _, err := tx.Exec(ctx, statement+list, slices.Concat(some...)...); err != nil {
			return err
		}
	}
	return nil
}
