package store

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// Revise names the state whose content has this digest. The number moves, durably, when the
// content differs from that of the latest revision, and only then: a restart that finds
// everything as it was keeps its number, so filters keep what they hold.
//
// The store keeps the digest under its pepper: content includes backend keys.
func (s *Store) Revise(ctx context.Context, content [32]byte) (wire.Revision, error) {
	h := hmac.New(sha256.New, s.pepper)
	h.Write(content[:])
	fingerprint := h.Sum(nil)
	r := wire.Revision{Store: s.id, Content: hex.EncodeToString(fingerprint[:8])}
	err := s.db.Transact(ctx, "moving the revision", func(tx *database.Tx) error {
		var held []byte
		if err := tx.QueryRow(ctx, `SELECT number, fingerprint FROM meta`+s.db.Dialect().ForUpdate()).Scan(&r.Number, &held); err != nil {
			return err
		}
		if bytes.Equal(held, fingerprint) {
			return nil
		}
		r.Number++
		_, err := tx.Exec(ctx, `UPDATE meta SET number = ?, fingerprint = ?`, int64(r.Number), fingerprint)
		return err
	})
	return r, err
}
