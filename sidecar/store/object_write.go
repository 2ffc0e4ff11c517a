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
	err = s.change(ctx, "creating "+label(kind, name), w, func(c *changing) error {
		if _, err := readObject(ctx, c.tx, kind, name); err == nil {
			return ErrExists
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		p, err := c.proposed(kind, name, text)
		if err != nil {
			return err
		}
		if err := c.permitted(p); err != nil {
			return err
		}
		made, err = c.insertObject(p)
		return err
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
	err := s.change(ctx, "changing "+label(kind, name), w, func(c *changing) error {
		held, err := c.object(kind, name)
		if err != nil {
			return err
		}
		text, err := readable(spec)
		if err != nil {
			return err
		}
		if given := nameOf(kind, text); given != "" && given != name {
			return mistaken(nameField(kind), "is %q here and %q in the spec: a name cannot be changed", name, given)
		}
		p, err := c.proposed(kind, name, text)
		if err != nil {
			return err
		}
		made = held
		if bytes.Equal(p.spec, held.Spec) && (held.Source == w.Source || !w.TakeOver) {
			return nil
		}
		if err := c.allowed(string(kind), name, held.Source); err != nil {
			return err
		}
		if err := c.permitted(p); err != nil {
			return err
		}
		made, err = c.updateObject(held, p)
		return err
	})
	if err != nil {
		return Object{}, err
	}
	return made, nil
}

// Delete deletes an object. *InUseError while others need it; ErrNotFound, ErrMoved,
// *ManagedError. The organization cannot be deleted.
func (s *Store) Delete(ctx context.Context, kind Kind, name string, w Write) error {
	return s.change(ctx, "deleting "+label(kind, name), w, func(c *changing) error {
		held, err := c.object(kind, name)
		if err != nil {
			return err
		}
		if kind == KindOrganization {
			return &InUseError{Kind: string(kind), Name: name, By: []string{"the gateway"}}
		}
		if err := c.allowed(string(kind), name, held.Source); err != nil {
			return err
		}
		if err := c.unneeded(kind, name); err != nil {
			return err
		}
		if kind != KindDeveloper && s.options.Accept != nil {
			rest, err := configuration(ctx, c.tx, kind, name)
			if err != nil {
				return err
			}
			parsed, err := s.running(rest)
			if err != nil {
				return err
			}
			if err := s.accepted(parsed); err != nil {
				return err
			}
		}
		return c.deleteObject(held)
	})
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
	key     *catalog.Secret  // of an API's backend; nil: none
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
	all.add(entry{kind: kind, name: name, spec: spec})
	parsed, err := all.parse(c.options.Catalog)
	if err != nil {
		return p, err
	}
	switch kind {
	case KindOrganization:
		p.spec, err = encoded(parsed.Organization)
	case KindAPI:
		api := parsed.APIs[len(parsed.APIs)-1]
		p.name, p.key = api.Name, api.Backend.Key
		p.spec, err = encoded(api)
	case KindProduct:
		product := parsed.Products[len(parsed.Products)-1]
		p.name = product.Name
		p.spec, err = encoded(product)
	case KindGroup:
		group := parsed.Groups[len(parsed.Groups)-1]
		p.name = group.Name
		p.spec, err = encoded(group)
	}
	parsed.Override(c.options.Catalog.BackendOverrides)
	p.running = parsed
	return p, err
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

// permitted asks whether a proposal's secret may be where it is and whether the gateway can
// run with it.
func (c *changing) permitted(p proposal) error {
	if err := c.secretAllowed("backend.key", p.key); err != nil {
		return err
	}
	if p.running == nil {
		return nil
	}
	return c.accepted(p.running)
}

func (c *changing) secretAllowed(field string, key *catalog.Secret) error {
	if key == nil || c.write.Operator || c.options.AllowSecret == nil {
		return nil
	}
	if err := c.options.AllowSecret(*key); err != nil {
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
	o := Object{Kind: p.kind, Name: p.name, Spec: p.spec, Source: c.write.Source, Revision: 1, Created: c.now, Updated: c.now}
	if _, err := c.tx.Exec(c.ctx, `INSERT INTO object (kind, name, look, spec, source, revision, change, created, updated) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?)`,
		string(o.Kind), o.Name, lookOf(o.Kind, o.Name), string(o.Spec), o.Source, c.number, o.Created.UnixMilli(), o.Updated.UnixMilli()); err != nil {
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
