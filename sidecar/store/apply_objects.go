package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

// plannedObject is what becomes of one object.
type plannedObject struct {
	action string
	kind   Kind
	name   string
	held   Object // zero where there is none
	spec   []byte // empty where there is none any more
}

// declaredObject is an object of the file.
type declaredObject struct {
	kind    Kind
	name    string
	spec    []byte
	place   string          // in the file: apis[0]
	backend catalog.Backend // of an API
}

// planObjects works out what becomes of the objects.
func (p *planning) planObjects() error {
	p.held = map[objectName]Object{}
	if err := eachObject(p.ctx, p.tx, func(o Object) error {
		p.held[objectName{o.Kind, o.Name}] = o
		return nil
	}, allKinds...); err != nil {
		return err
	}
	want, err := declaredObjects(p.file.Catalog)
	if err != nil {
		return err
	}
	p.declares = make(map[objectName]declaredObject, len(want))
	var changes []plannedObject
	for _, w := range want {
		name := objectName{w.kind, w.name}
		if _, twice := p.declares[name]; twice {
			p.mistake(w.place, "declares %s a second time", label(w.kind, w.name))
			continue
		}
		p.declares[name] = w
		o := plannedObject{kind: w.kind, name: w.name, spec: w.spec}
		if o.action = p.objectAction(w, &o); o.action != "" {
			changes = append(changes, o)
		}
	}
	for name, held := range p.held {
		if _, stays := p.declares[name]; stays || name.kind == KindOrganization || !p.leaves(held.Source) {
			continue
		}
		if p.prunes() {
			p.objects = append(p.objects, plannedObject{action: actionDelete, kind: name.kind, name: name.name, held: held})
		} else {
			p.unpruned = append(p.unpruned, PlannedChange{Action: actionDelete, Kind: string(name.kind), Name: name.name, Before: held.Spec})
		}
	}
	// What needs others goes before them.
	order := func(kindA, kindB, nameA, nameB string) int {
		return cmp.Or(slices.Index(allKinds, Kind(kindB))-slices.Index(allKinds, Kind(kindA)), strings.Compare(nameA, nameB))
	}
	slices.SortFunc(p.objects, func(a, b plannedObject) int { return order(string(a.kind), string(b.kind), a.name, b.name) })
	slices.SortFunc(p.unpruned, func(a, b PlannedChange) int { return order(a.Kind, b.Kind, a.Name, b.Name) })
	p.objects = append(p.objects, changes...)
	return nil
}

// objectAction says what to do with a declared object; empty: nothing.
func (p *planning) objectAction(w declaredObject, o *plannedObject) string {
	held, ok := p.held[objectName{w.kind, w.name}]
	if !ok {
		return actionCreate
	}
	o.held = held
	same := bytes.Equal(held.Spec, w.spec)
	switch stance := p.stance(held.Source); {
	case same && stance == unnamed:
		return actionSilent
	case same && stance == takeOver:
		return actionAdopt
	case same:
		return ""
	case stance == foreign:
		p.conflict(string(w.kind), w.name, held.Source)
		if p.file.Conflicts == ConflictsKeep {
			return ""
		}
	}
	return actionUpdate
}

