package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
)

// put writes a subscription and its keys, and audits it as action. With before nil it is a
// new one: after gets ID, Started and Revision 1. Otherwise before is what find returned, and
// the revision moves. after gets Updated, and its source and those of its new keys.
//
// Keys are compared by their digests; who changes nothing but keys and Shown needs to be
// allowed to change those keys alone. Errors are *ManagedError, *InvalidError for a name that
// looks like another one, ErrExists for a name that is taken, and *StateError with
// subscriptions_limit or key_taken. Nothing is checked but these.
func (c *changing) put(action string, before, after *Subscription) error {
	if err := c.claim(before, after); err != nil {
		return err
	}
	if before == nil || before.Name != after.Name {
		if err := c.subscriptionName(after.Name); err != nil {
			return err
		}
	}
	if err := c.withinLimit(before, after); err != nil {
		return err
	}
	after.Updated, after.Revision = c.now, 1
	if before != nil {
		after.ID, after.Started, after.Revision = before.ID, before.Started, before.Revision+1
		if err := c.updateSubscription(after); err != nil {
			return err
		}
	} else if err := c.newSubscription(after); err != nil {
		return err
	}
	if err := c.putKeys(before, after); err != nil {
		return err
	}
	if before == nil {
		c.note(action, "subscription", after.Name, nil, audited(nil, after))
		return nil
	}
	c.note(action, "subscription", after.Name, audited(nil, before), audited(before, after))
	return nil
}

// remove deletes a subscription and its keys; its row stays, for what hangs on the id.
func (c *changing) remove(action string, sub Subscription) error {
	if err := c.allowed("subscription", sub.Name, sub.Source); err != nil {
		return err
	}
	return c.removed(action, &sub, func(Key) bool { return true })
}

// removed is remove, for who may. Keys that revoke says are never given to anybody again.
func (c *changing) removed(action string, sub *Subscription, revoke func(Key) bool) error {
	for i := range sub.Keys {
		if !revoke(sub.Keys[i]) {
			continue
		}
		if err := c.revoke(sub, &sub.Keys[i]); err != nil {
			return err
		}
	}
	if _, err := c.tx.Exec(c.ctx, `DELETE FROM key WHERE subscription = ?`, int64(sub.ID)); err != nil {
		return err
	}
	if _, err := c.tx.Exec(c.ctx, `UPDATE subscription SET removed = 1, revision = revision + 1, change = ?, updated = ? WHERE id = ?`,
		c.number, c.now.UnixMilli(), int64(sub.ID)); err != nil {
		return err
	}
	c.note(action, "subscription", sub.Name, audited(nil, sub), nil)
	return nil
}

// claim asks whether the write may change what differs, and gives after and its keys their
// sources.
func (c *changing) claim(before, after *Subscription) error {
	held := map[[32]byte]Key{}
	takes := "" // the source from which the whole subscription is taken
	if before != nil {
		for _, k := range before.Keys {
			held[k.Digest] = k
		}
		takes = c.write.Source
	}
	switch {
	case before == nil:
		after.Source = c.write.Source
	case sameButKeys(before, after):
		after.Source = before.Source
	default:
		if err := c.allowed("subscription", before.Name, before.Source); err != nil {
			return err
		}
		after.Source, takes = c.write.Source, before.Source
	}
	for i := range after.Keys {
		k := &after.Keys[i]
		old, ok := held[k.Digest]
		delete(held, k.Digest)
		switch {
		case !ok:
			k.Source, k.Created = c.write.Source, c.now
		case old.Slot == k.Slot && old.Expires == k.Expires && old.Source != takes:
			k.Source, k.Created = old.Source, old.Created
		default:
			if err := c.allowed("key", keyName(before, old.Slot), old.Source); err != nil {
				return err
			}
			k.Source, k.Created = c.write.Source, old.Created
		}
	}
	for _, k := range held { // those that go
		if err := c.allowed("key", keyName(before, k.Slot), k.Source); err != nil {
			return err
		}
	}
	sortKeys(after.Keys)
	return nil
}

// keyName names a key to people.
func keyName(sub *Subscription, slot wire.Slot) string { return sub.Name + " " + slotName(slot) }

func slotName(slot wire.Slot) string {
	if slot == wire.SlotSecondary {
		return "secondary"
	}
	return "primary"
}

func sortKeys(keys []Key) {
	slices.SortStableFunc(keys, func(a, b Key) int {
		if a.Slot != b.Slot {
			return int(a.Slot) - int(b.Slot)
		}
		return int(int64(a.Expires) - int64(b.Expires))
	})
}

// sameButKeys compares what a subscription's source manages, but for its keys.
func sameButKeys(a, b *Subscription) bool {
	return a.Name == b.Name && a.Scope == b.Scope && a.State == b.State && a.Expires == b.Expires && a.Note == b.Note &&
		a.Developer.Email == b.Developer.Email && maps.Equal(a.Attributes, b.Attributes)
}

// subscriptionName refuses a name that is taken or looks like another one.
func (c *changing) subscriptionName(name string) error {
	look := catalog.Look(name)
	found, err := c.tx.Query(c.ctx, `SELECT name FROM subscription WHERE removed = 0 AND look = ? ORDER BY id LIMIT 1000`, look)
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var other string
		if err := found.Scan(&other); err != nil {
			return err
		}
		if other == name {
			return fmt.Errorf("subscription %q: %w", name, ErrExists)
		}
		if catalog.LookAlike(name, other) {
			return mistaken("name", "%q looks like %q; use a name that people can tell from it", name, other)
		}
	}
	return found.Err()
}

