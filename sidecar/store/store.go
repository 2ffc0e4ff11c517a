// Package store keeps what must outlive the sidecar: subscriptions and the digests of their
// keys, who owns which resource, and why requests were denied. It decides nothing about a
// request, and no key, backend secret or body ever reaches its database.
//
// Several sidecars on one PostgreSQL are one store: they hand out the same ids, pepper and
// revisions.
package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
)

// pepperSize is the length of a store's pepper in bytes.
const pepperSize = 32

// Options say how a store checks what it is given, and are the parts that tests change.
type Options struct {
	// Now is the clock; time.Now unless given.
	Now func() time.Time
	// Keep is how many denials and decisions are kept each; KeepDenials unless given.
	Keep int
	// Catalog is how specs are checked; its overrides are put in place by Config alone.
	Catalog catalog.Options
	// Accept is asked whether the gateway can run with a changed organization, APIs, products
	// and groups; nil: it always can. Its error says why not, for people. It is asked before
	// the change is written, by several goroutines at a time, and again where others were faster.
	Accept func(*catalog.Catalog) error
	// AllowSecret is asked where a backend's key may be that is not the operator's, see
	// Write.Operator; nil: anywhere. Its error says why not, for people.
	AllowSecret func(catalog.Secret) error
	// OnChange is called after each change that this store has committed.
	OnChange func()
}

// Store is an open store. Its methods may be called from several goroutines.
type Store struct {
	db      *database.DB
	options Options
	now     func() time.Time
	keep    int
	id      string
	pepper  []byte
}

// Open opens the store in db, which it does not close. A database that has none gets one.
func Open(ctx context.Context, db *database.DB, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep == 0 {
		o.Keep = KeepDenials
	}
	s := &Store{db: db, options: o, now: o.Now, keep: o.Keep}
	if err := s.identify(ctx); err != nil {
		return s, err
	}
	return s, s.finishMigration(ctx)
}

// ID names this store: 128 random bits in hexadecimal, made when it was created.
func (s *Store) ID() string { return s.id }

// Pepper keys the HMAC of the key table: 32 random bytes, made when the store was created.
func (s *Store) Pepper() []byte { return s.pepper }

// identify reads the store's identity, giving it one when it is new.
func (s *Store) identify(ctx context.Context) error {
	return s.db.Transact(ctx, "identifying the store", func(tx *database.Tx) error {
		random := make([]byte, 16+pepperSize)
		rand.Read(random) // never fails: crypto/rand ends the process instead
		if _, err := tx.Exec(ctx, `INSERT INTO meta (one, store, number, fingerprint, pepper) VALUES (1, ?, 0, ?, ?) ON CONFLICT DO NOTHING`,
			hex.EncodeToString(random[:16]), []byte{}, random[16:]); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT store, pepper FROM meta`).Scan(&s.id, &s.pepper)
	})
}

// storable says whether PostgreSQL takes a text, so that both dialects take the same.
func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// shown is a text of a client for a record that people read: what cannot be stored in it is
// replaced, so that it does not spoil the rows beside it.
func shown(text string) string {
	if storable(text) {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
