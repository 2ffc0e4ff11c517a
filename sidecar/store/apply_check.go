package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/internal/catalog"
)

// checkSubscriptions checks the subscriptions as they will be, all together.
func (p *planning) checkSubscriptions() error {
	p.checkNeeds()
	p.checkKeys()
	for _, step := range []func() error{p.checkOthersNeeds, p.checkLooks, p.checkLimits} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// each calls f for the subscriptions that were read, as they will be; place is empty for those that the file
// does not declare, or that it does not change.
func (p *planning) each(f func(sub *Subscription, place string)) {
	for i := range p.untouched {
		f(&p.untouched[i], "")
	}
	for i := range p.subs {
		if p.subs[i].action != actionDelete {
			f(p.subs[i].after, p.subs[i].place)
		}
	}
}

// checkNeeds checks that what subscriptions are of exists.
func (p *planning) checkNeeds() {
	p.each(func(sub *Subscription, place string) {
		for _, need := range []struct {
			kind  Kind
			name  string
			field string
		}{{KindDeveloper, sub.Developer.Email, "developer"}, {Kind(sub.Scope.Kind), sub.Scope.Name, string(sub.Scope.Kind)}} {
			if need.kind == Kind(ScopeAllAPIs) {
				continue
			}
			name := objectName{need.kind, need.name}
			if _, exists := p.specs[name]; exists {
				continue
			}
			_, was := p.held[name]
			switch {
			case place != "":
				p.mistake(place+"."+need.field, "subscription %q: there is no %s %q", sub.Name, need.kind, need.name)
			case was:
				p.needed(need.kind, need.name, "subscription "+sub.Name)
			}
		}
	})
}

// checkOthersNeeds checks that what goes is not needed by those that were not read.
func (p *planning) checkOthersNeeds() error {
	gone := map[Kind][]any{}
	for _, o := range p.objects {
		if o.action == actionDelete {
			gone[o.kind] = append(gone[o.kind], o.name)
		}
	}
	for kind, condition := range map[Kind]string{KindDeveloper: `developer`, KindProduct: `scope_kind = 'product' AND scope_name`, KindAPI: `scope_kind = 'api' AND scope_name`} {
		if err := p.others(condition, gone[kind], func(sub *Subscription) {
			name := sub.Scope.Name
			if kind == KindDeveloper {
				name = sub.Developer.Email
			}
			p.needed(kind, name, "subscription "+sub.Name)
		}); err != nil {
			return err
		}
	}
	return nil
}

// checkKeys checks that a key that is new names one subscription and slot.
func (p *planning) checkKeys() {
	adds := slices.ContainsFunc(p.subs, func(s plannedSubscription) bool {
		return s.action == actionCreate || s.action == actionUpdate
	})
	if !adds {
		return
	}
	seen := map[[32]byte]string{}
	p.each(func(sub *Subscription, place string) {
		for _, k := range sub.Keys {
			other, twice := seen[k.Digest]
			if !twice {
				other, twice = p.taken[k.Digest]
			}
			switch {
			case !twice:
				seen[k.Digest] = sub.Name
			case other == sub.Name:
				p.mistake(place, "subscription %q: primary_key and secondary_key are the same key", sub.Name)
			default:
				p.mistake(place, "subscriptions %q and %q have the same key: a key names one subscription", other, sub.Name)
			}
		}
	})
}

// checkLooks checks that people can tell a new name from the others.
func (p *planning) checkLooks() error {
	created, looks := map[string]bool{}, map[string][]string{}
	var sought []any
	for _, s := range p.subs {
		if s.action == actionCreate {
			created[s.after.Name] = true
			sought = append(sought, catalog.Look(s.after.Name))
		}
	}
	if len(created) == 0 {
		return nil
	}
	if err := p.others(`look`, sought, func(sub *Subscription) {
		look := catalog.Look(sub.Name)
		looks[look] = append(looks[look], sub.Name)
	}); err != nil {
		return err
	}
	p.each(func(sub *Subscription, place string) {
		look := catalog.Look(sub.Name)
		for _, other := range looks[look] {
			if catalog.LookAlike(sub.Name, other) && (created[sub.Name] || created[other]) {
				p.mistake(place, "%q looks like %q; use a name that people can tell from it", sub.Name, other)
				break
			}
		}
		looks[look] = append(looks[look], sub.Name)
	})
	return nil
}

// checkLimits checks that those that begin to count to their products' limits may.
func (p *planning) checkLimits() error {
	type holder struct{ developer, product string }
	limits := map[string]int{}
	for name, spec := range p.specs {
		if name.kind != KindProduct {
			continue
		}
		var product catalog.Product
		if err := json.Unmarshal(spec, &product); err != nil {
			return fmt.Errorf("%s: %w", label(name.kind, name.name), err)
		}
		if product.SubscriptionsLimit > 0 {
			limits[name.name] = product.SubscriptionsLimit
		}
	}
	if len(limits) == 0 {
		return nil
	}
	counts := map[holder]int{}
	p.each(func(sub *Subscription, _ string) {
		if sub.counts(p.now) && limits[sub.Scope.Name] > 0 {
			counts[holder{sub.Developer.Email, sub.Scope.Name}]++
		}
	})
	var begin []*plannedSubscription
	var developers []string
	for i := range p.subs {
		s := &p.subs[i]
		if s.action == actionDelete || !s.after.counts(p.now) || !s.begins(p) || limits[s.after.Scope.Name] == 0 {
			continue
		}
		begin = append(begin, s)
		developers = append(developers, s.after.Developer.Email)
	}
	slices.Sort(developers)
	var sought []any // each once
	for _, email := range slices.Compact(developers) {
		sought = append(sought, email)
	}
	if err := p.others(`developer`, sought, func(sub *Subscription) {
		if sub.counts(p.now) {
			counts[holder{sub.Developer.Email, sub.Scope.Name}]++
		}
	}); err != nil {
		return err
	}
	for _, s := range begin {
		limit := limits[s.after.Scope.Name]
		if n := counts[holder{s.after.Developer.Email, s.after.Scope.Name}]; n > limit {
			p.mistake(s.place, "subscription %q: %s would have %d subscriptions to the product %q, which allows each developer %d",
				s.after.Name, s.after.Developer.Email, n, s.after.Scope.Name, limit)
		}
	}
	return nil
}

// begins says whether the subscription did not count to its product's limit before.
func (s *plannedSubscription) begins(p *planning) bool {
	return s.before == nil || s.returns || !s.before.counts(p.now) || s.before.Scope != s.after.Scope || s.before.Developer.Email != s.after.Developer.Email
}