// declaredObjects are the objects of a file, in the order in which they need one another.
func declaredObjects(c *catalog.Catalog) ([]declaredObject, error) {
	var all []declaredObject
	add := func(o declaredObject, spec any) error {
		var err error
		if o.spec, err = encoded(spec); err != nil {
			return fmt.Errorf("%s: %w", label(o.kind, o.name), err)
		}
		all = append(all, o)
		return nil
	}
	if c.Organization != (catalog.Organization{}) {
		if err := add(declaredObject{kind: KindOrganization, place: KindOrganization.list()}, c.Organization); err != nil {
			return nil, err
		}
	}
	at := func(kind Kind, i int) string { return kind.list() + "[" + strconv.Itoa(i) + "]" }
	for i, a := range c.APIs {
		if err := add(declaredObject{kind: KindAPI, name: a.Name, place: at(KindAPI, i), backend: a.Backend}, a); err != nil {
			return nil, err
		}
	}
	for i, g := range c.Groups {
		if err := add(declaredObject{kind: KindGroup, name: g.Name, place: at(KindGroup, i)}, g); err != nil {
			return nil, err
		}
	}
	for i, product := range c.Products {
		if err := add(declaredObject{kind: KindProduct, name: product.Name, place: at(KindProduct, i)}, product); err != nil {
			return nil, err
		}
	}
	for i, d := range c.Developers {
		if err := add(declaredObject{kind: KindDeveloper, name: d.Email, place: at(KindDeveloper, i)}, d); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// final are the objects as they will be, by kind and name.
func (p *planning) final() map[objectName][]byte {
	final := make(map[objectName][]byte, len(p.held)+len(p.objects))
	for name, o := range p.held {
		final[name] = o.Spec
	}
	for _, o := range p.objects {
		if o.action == actionDelete {
			delete(final, objectName{o.kind, o.name})
		} else {
			final[objectName{o.kind, o.name}] = o.spec
		}
	}
	return final
}

// checkObjects checks the objects as they will be, all together.
func (p *planning) checkObjects() error {
	p.specs = p.final()
	configures, gone := false, false
	for _, o := range p.objects {
		configures = configures || o.kind != KindDeveloper && o.action != actionSilent && o.action != actionAdopt
		gone = gone || o.kind == KindGroup && o.action == actionDelete
		if w, ok := p.declares[objectName{o.kind, o.name}]; ok && o.action != actionSilent {
			err := p.secretAllowed(w.place+".backend.key", o.held, w.backend)
			var invalid *InvalidError
			if errors.As(err, &invalid) {
				p.mistakes = append(p.mistakes, invalid.Mistakes...)
			} else if err != nil {
				return err
			}
		}
	}
	p.checkDevelopers(gone)
	if !configures {
		return nil
	}
	running, err := p.checkConfiguration()
	if err != nil || len(p.mistakes) > 0 {
		return err
	}
	return p.accepted(running)
}

// checkConfiguration checks organization, APIs, groups and products as one catalog. The
// file's own come last, so that they are at fault.
func (p *planning) checkConfiguration() (*catalog.Catalog, error) {
	var all candidate
	for _, of := range configured {
		var entries []entry
		for name, spec := range p.specs {
			if name.kind == of.kind {
				if _, ok := p.declares[name]; !ok {
					entries = append(entries, entry{kind: name.kind, name: name.name, spec: spec, place: placeOf(name.kind, name.name)})
				}
			}
		}
		sortedBy(entries, func(e entry) string { return e.name })
		own := len(entries)
		for name, w := range p.declares {
			if name.kind == of.kind {
				entries = append(entries, entry{kind: name.kind, name: name.name, spec: p.specs[name], place: w.place})
			}
		}
		sortedBy(entries[own:], func(e entry) string { return fmt.Sprintf("%20d", index(e.place)) })
		for _, e := range entries {
			all.add(e)
		}
	}
	err := all.fits()
	var running *catalog.Catalog
	if err == nil {
		running, err = p.running(&all)
	}
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		p.mistakes = append(p.mistakes, invalid.Mistakes...)
		return nil, nil
	}
	return running, err
}

// index is the number in a place like apis[0]; 0 where it has none.
func index(place string) int {
	_, number, _ := strings.Cut(strings.TrimSuffix(place, "]"), "[")
	i, _ := strconv.Atoi(number) // 0 for the organization
	return i
}

// checkDevelopers checks that developers' groups exist, of others' developers only where
// groups are gone, and that no two have one e-mail address.
func (p *planning) checkDevelopers(gone bool) {
	addresses := map[string]string{}
	for _, d := range p.file.Catalog.Developers {
		addresses[strings.ToLower(d.Email)] = d.Email
	}
	for name, spec := range p.specs {
		if name.kind != KindDeveloper {
			continue
		}
		w, declared := p.declares[name]
		if other, ok := addresses[strings.ToLower(name.name)]; ok && other != name.name && !declared {
			p.mistake(p.declares[objectName{KindDeveloper, other}].place+".email", "%q is the e-mail address of the developer %q as well", other, name.name)
		}
		if !declared && !gone {
			continue
		}
		var d catalog.Developer
		if err := json.Unmarshal(spec, &d); err != nil {
			continue // it is what it was
		}
		for i, group := range d.Groups {
			if _, exists := p.specs[objectName{KindGroup, group}]; exists || slices.Contains(catalog.BuiltInGroups, group) {
				continue
			}
			if declared {
				p.mistake(fmt.Sprintf("%s.groups[%d]", w.place, i), "there is no group %q", group)
			} else {
				p.needed(KindGroup, group, "developer "+name.name)
			}
		}
	}
}

// needed reports that what the file does not declare any more is needed by another source's.
func (p *planning) needed(kind Kind, name, by string) {
	p.mistake(placeOf(kind, name), "cannot go: %s %q is needed by %s", kind, name, by)
}

// writeObjects writes what becomes of the objects.
func (p *planning) writeObjects() error {
	for _, o := range p.objects {
		var err error
		change := proposal{kind: o.kind, name: o.name, spec: o.spec}
		switch o.action {
		case actionCreate:
			_, err = p.insertObject(change)
		case actionDelete:
			err = p.deleteObject(o.held)
		case actionSilent:
			_, err = p.tx.Exec(p.ctx, `UPDATE object SET source = ? WHERE kind = ? AND name = ?`, p.write.Source, string(o.kind), o.name)
		default:
			_, err = p.updateObject(o.held, change)
		}
		if err != nil {
			return err
		}
		if err := p.room(); err != nil {
			return err
		}
	}
	return nil
}
