package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/internal/wire"
)

// plannedSubscription is what becomes of one subscription.
type plannedSubscription struct {
	action        string
	before, after *Subscription // nil where there is none; of one that returns before has no keys
	returns       bool          // it was removed, and comes back
	place         string        // in the file: subscriptions[0]; empty where it is not in it
}

// change is the planned change for people.
func (p *plannedSubscription) change() PlannedChange {
	c := PlannedChange{Action: p.action, Kind: "subscription"}
	if p.before != nil && !p.returns {
		c.Name, c.Before = p.before.Name, json.RawMessage(document(audited(nil, p.before)))
	}
	if p.action != actionDelete {
		c.Name, c.After = p.after.Name, json.RawMessage(document(audited(p.shownBefore(), p.after)))
	}
	return c
}

// shownBefore is what was there before to people: nothing where it returns.
func (p *plannedSubscription) shownBefore() *Subscription {
	if p.returns {
		return nil
	}
	return p.before
}

// planSubscriptions works out what becomes of the subscriptions.
func (p *planning) planSubscriptions() error {
	live, removed, last, err := p.readSubscriptions()
	if err != nil {
		return err
	}
	if err := p.readKeys(live); err != nil {
		return err
	}
	for i := range p.want {
		w := &p.want[i]
		place := fmt.Sprintf("subscriptions[%d]", i)
		if old, ok := live[w.Name]; ok {
			delete(live, w.Name)
			p.subs = append(p.subs, p.settle(old, w, place))
			continue
		}
		w.Source, w.Keys = p.write.Source, p.allowedKeys(w)
		for k := range w.Keys {
			w.Keys[k].Source, w.Keys[k].Created = p.write.Source, p.now
		}
		planned := plannedSubscription{action: actionCreate, after: w, place: place}
		if old, ok := removed[w.Name+"\x00"+w.Developer.Email]; ok {
			w.ID, w.Started, w.Revision = old.ID, old.Started, old.Revision+1
			planned.before, planned.returns = old, true
		} else {
			last++
			w.ID, w.Started, w.Revision = last, p.now, 1
		}
		p.subs = append(p.subs, planned)
	}
	p.undeclared(live)
	return nil
}

// undeclared works out what becomes of those that the file does not declare.
func (p *planning) undeclared(live map[string]*Subscription) {
	var gone []plannedSubscription
	for _, old := range live {
		if p.leaves(old.Source) {
			gone = append(gone, plannedSubscription{action: actionDelete, before: old})
		} else {
			p.untouched = append(p.untouched, *old)
		}
	}
	sortedBy(gone, func(g plannedSubscription) string { return g.before.Name })
	if !p.prunes() {
		stay := make([]PlannedChange, len(gone))
		for i, g := range gone {
			stay[i] = g.change()
			p.untouched = append(p.untouched, *g.before)
		}
		p.unpruned, gone = slices.Concat(stay, p.unpruned), nil
	}
	p.subs = slices.Concat(gone, slices.DeleteFunc(p.subs, func(s plannedSubscription) bool {
		if s.action == "" {
			p.untouched = append(p.untouched, *s.before)
		}
		return s.action == ""
	}))
}

// settle works out what becomes of a subscription that is there.
func (p *planning) settle(old, w *Subscription, place string) plannedSubscription {
	after := *old
	after.Scope, after.State, after.Expires, after.Attributes, after.Developer = w.Scope, w.State, w.Expires, w.Attributes, w.Developer
	if after.State != old.State {
		after.Note = ""
	}
	stance := p.stance(old.Source)
	if stance == takeOver && old.Source == "" && final(old.State) && after.State != old.State {
		p.keeps("subscription", old.Name, "was "+StateName(old.State)+", which is final: what is needed is a new subscription")
		return plannedSubscription{before: old}
	}
	keys, rivals := p.keys(old, w, stance)
	after.Keys = keys
	differs := !sameButKeys(old, &after) || !slices.EqualFunc(old.Keys, keys, sameKey)
	planned := plannedSubscription{action: actionUpdate, before: old, after: &after, place: place}
	if stance == foreign {
		if differs || len(rivals) > 0 {
			p.conflict("subscription", old.Name, old.Source)
		}
		if p.file.Conflicts == ConflictsKeep || !differs && len(rivals) == 0 {
			planned.action = ""
		}
		return planned
	}
	for _, k := range rivals {
		p.conflict("key", keyName(old, k.Slot), k.Source)
	}
	after.Source = p.write.Source
	takes := func(of attitude) bool {
		return stance == of || slices.ContainsFunc(keys, func(k Key) bool { return p.adopts(old, k, of) })
	}
	switch {
	case differs:
	case takes(takeOver):
		planned.action = actionAdopt
	case takes(unnamed):
		planned.action = actionSilent
	default:
		planned.action = ""
	}
	return planned
}

// adopts says whether a key that stays comes from a source to which this is the stance.
func (p *planning) adopts(old *Subscription, k Key, s attitude) bool {
	i := slices.IndexFunc(old.Keys, func(held Key) bool { return held.Digest == k.Digest })
	return i >= 0 && old.Keys[i].Source != k.Source && p.stance(old.Keys[i].Source) == s
}

func sameKey(a, b Key) bool {
	return a.Slot == b.Slot && a.Digest == b.Digest && a.Expires == b.Expires
}

