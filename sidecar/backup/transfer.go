package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// transfer copies a store in a SQLite file to a PostgreSQL database that is empty, or has
// nothing but the tables that a transfer which was killed has left.
func transfer(ctx context.Context, path, target string) (err error) {
	from, err := database.Open(ctx, database.Config{Source: path, Busy: patience})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, made, err := create(ctx, target)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && made {
			err = errors.Join(err, discard(to))
		}
		err = errors.Join(err, to.Close())
	}()
	return from.View(ctx, "reading the store", func(source *database.Tx) error {
		tables, err := tablesOf(ctx, source)
		if err != nil {
			return err
		}
		return to.Transact(ctx, "filling the database", func(sink *database.Tx) error {
			if _, err := sink.Exec(ctx, `LOCK TABLE meta IN EXCLUSIVE MODE`); err != nil { // no sidecar comes in between
				return err
			}
			c := copying{from: side{source, database.SQLite}, to: side{sink, database.PostgreSQL}}
			if name, err := c.to.used(ctx, tables); err != nil || name != "" {
				return errors.Join(err, occupied(name))
			}
			return c.all(ctx, tables)
		})
	})
}

func occupied(name string) error {
	if name == "" {
		return nil
	}
	return fmt.Errorf("%w: there is %q", ErrNotEmpty, name)
}

// create opens the target. made says that it was empty.
func create(ctx context.Context, target string) (db *database.DB, made bool, err error) {
	db, err = database.Open(ctx, database.Config{Source: target, Busy: patience, New: true})
	if !errors.Is(err, database.ErrOccupied) {
		return db, err == nil, err
	}
	was := err
	// Tables of ours without a row, which a killed restore leaves, are as good as none.
	// Looking at what is there changes nothing in it.
	seen, err := database.Open(ctx, database.Config{Source: target, Busy: patience, ReadOnly: true})
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrNotEmpty, was)
	}
	var used bool
	err = seen.View(ctx, "looking whether it is empty", func(tx *database.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM meta)`).Scan(&used)
	})
	if err := errors.Join(err, seen.Close()); err != nil || used {
		return nil, false, fmt.Errorf("%w: %w", ErrNotEmpty, was)
	}
	db, err = database.Open(ctx, database.Config{Source: target, Busy: patience})
	return db, false, err
}

// used is the name of a table with rows that no migration has put there.
func (s *side) used(ctx context.Context, tables []table) (string, error) {
	for _, t := range tables {
		if t.name == "limit_meta" || t.name == "audit_head" {
			continue
		}
		if has, err := s.has(ctx, t.name); err != nil || has {
			return t.name, err
		}
	}
	return "", nil
}

// discard removes the tables of a store that nobody has begun to use.
func discard(db *database.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // also when the restore was cancelled
	defer cancel()
	return db.Transact(ctx, "removing what was begun", func(tx *database.Tx) error {
		if _, err := tx.Exec(ctx, `LOCK TABLE meta IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		var used bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM meta)`).Scan(&used); err != nil || used {
			return err
		}
		drops, err := list(ctx, tx, `
			SELECT 'DROP TABLE ' || quote_ident(relname) || ' CASCADE' FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
			UNION ALL SELECT 'DROP FUNCTION ' || oid::regprocedure || ' CASCADE' FROM pg_proc WHERE pronamespace = current_schema()::regnamespace`)
		if err != nil {
			return err
		}
		for _, drop := range drops {
			if _, err := tx.Exec(ctx, drop); err != nil {
				return err
			}
		}
		return nil
	})
}
