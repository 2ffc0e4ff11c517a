package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// What a new key may be.
const (
	// MaxGrace is how long a key may go on to work beside the one that replaces it.
	MaxGrace = 30 * 24 * time.Hour
	// MaxRetiring is how many keys of a slot may be on their way out.
	MaxRetiring = 10
	// MinCustomKey is the length of the shortest key that somebody chose.
	MinCustomKey = 32
	// MinDistinct is how many different characters it has at least.
	MinDistinct = 10
)

// Issued are new keys in clear. An empty one was there already, and is not shown.
type Issued struct {
	Primary, Secondary string
}

// ShowKeys makes a subscription's keys and returns them, this once: nobody can see them
// again. A slot that has a key already keeps it. Keys can be had from approval on, of a
// suspended or expired subscription too: they work when it does.
//
// Errors are *StateError with keys_shown where it was done before or both slots have keys, or
// with state_conflict; ErrNotFound, ErrMoved.
func (s *Store) ShowKeys(ctx context.Context, nameOrID string, w Write) (Issued, error) {
	var issued Issued
	_, err := s.changeSubscription(ctx, nameOrID, "key.show_once", w, func(c *changing, sub *Subscription) error {
		issued = Issued{}
		if err := c.mayHaveKeys(sub); err != nil {
			return err
		}
		before := sub.Shown
		for slot, key := range map[wire.Slot]*string{wire.SlotPrimary: &issued.Primary, wire.SlotSecondary: &issued.Secondary} {
			if !before && !sub.hasKey(slot) {
				*key = apikey.New(random())
				sub.Keys = append(sub.Keys, Key{Slot: slot, Digest: apikey.Digest(*key)})
				sub.Shown = true
			}
		}
		if before || !sub.Shown {
			return &StateError{Code: "keys_shown", Text: fmt.Sprintf("subscription %q has its keys, and nobody can see them again: regenerate one to get another", sub.Name)}
		}
		return nil
	})
	if err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// mayHaveKeys refuses keys to a subscription that was not approved, or that is over.
func (c *changing) mayHaveKeys(sub *Subscription) error {
	if sub.State == wire.StateSubmitted || final(sub.State) {
		return c.conflict(sub, "given keys")
	}
	return nil
}

// hasKey says whether a slot has a key that is not on its way out.
func (s *Subscription) hasKey(slot wire.Slot) bool {
	return slices.ContainsFunc(s.Keys, func(k Key) bool { return k.Slot == slot && k.Expires == 0 })
}

// KeyChange says how to replace a key.
type KeyChange struct {
	Slot wire.Slot
	// Value is a key that somebody chose: MinCustomKey to apikey.MaxLength printable
	// characters of ASCII without spaces, MinDistinct different ones, which neither is nor was
	// another key. Empty: one is made.
	Value string
	// Grace is how long, from now, the key that is replaced goes on to work, rounded up to
	// whole seconds; at most MaxGrace. 0: not at all.
	Grace time.Duration
}

// RegenerateKey gives a slot a new key and returns it in clear, this once. The one that it
// replaces ends at once, or after a grace; earlier ones that are on their way out end when
// they would have. A slot without a key gets one.
//
// Errors are *InvalidError, which does not repeat the value; *StateError with state_conflict,
// or keys_retiring where MaxRetiring are on their way out; *ManagedError where a file gives
// the slot its key; ErrNotFound, ErrMoved.
func (s *Store) RegenerateKey(ctx context.Context, nameOrID string, change KeyChange, w Write) (key string, err error) {
	if err := change.check(); err != nil {
		return "", err
	}
	if key = change.Value; key == "" {
		key = apikey.New(random())
	}
	_, err = s.changeSubscription(ctx, nameOrID, "key.regenerate", w, func(c *changing, sub *Subscription) error {
		if err := c.mayHaveKeys(sub); err != nil {
			return err
		}
		digest := apikey.Digest(key)
		if err := c.keyIsFree(digest); err != nil {
			if taken := new(StateError); errors.As(err, &taken) {
				return mistaken("value", "is in use, or was: a key names one subscription and slot, and is not given again")
			}
			return err
		}
		if err := sub.retire(change.Slot, change.Grace, c.now); err != nil {
			return err
		}
		sub.Keys = append(sub.Keys, Key{Slot: change.Slot, Digest: digest})
		return nil
	})
	if err != nil {
		return "", err
	}
	return key, nil
}

func (k *KeyChange) check() error {
	var wrong mistakes
	if !isSlot(k.Slot) {
		wrong.add("slot", "must be primary or secondary")
	}
	if k.Grace < 0 || k.Grace > MaxGrace {
		wrong.add("grace", "must be from 0 to %d hours (30 days)", int(MaxGrace.Hours()))
	}
	switch {
	case k.Value == "":
	case len(k.Value) < MinCustomKey || len(k.Value) > apikey.MaxLength:
		wrong.add("value", "must have %d to %d characters; this one has %d", MinCustomKey, apikey.MaxLength, len(k.Value))
	case checkKey(k.Value) != nil:
		wrong.add("value", "must be printable ASCII without spaces")
	case distinct(k.Value) < MinDistinct:
		wrong.add("value", "must have at least %d different characters", MinDistinct)
	}
	return wrong.err()
}

// distinct is how many different bytes a text has.
func distinct(text string) int {
	seen := map[byte]bool{}
	for i := range len(text) {
		seen[text[i]] = true
	}
	return len(seen)
}

func isSlot(slot wire.Slot) bool { return slot == wire.SlotPrimary || slot == wire.SlotSecondary }

// retire ends a slot's key after a grace, and removes those that have ended already.
func (s *Subscription) retire(slot wire.Slot, grace time.Duration, now time.Time) error {
	s.Keys = slices.DeleteFunc(s.Keys, func(k Key) bool {
		return k.Slot == slot && (k.Expires == 0 && grace == 0 || k.Expires != 0 && int64(k.Expires) <= now.Unix())
	})
	retiring := 0
	for i := range s.Keys {
		k := &s.Keys[i]
		if k.Slot != slot {
			continue
		}
		if retiring++; k.Expires == 0 {
			k.Expires = uint32(min(now.Add(grace+time.Second-1).Unix(), math.MaxUint32))
		}
	}
	if retiring > MaxRetiring {
		return &StateError{Code: "keys_retiring", Text: fmt.Sprintf("%d keys of the slot are on their way out: regenerate without a grace, or revoke them", MaxRetiring)}
	}
	return nil
}

// RevokeKey ends a slot's key, and those of it that are on their way out, at once, whatever
// the subscription's state. ErrNotFound also where the slot has none; ErrMoved,
// *ManagedError where a file gives the slot its key, *InvalidError for the slot.
func (s *Store) RevokeKey(ctx context.Context, nameOrID string, slot wire.Slot, w Write) error {
	if !isSlot(slot) {
		return mistaken("slot", "must be primary or secondary")
	}
	_, err := s.changeSubscription(ctx, nameOrID, "key.revoke", w, func(_ *changing, sub *Subscription) error {
		had := len(sub.Keys)
		if sub.Keys = slices.DeleteFunc(sub.Keys, func(k Key) bool { return k.Slot == slot }); len(sub.Keys) == had {
			return fmt.Errorf("%s key of subscription %q: %w", slotName(slot), sub.Name, ErrNotFound)
		}
		return nil
	})
	return err
}

// DropExpiredKeys removes the keys whose grace is over and says how many there were. They
// have stopped working by themselves: this only tidies up, so it is not audited and moves no
// subscription's revision, but the number of changes moves, so that filters drop them too.
func (s *Store) DropExpiredKeys(ctx context.Context) (n int, err error) {
	due, err := s.keysDue(ctx)
	if err != nil || !due {
		return 0, err
	}
	err = s.change(ctx, "dropping keys", Write{}, func(c *changing) error {
		if _, err := c.tx.Exec(ctx, `UPDATE subscription SET change = ? WHERE id IN (SELECT subscription FROM key WHERE expires > 0 AND expires <= ?)`,
			c.number, c.now.Unix()); err != nil {
			return err
		}
		done, err := c.tx.Exec(ctx, `DELETE FROM key WHERE expires > 0 AND expires <= ?`, c.now.Unix())
		if err != nil {
			return err
		}
		dropped, err := done.RowsAffected()
		n, c.noted = int(dropped), dropped > 0
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// keysDue looks without being in anybody's way.
func (s *Store) keysDue(ctx context.Context) (due bool, err error) {
	err = s.db.View(ctx, "looking for keys to drop", func(tx *database.Tx) error {
		var one int
		err := tx.QueryRow(ctx, `SELECT 1 FROM key WHERE expires > 0 AND expires <= ? LIMIT 1`, s.now().Unix()).Scan(&one)
		due = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return due, err
}