// keys are the keys of a subscription once the file is applied, sorted, and those of other
// sources that stay in the way of the file's.
func (p *planning) keys(old, w *Subscription, of attitude) (keys, rivals []Key) {
	wished, wishes := map[wire.Slot]Key{}, p.allowedKeys(w)
	for _, k := range wishes {
		wished[k.Slot] = k
	}
	for _, held := range old.Keys {
		wish, given := wished[held.Slot]
		refused := !given && w.hasKey(held.Slot) // the file's is not to come back
		promoted := slices.ContainsFunc(wishes, func(k Key) bool { return k.Digest == held.Digest })
		stance := p.stance(held.Source)
		switch {
		case held.Expires != 0:
			if !promoted {
				keys = append(keys, held)
			}
		case given && wish.Digest == held.Digest:
			if stance != foreign {
				held.Source = p.write.Source
			}
			keys = append(keys, held)
			delete(wished, held.Slot)
		case given && stance == foreign && of != foreign:
			rivals = append(rivals, held)
			if p.file.Conflicts == ConflictsKeep {
				keys = append(keys, held)
				delete(wished, held.Slot)
			}
		case refused && !promoted:
			keys = append(keys, held)
		case given, stance == own, stance == unnamed && of != foreign: // replaced, or gone with the file's
		case promoted: // in another slot
		default:
			keys = append(keys, held)
		}
	}
	for _, k := range wished {
		k.Source, k.Created = p.write.Source, p.now
		if i := slices.IndexFunc(old.Keys, func(held Key) bool { return held.Digest == k.Digest }); i >= 0 {
			k.Created, k.Used = old.Keys[i].Created, old.Keys[i].Used
		}
		keys = append(keys, k)
	}
	sortKeys(keys)
	return keys, rivals
}

// removeSubscriptions writes what goes: subscriptions, and keys that are not where they were.
func (p *planning) removeSubscriptions() error {
	for i := range p.subs {
		s := &p.subs[i]
		switch {
		case s.action == actionDelete:
			if err := p.removed("subscription.delete", s.before, p.isOthers); err != nil {
				return err
			}
		case s.before != nil:
			if err := p.removeKeys(s); err != nil {
				return err
			}
		}
		if err := p.room(); err != nil {
			return err
		}
	}
	return nil
}

// removeKeys removes a subscription's keys that are not where they were.
func (p *planning) removeKeys(s *plannedSubscription) error {
	for _, k := range s.before.Keys {
		if slices.ContainsFunc(s.after.Keys, func(stays Key) bool { return sameKey(k, stays) }) {
			continue
		}
		if err := p.deleteKey(k.Digest); err != nil {
			return err
		}
		if !p.isOthers(k) {
			continue
		}
		if err := p.revoke(s.before, &k); err != nil { // until it is written again, as another slot's perhaps
			return err
		}
	}
	return nil
}

// isOthers says whether a key is not the file's: the file may declare its own again.
func (p *planning) isOthers(k Key) bool {
	stance := p.stance(k.Source)
	return stance != own && stance != unnamed
}

// writeSubscriptions writes the others.
func (p *planning) writeSubscriptions() error {
	for i := range p.subs {
		s := &p.subs[i]
		if s.action == actionDelete {
			continue
		}
		if err := p.writeSubscription(s); err != nil {
			return fmt.Errorf("subscription %q: %w", s.after.Name, err)
		}
		if err := p.room(); err != nil {
			return err
		}
	}
	return nil
}

func (p *planning) writeSubscription(s *plannedSubscription) error {
	if s.action != actionSilent {
		s.after.Updated = p.now
		if s.before != nil {
			s.after.Revision = s.before.Revision + 1 // also where its developer moved it
		}
		write := p.updateSubscription
		if s.before == nil {
			write = p.insertSubscription
		}
		if err := write(s.after); err != nil {
			return err
		}
	} else if _, err := p.tx.Exec(p.ctx, `UPDATE subscription SET source = ? WHERE id = ?`, s.after.Source, int64(s.after.ID)); err != nil {
		return err
	}
	if err := p.writeKeys(s); err != nil || s.action == actionSilent {
		return err
	}
	change := s.change()
	p.note("subscription."+s.action, "subscription", change.Name, raw(change.Before), raw(change.After))
	return nil
}

// raw is nothing where there is nothing.
func raw(text json.RawMessage) any {
	if len(text) == 0 {
		return nil
	}
	return text
}

// writeKeys writes the keys that were not there as they are, or whose source changes.
func (p *planning) writeKeys(s *plannedSubscription) error {
	for i := range s.after.Keys {
		k := &s.after.Keys[i]
		var held *Key
		if s.before != nil {
			if at := slices.IndexFunc(s.before.Keys, func(old Key) bool { return sameKey(old, *k) }); at >= 0 {
				held = &s.before.Keys[at]
			}
		}
		switch {
		case held == nil:
			if err := p.insertKey(s.after, k); err != nil {
				return err
			}
		case held.Source != k.Source:
			if _, err := p.tx.Exec(p.ctx, `UPDATE key SET source = ? WHERE digest = ?`, k.Source, k.Digest[:]); err != nil {
				return err
			}
		}
	}
	return nil
}