// mistaken is an InvalidError with one mistake.
func mistaken(field, format string, arguments ...any) *InvalidError {
	return &InvalidError{Mistakes: []catalog.Mistake{{Field: field, Message: fmt.Sprintf(format, arguments...)}}}
}

// counts says whether a subscription counts to its product's limit: one whose time has passed
// does not, whatever its state.
func (s *Subscription) counts(now time.Time) bool {
	return s.Scope.Kind == ScopeProduct && catalog.CountsToLimit(StateName(s.State)) && (s.Expires == 0 || now.Unix() < int64(s.Expires))
}

// withinLimit refuses a subscription that begins to count to its product's limit when that
// is reached.
func (c *changing) withinLimit(before, after *Subscription) error {
	if !after.counts(c.now) || before != nil && before.counts(c.now) && before.Scope == after.Scope && before.Developer.Email == after.Developer.Email {
		return nil
	}
	p, err := c.product(after.Scope.Name)
	if errors.Is(err, ErrNotFound) || err == nil && p.SubscriptionsLimit == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	var n int64
	err = c.tx.QueryRow(c.ctx, `
		SELECT COUNT(*) FROM subscription WHERE removed = 0 AND developer = ? AND scope_kind = ? AND scope_name = ? AND id <> ?
		   AND state IN (?, ?, ?) AND (expires = 0 OR expires > ?)`,
		after.Developer.Email, string(after.Scope.Kind), after.Scope.Name, int64(after.ID),
		int(wire.StateSubmitted), int(wire.StateSuspended), int(wire.StateActive), c.now.Unix()).Scan(&n)
	if err != nil {
		return err
	}
	if n >= int64(p.SubscriptionsLimit) {
		return &StateError{Code: "subscriptions_limit", Text: limitText(after, p.SubscriptionsLimit)}
	}
	return nil
}

func limitText(sub *Subscription, limit int) string {
	return fmt.Sprintf("%s has as many subscriptions to the product %q as it allows each developer: %d", sub.Developer.Email, sub.Scope.Name, limit)
}

// newSubscription inserts a row under the next id.
func (c *changing) newSubscription(sub *Subscription) error {
	var last int64
	if err := c.tx.QueryRow(c.ctx, `SELECT COALESCE(MAX(id), 0) FROM subscription`).Scan(&last); err != nil {
		return err
	}
	sub.ID, sub.Started = uint32(last+1), c.now
	return c.insertSubscription(sub)
}

func (c *changing) insertSubscription(sub *Subscription) error {
	_, err := c.tx.Exec(c.ctx, `
		INSERT INTO subscription (name, look, developer, scope_kind, scope_name, state, expires, attributes, revision, removed,
		       source, change, updated, note, shown, id, started)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?)`, append(c.columns(sub), sub.Started.UnixMilli())...)
	return err
}

// updateSubscription writes a row anew, also one that was removed.
func (c *changing) updateSubscription(sub *Subscription) error {
	_, err := c.tx.Exec(c.ctx, `
		UPDATE subscription SET name = ?, look = ?, developer = ?, scope_kind = ?, scope_name = ?, state = ?, expires = ?, attributes = ?,
		       revision = ?, removed = 0, source = ?, change = ?, updated = ?, note = ?, shown = ? WHERE id = ?`, c.columns(sub)...)
	return err
}

// columns are the values of both statements above, in their order.
func (c *changing) columns(sub *Subscription) []any {
	attributes := sub.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	text, _ := json.Marshal(attributes) // a map of strings always marshals
	return []any{sub.Name, catalog.Look(sub.Name), sub.Developer.Email, string(sub.Scope.Kind), sub.Scope.Name, int(sub.State), int64(sub.Expires),
		string(text), int64(sub.Revision), sub.Source, c.number, sub.Updated.UnixMilli(), sub.Note, sub.Shown, int64(sub.ID)}
}

// auditedSubscription is a subscription for people: keys are there or not.
type auditedSubscription struct {
	catalog.Subscription
	PrimaryKey   bool   `json:"primary_key,omitempty"`
	SecondaryKey bool   `json:"secondary_key,omitempty"`
	Note         string `json:"note,omitempty"`
	// ChangedKeys are the slots with other keys, or keys that end at another time, than before.
	ChangedKeys []string `json:"changed_keys,omitempty"`
}

// audited is a subscription as the audit and a plan show it, with what became of the keys
// since before.
func audited(before, sub *Subscription) auditedSubscription {
	a := auditedSubscription{Subscription: sub.Catalog(), Note: sub.Note}
	for _, slot := range []wire.Slot{wire.SlotPrimary, wire.SlotSecondary} {
		has := slices.ContainsFunc(sub.Keys, func(k Key) bool { return k.Slot == slot && k.Expires == 0 })
		if slot == wire.SlotPrimary {
			a.PrimaryKey = has
		} else {
			a.SecondaryKey = has
		}
		if before != nil && !slices.Equal(keysOf(before, slot), keysOf(sub, slot)) {
			a.ChangedKeys = append(a.ChangedKeys, slotName(slot))
		}
	}
	return a
}

// keysOf are the digests and ends of the keys of a slot, as text that can be compared.
func keysOf(sub *Subscription, slot wire.Slot) (keys []string) {
	for _, k := range sub.Keys {
		if k.Slot == slot {
			keys = append(keys, fmt.Sprintf("%x %d", k.Digest, k.Expires))
		}
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}
