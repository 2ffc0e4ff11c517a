package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// Kind tells the kinds of objects apart.
type Kind string

// The kinds of objects. A developer's name is the e-mail address, the organization's is
// empty.
const (
	KindOrganization Kind = "organization"
	KindAPI          Kind = "api"
	KindProduct      Kind = "product"
	KindGroup        Kind = "group"
	KindDeveloper    Kind = "developer"
)

// configured are the kinds whose change is one of the configuration, with the lists of a
// catalog file in which they stand, in the order in which they need one another.
var configured = []struct {
	kind Kind
	list string
}{{KindOrganization, "organization"}, {KindAPI, "apis"}, {KindGroup, "groups"}, {KindProduct, "products"}}

// list is where objects of the kind stand in a catalog file; empty for an unknown kind.
func (k Kind) list() string {
	for _, c := range configured {
		if c.kind == k {
			return c.list
		}
	}
	if k == KindDeveloper {
		return "developers"
	}
	return ""
}

// Object is what is managed, but for subscriptions and their keys.
type Object struct {
	Kind     Kind
	Name     string
	Spec     json.RawMessage // as in a catalog file, with all defaults; holds no secret
	Source   string          // what manages it, see Write.Source
	Revision uint64          // moves up with each change; a new object's is above all that one of its name had
	Created  time.Time       // in UTC, to the millisecond
	Updated  time.Time
}

const objectColumns = `kind, name, spec, source, revision, created, updated`

// Object reads one object; ErrNotFound.
func (s *Store) Object(ctx context.Context, kind Kind, name string) (Object, error) {
	var o Object
	err := s.db.View(ctx, "reading "+label(kind, name), func(tx *database.Tx) (err error) {
		o, err = readObject(ctx, tx, kind, name)
		return err
	})
	return o, err
}

// Objects reads the objects of a kind whose names come after the given one, at most limit of
// them, in the database's order of names.
func (s *Store) Objects(ctx context.Context, kind Kind, after string, limit int) ([]Object, error) {
	var all []Object
	err := s.db.View(ctx, "reading objects", func(tx *database.Tx) (err error) {
		all, err = selectObjects(ctx, tx, `kind = ? AND (name > ? OR kind = 'organization' AND ? = '') ORDER BY name LIMIT ?`,
			string(kind), shown(after), shown(after), int64(limit))
		return err
	})
	return all, err
}

// label names an object to people.
func label(kind Kind, name string) string {
	if kind == KindOrganization {
		return "the organization"
	}
	return fmt.Sprintf("%s %q", kind, name)
}

// readObject reads one object; ErrNotFound.
func readObject(ctx context.Context, tx *database.Tx, kind Kind, name string) (Object, error) {
	o, err := scanObject(tx.QueryRow(ctx, `SELECT `+objectColumns+` FROM object WHERE kind = ? AND name = ?`, string(kind), shown(name)))
	if errors.Is(err, sql.ErrNoRows) {
		return o, fmt.Errorf("%s: %w", label(kind, name), ErrNotFound)
	}
	return o, err
}

func selectObjects(ctx context.Context, tx *database.Tx, condition string, arguments ...any) ([]Object, error) {
	found, err := tx.Query(ctx, `SELECT `+objectColumns+` FROM object WHERE `+condition, arguments...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var all []Object
	for found.Next() {
		o, err := scanObject(found)
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, found.Err()
}

func scanObject(row interface{ Scan(...any) error }) (Object, error) {
	var o Object
	var spec string
	var created, updated int64
	err := row.Scan(&o.Kind, &o.Name, &spec, &o.Source, &o.Revision, &created, &updated)
	o.Spec, o.Created, o.Updated = json.RawMessage(spec), time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	return o, err
}

// Change is the number of the last change of anything, and that of the last one of the
// organization, an API, a product or a group.
func (s *Store) Change(ctx context.Context) (change, configured int64, err error) {
	err = s.db.View(ctx, "reading the last change", func(tx *database.Tx) error {
		return tx.QueryRow(ctx, `SELECT change, configured FROM meta`).Scan(&change, &configured)
	})
	return change, configured, err
}

// Changed calls each for the subscriptions that changed after the change with this number,
// removed ones too, which have no keys, by ascending id; with 0 for all that are there. It
// returns the number of the last change that each was told of. A number below after says
// that the store is an older one, restored: nothing was told, and 0 reads it anew.
//
// All are read in one state of the store; each may see a subscription twice when reading
// has to begin again.
func (s *Store) Changed(ctx context.Context, after int64, each func(sub Subscription, removed bool) error) (now int64, err error) {
	err = s.db.View(ctx, "reading changes", func(tx *database.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT change FROM meta`).Scan(&now); err != nil || now < after || now == after && after > 0 {
			return err
		}
		condition, arguments := `s.removed = 0`, []any(nil)
		if after > 0 { // said so that SQLite looks them up by their change and not all by their id
			condition, arguments = `s.id IN (SELECT id FROM subscription WHERE change > ?)`, []any{after}
		}
		return eachRow(ctx, tx, condition, arguments, func(r row) error { return each(r.Subscription, r.removed) })
	})
	return now, err
}
