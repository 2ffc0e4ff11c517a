package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
)

// finishMigration does to rows that a migration made, and nothing changed since, what SQL
// could not: it gives subscriptions the looks of their names, and writes developers as Create
// does.
func (s *Store) finishMigration(ctx context.Context) error {
	return s.db.Transact(ctx, "finishing the migration", func(tx *database.Tx) error {
		looks, err := looksOf4(ctx, tx)
		if err != nil {
			return err
		}
		for id, look := range looks {
			if _, err := tx.Exec(ctx, `UPDATE subscription SET look = ? WHERE id = ?`, look, id); err != nil {
				return err
			}
		}
		developers, err := selectObjects(ctx, tx, `kind = 'developer' AND change = 0`)
		if err != nil {
			return err
		}
		for _, o := range developers {
			var d catalog.Developer
			if err := json.Unmarshal(o.Spec, &d); err != nil {
				return fmt.Errorf("%s: %w", label(o.Kind, o.Name), err)
			}
			spec, err := encoded(d)
			if err := rewrite(ctx, tx, o, spec, err); err != nil {
				return err
			}
		}
		return plain(ctx, tx)
	})
}

// rewrite gives an object another form of its spec.
func rewrite(ctx context.Context, tx *database.Tx, o Object, spec []byte, err error) error {
	if err != nil || bytes.Equal(spec, o.Spec) {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE object SET spec = ? WHERE kind = ? AND name = ?`, string(spec), string(o.Kind), o.Name)
	return err
}

// plain writes out <, > and & in specs: stores of before version 7 hold them as escapes, six
// times as long.
func plain(ctx context.Context, tx *database.Tx) error {
	escaped, err := selectObjects(ctx, tx, `spec LIKE '%u003c%' OR spec LIKE '%u003e%' OR spec LIKE '%u0026%'`)
	if err != nil {
		return err
	}
	for _, o := range escaped {
		spec, err := readable(o.Spec)
		if err := rewrite(ctx, tx, o, spec, err); err != nil {
			return err
		}
	}
	return nil
}

// looksOf4 are the looks, by id, of subscriptions that have the plain name for one.
func looksOf4(ctx context.Context, tx *database.Tx) (map[int64]string, error) {
	found, err := tx.Query(ctx, `SELECT id, name FROM subscription WHERE change = 0 AND removed = 0 AND look = name`)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	looks := map[int64]string{}
	for found.Next() {
		var id int64
		var name string
		if err := found.Scan(&id, &name); err != nil {
			return nil, err
		}
		if look := catalog.Look(name); look != name {
			looks[id] = look
		}
	}
	return looks, found.Err()
}
