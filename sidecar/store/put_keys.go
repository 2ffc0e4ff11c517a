package store

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// putKeys makes the rows of a subscription's keys those of after.
func (c *changing) putKeys(before, after *Subscription) error {
	held := map[[32]byte]Key{}
	if before != nil {
		for _, k := range before.Keys {
			held[k.Digest] = k
		}
	}
	wanted := map[[32]byte]Key{}
	var write []Key
	for _, k := range after.Keys {
		if _, twice := wanted[k.Digest]; twice {
			return keyTaken()
		}
		wanted[k.Digest] = k
		if old, ok := held[k.Digest]; !ok || old.Slot != k.Slot || old.Expires != k.Expires || old.Source != k.Source {
			write = append(write, k)
		}
	}
	// What changes leaves first: the index allows one lasting key for a slot.
	for digest, old := range held {
		if k, stays := wanted[digest]; !stays || slices.Contains(write, k) {
			if err := c.deleteKey(old.Digest); err != nil {
				return err
			}
			if !stays {
				if err := c.revoke(before, &old); err != nil {
					return err
				}
			}
		}
	}
	for _, k := range write {
		if _, own := held[k.Digest]; !own {
			if err := c.keyIsFree(k.Digest); err != nil {
				return err
			}
		}
		if err := c.insertKey(after, &k); err != nil {
			return err
		}
	}
	return nil
}

func keyTaken() *StateError {
	return &StateError{Code: "key_taken", Text: "this key is in use, or was: a key names one subscription, and is not given again"}
}

// keyIsFree is a *StateError with key_taken where somebody has the key, or had it.
func (c *changing) keyIsFree(digest [32]byte) error {
	var one int
	err := c.tx.QueryRow(c.ctx, `SELECT 1 FROM key WHERE digest = ? UNION ALL SELECT 1 FROM revoked_key WHERE digest = ? LIMIT 1`, digest[:], digest[:]).Scan(&one)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return keyTaken()
}

// revoke notes that a key is over, or will be: it is not given to anybody again.
func (c *changing) revoke(sub *Subscription, k *Key) error {
	_, err := c.tx.Exec(c.ctx, `INSERT INTO revoked_key (digest, subscription, slot, t) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		k.Digest[:], int64(sub.ID), int(k.Slot), c.now.UnixMilli())
	return err
}

func (c *changing) deleteKey(digest [32]byte) error {
	_, err := c.tx.Exec(c.ctx, `DELETE FROM key WHERE digest = ?`, digest[:])
	return err
}

func (c *changing) insertKey(sub *Subscription, k *Key) error {
	created, used := c.now.UnixMilli(), int64(0)
	if !k.Created.IsZero() {
		created = k.Created.UnixMilli()
	}
	if !k.Used.IsZero() {
		used = k.Used.UnixMilli()
	}
	if _, err := c.tx.Exec(c.ctx, `INSERT INTO key (subscription, slot, digest, expires, source, created, used) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		int64(sub.ID), int(k.Slot), k.Digest[:], int64(k.Expires), k.Source, created, used); err != nil {
		return fmt.Errorf("keys of subscription %q: %w", sub.Name, err)
	}
	if k.Expires != 0 {
		return c.revoke(sub, k)
	}
	_, err := c.tx.Exec(c.ctx, `DELETE FROM revoked_key WHERE digest = ?`, k.Digest[:])
	return err
}
