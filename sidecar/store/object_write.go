package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

// Create makes an object of a spec, which is JSON as in a catalog file. *InvalidError names
// every mistake, by fields of the spec; ErrExists.
func (s *Store) Create(ctx context.Context, kind Kind, spec []byte, w Write) (Object, error) {
	if kind.list() == "" {
		return Object{}, fmt.Errorf("creating: there is no kind %q", kind)
	}
	text, err := readable(spec)
	if err != nil {
		return Object{}, fmt.Errorf("creating %s: %w", kind, err)
	}
	name := nameOf(kind, text)
	var made Object
	err = s.planned(ctx, "creating "+label(kind, name), w, kind.last(), func(c *changing) (func(*changing) error, error) {
		if _, err := readObject(ctx, c.tx, kind, name); err == nil {
			return nil, ErrExists
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		p, err := c.proposed(kind, name, text)
		if err != nil {
			return nil, err
		}
		if err := c.permitted(Object{}, p); err != nil {
			return nil, err
		}
		return func(c *changing) (err error) {
			made, err = c.insertObject(p)
			return err
		}, nil
	})
	if err != nil {
		return Object{}, err
	}
	return made, nil
}

// Replace gives an object another spec, of the same name. Nothing changes, and the revision
// does not move, where the spec says what is there already, unless it is taken over.
// *InvalidError names every mistake, by fields of the spec; ErrNotFound, ErrMoved,
// *ManagedError.
func (s *Store) Replace(ctx context.Context, kind Kind, name string, spec []byte, w Write) (Object, error) {
	var made Object
	err := s.planned(ctx, "changing "+label(kind, name), w, kind.last(), func(c *changing) (func(*changing) error, error) {
		held, err := c.object(kind, name)
		if err != nil {
			return nil, err
		}
		text, err := readable(spec)
		if err != nil {
			return nil, err
		}
		if given := nameOf(kind, text); given != "" && given != name {
			return nil, mistaken(nameField(kind), "is %q here and %q in the spec: a name cannot be changed", name, given)
		}
		p, err := c.proposed(kind, name, text)
		if err != nil {
			return nil, err
		}
		made = held
		if bytes.Equal(p.spec, held.Spec) && (held.Source == w.Source || !w.TakeOver) {
			return nil, nil
		}
		if err := c.allowed(string(kind), name, held.Source); err != nil {
			return nil, err
		}
		if err := c.permitted(held, p); err != nil {
			return nil, err
		}
		return func(c *changing) error {
			held, err := c.object(kind, name) // it may have another source by now
			if err == nil {
				err = c.allowed(string(kind), name, held.Source)
			}
			if err != nil {
				return err
			}
			made, err = c.updateObject(held, p)
			return err
		}, nil
	})
	if err != nil {
		return Object{}, err
	}
	return made, nil
}

// Delete deletes an object. *InUseError while others need it; ErrNotFound, ErrMoved,
// *ManagedError. The organization cannot be deleted.
func (s *Store) Delete(ctx context.Context, kind Kind, name string, w Write) error {
	return s.planned(ctx, "deleting "+label(kind, name), w, kind.last(), func(c *changing) (func(*changing) error, error) {
		if _, err := c.deletable(kind, name); err != nil {
			return nil, err
		}
		if kind != KindDeveloper && s.options.Accept != nil {
			rest, err := configuration(ctx, c.tx, kind, name)
			if err != nil {
				return nil, err
			}
			parsed, err := s.running(rest)
			if err != nil {
				return nil, err
			}
			if err := s.accepted(parsed); err != nil {
				return nil, err
			}
		}
		return func(c *changing) error {
			held, err := c.deletable(kind, name) // others may need it by now
			if err != nil {
				return err
			}
			return c.deleteObject(held)
		}, nil
	})
}

// deletable is an object that the write may delete, and nothing needs.
func (c *changing) deletable(kind Kind, name string) (Object, error) {
	held, err := c.object(kind, name)
	if err != nil {
		return held, err
	}
	if kind == KindOrganization {
		return held, &InUseError{Kind: string(kind), Name: name, By: []string{"the gateway"}}
	}
	if err := c.allowed(string(kind), name, held.Source); err != nil {
		return held, err
	}
	return held, c.unneeded(kind, name)
}

// last is what says that nothing has changed on which a change of such an object hangs.
func (k Kind) last() string {
	if k == KindDeveloper { // which hangs on the other developers
		return lastChange
	}
	return lastConfigured
}

// object reads an object that is to be changed; ErrNotFound, ErrMoved.
func (c *changing) object(kind Kind, name string) (Object, error) {
	o, err := readObject(c.ctx, c.tx, kind, name)
	if err != nil {
		return o, err
	}
	if c.write.Match != 0 && c.write.Match != o.Revision {
		return o, fmt.Errorf("%w: it has revision %d, not %d", ErrMoved, o.Revision, c.write.Match)
	}
	return o, nil
}

// nameField is where a spec of this kind has the object's name.
func nameField(kind Kind) string {
	if kind == KindDeveloper {
		return "email"
	}
	return "name"
}

// nameOf is the name that a spec gives its object; empty where it gives none.
func nameOf(kind Kind, spec []byte) string {
	var fields map[string]json.RawMessage
	var name string
	if kind == KindOrganization || json.Unmarshal(spec, &fields) != nil || json.Unmarshal(fields[nameField(kind)], &name) != nil {
		return ""
	}
	return name
}

// proposal is an object as it would be, and the configuration with it.
type proposal struct {
	kind    Kind
	name    string
	spec    []byte           // with all defaults
	running *catalog.Catalog // nil for a developer
	backend catalog.Backend  // of an API
}

// proposed checks a spec, in the configuration that would be.
func (c *changing) proposed(kind Kind, name string, spec []byte) (proposal, error) {
	p := proposal{kind: kind, name: name}
	if kind == KindDeveloper {
		return c.proposedDeveloper(p, spec)
	}
	all, err := configuration(c.ctx, c.tx, kind, name)
	if err != nil {
		return p, err
	}
	// It is the encoded form that has to go with the rest: that is what Config will read.
	alone := &candidate{}
	alone.add(entry{kind: kind, name: name, spec: spec})
	o := c.options.Catalog
	o.Known = func(string, string) bool { return true }
	parsed, err := alone.parse(o)
	if err != nil { // all mistakes are wanted, those beside others too
		all.add(entry{kind: kind, name: name, spec: spec})
		if _, more := all.parse(c.options.Catalog); more != nil {
			err = more
		}
		return p, err
	}
	if err := p.encode(parsed); err != nil {
		return p, err
	}
	all.add(entry{kind: kind, name: p.name, spec: p.spec})
	if err := all.fits(); err != nil {
		return p, err
	}
	p.running, err = c.running(all)
	return p, err
}

// encode takes name, spec and backend from a catalog that holds nothing but the object.
func (p *proposal) encode(c *catalog.Catalog) (err error) {
	switch p.kind {
	case KindOrganization:
		p.spec, err = encoded(c.Organization)
	case KindAPI:
		p.name, p.backend = c.APIs[0].Name, c.APIs[0].Backend
		p.spec, err = encoded(c.APIs[0])
	case KindProduct:
		p.name = c.Products[0].Name
		p.spec, err = encoded(c.Products[0])
	case KindGroup:
		p.name = c.Groups[0].Name
		p.spec, err = encoded(c.Groups[0])
	}
	return err
}

func (c *changing) proposedDeveloper(p proposal, spec []byte) (proposal, error) {
	part := &candidate{}
	part.add(entry{kind: p.kind, name: p.name, spec: spec})
	var failed error
	parsed, err := part.parse(catalog.Options{Known: func(kind, name string) bool {
		_, err := readObject(c.ctx, c.tx, Kind(kind), name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			failed = err
		}
		return err == nil
	}})
	if err := errors.Join(failed, err); err != nil {
		return p, err
	}
	developer := parsed.Developers[0]
	p.name = developer.Email
	others, err := c.names(`SELECT name FROM object WHERE kind = 'developer' AND look = ? AND name <> ?`, lookOf(p.kind, p.name), p.name)
	if err != nil {
		return p, err
	}
	if len(others) > 0 {
		return p, mistaken("email", "%q is the e-mail address of the developer %q as well", p.name, others[0])
	}
	p.spec, err = encoded(developer)
	return p, err
}

// lookOf is what names of one kind are compared by.
func lookOf(kind Kind, name string) string {
	if kind == KindDeveloper {
		return strings.ToLower(name)
	}
	return catalog.Look(name)
}

// permitted asks whether a proposal's secret may be where it is, and be sent where it says,
// and whether the gateway can run with it. held is what is there; zero: nothing.
func (c *changing) permitted(held Object, p proposal) error {
	if err := c.secretAllowed("backend.key", held, p.backend); err != nil {
		return err
	}
	if p.running == nil {
		return nil
	}
	return c.accepted(p.running)
}

func (c *changing) secretAllowed(field string, held Object, backend catalog.Backend) error {
	if backend.Key == nil {
		return nil
	}
	if c.write.Limited {
		var was catalog.API
		if len(held.Spec) > 0 {
			if err := json.Unmarshal(held.Spec, &was); err != nil {
				return fmt.Errorf("%s: %w", label(held.Kind, held.Name), err)
			}
		}
		if was.Backend.Key == nil || *was.Backend.Key != *backend.Key || was.Backend.URL != backend.URL {
			return mistaken(field, "only an administrator may name a secret, or change the URL to which one is sent")
		}
	}
	if c.write.Operator || c.options.AllowSecret == nil {
		return nil
	}
	if err := c.options.AllowSecret(*backend.Key); err != nil {
		return mistaken(field, "%s", err)
	}
	return nil
}

// accepted asks whether the gateway can run with a configuration.
func (s *Store) accepted(running *catalog.Catalog) error {
	if s.options.Accept == nil {
		return nil
	}
	if err := s.options.Accept(running); err != nil {
		return mistaken("", "%s", err)
	}
	return nil
}

func (c *changing) insertObject(p proposal) (Object, error) {
	o := Object{Kind: p.kind, Name: p.name, Spec: p.spec, Source: c.write.Source, Revision: uint64(c.number), Created: c.now, Updated: c.now}
	if _, err := c.tx.Exec(c.ctx, `INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(o.Kind), o.Name, lookOf(o.Kind, o.Name), string(o.Spec), o.Source, c.number, c.number, o.Created.UnixMilli(), o.Updated.UnixMilli()); err != nil {
		return o, fmt.Errorf("%s: %w", label(o.Kind, o.Name), err)
	}
	c.configures = c.configures || o.Kind != KindDeveloper
	c.note(string(o.Kind)+".create", string(o.Kind), o.Name, nil, o.Spec)
	return o, nil
}

// updateObject writes an object anew; the subscriptions of a developer see it change.
func (c *changing) updateObject(held Object, p proposal) (Object, error) {
	o := held
	o.Spec, o.Source, o.Revision, o.Updated = p.spec, c.write.Source, held.Revision+1, c.now
	if _, err := c.tx.Exec(c.ctx, `UPDATE object SET spec = ?, source = ?, revision = ?, change = ?, updated = ? WHERE kind = ? AND name = ?`,
		string(o.Spec), o.Source, int64(o.Revision), c.number, o.Updated.UnixMilli(), string(o.Kind), o.Name); err != nil {
		return o, fmt.Errorf("%s: %w", label(o.Kind, o.Name), err)
	}
	verb := ".update"
	switch same := bytes.Equal(held.Spec, o.Spec); {
	case same:
		verb = ".adopt"
	case o.Kind != KindDeveloper:
		c.configures = true
	default:
		if _, err := c.tx.Exec(c.ctx, `UPDATE subscription SET revision = revision + 1, change = ?, updated = ? WHERE developer = ? AND removed = 0`,
			c.number, c.now.UnixMilli(), o.Name); err != nil {
			return o, err
		}
	}
	c.note(string(o.Kind)+verb, string(o.Kind), o.Name, held.Spec, o.Spec)
	return o, nil
}

func (c *changing) deleteObject(held Object) error {
	if _, err := c.tx.Exec(c.ctx, `DELETE FROM object WHERE kind = ? AND name = ?`, string(held.Kind), held.Name); err != nil {
		return fmt.Errorf("%s: %w", label(held.Kind, held.Name), err)
	}
	c.configures = c.configures || held.Kind != KindDeveloper
	c.note(string(held.Kind)+".delete", string(held.Kind), held.Name, held.Spec, nil)
	return nil
}
