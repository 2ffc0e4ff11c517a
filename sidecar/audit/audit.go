// Package audit keeps who changed what, when and from where, in rows that are appended and
// never changed. Each row's hash covers the row and the hash of the one before, so that a
// row that was changed, removed or put in between is found by Verify. What is beyond the
// last row cannot be missed by looking at the rows alone: note the head somewhere else.
//
// It decides nothing, and no secret is given to it.
package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// Entry is one change.
type Entry struct {
	ID     int64 // from 1, without a gap; given by Append
	Time   time.Time
	Actor  string // "token:ci", "alice (uid 1000)", "file:tollgate.yaml"
	Origin string // where the call came from: an address, "socket", "file"
	Action string // kind and verb: "subscription.approve"
	Kind   string
	Name   string
	// Before and After are JSON objects without secrets; empty where there is nothing.
	Before, After string
	Hash          [sha256.Size]byte // given by Append
}

// Head names the last row of a chain; the zero Head is that of an empty one.
type Head struct {
	ID   int64
	Hash [sha256.Size]byte
}

// String is "ID:HASH", the hash in hexadecimal.
func (h Head) String() string { return fmt.Sprintf("%d:%s", h.ID, hex.EncodeToString(h.Hash[:])) }

type originKey struct{}

// WithOrigin gives what is done in a context an origin, for those who append without a
// Write of package store.
func WithOrigin(ctx context.Context, origin string) context.Context {
	return context.WithValue(ctx, originKey{}, origin)
}

// Origin is where what is done in a context came from; empty where nobody said it.
func Origin(ctx context.Context) string {
	origin, _ := ctx.Value(originKey{}).(string)
	return origin
}

// Append adds entries in tx. On PostgreSQL it waits for others that append, and they for tx:
// it comes last in a transaction.
func Append(ctx context.Context, tx *database.Tx, d database.Dialect, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var head Head
	var hash []byte
	if err := tx.QueryRow(ctx, `SELECT id, hash FROM audit_head`+d.ForUpdate()).Scan(&head.ID, &hash); err != nil {
		return fmt.Errorf("auditing: %w", err)
	}
	copy(head.Hash[:], hash)
	for _, e := range entries {
		e.ID = head.ID + 1
		e.Time = e.Time.UTC().Truncate(time.Millisecond)
		for _, text := range []*string{&e.Actor, &e.Origin, &e.Action, &e.Kind, &e.Name, &e.Before, &e.After} {
			*text = plain(*text)
		}
		e.Hash = e.chained(head.Hash)
		if _, err := tx.Exec(ctx, `
			INSERT INTO audit (id, t, actor, origin, action, kind, name, before_state, after_state, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			e.ID, e.Time.UnixMilli(), e.Actor, e.Origin, e.Action, e.Kind, e.Name, e.Before, e.After, e.Hash[:]); err != nil {
			return fmt.Errorf("auditing: %w", err)
		}
		head = Head{e.ID, e.Hash}
	}
	if _, err := tx.Exec(ctx, `UPDATE audit_head SET id = ?, hash = ?`, head.ID, head.Hash[:]); err != nil {
		return fmt.Errorf("auditing: %w", err)
	}
	return nil
}

// plain is a text that every database keeps as it is: what is not UTF-8, and U+0000, which
// PostgreSQL refuses, become U+FFFD.
func plain(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// chained is the entry's hash after before: SHA-256 over before and each field after its
// length, so that no two entries have the same bytes.
func (e *Entry) chained(before [sha256.Size]byte) [sha256.Size]byte {
	var b bytes.Buffer
	b.Write(before[:])
	number := func(n int64) { b.Write(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	number(e.ID)
	number(e.Time.UnixMilli())
	for _, text := range []string{e.Actor, e.Origin, e.Action, e.Kind, e.Name, e.Before, e.After} {
		number(int64(len(text)))
		b.WriteString(text)
	}
	return sha256.Sum256(b.Bytes())
}
