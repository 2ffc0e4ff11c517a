package store

import (
	"context"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
)

// refreshLooks gives subscriptions from before names had looks, and which nothing changed
// since, the looks of their names: the migration could not work them out.
func (s *Store) refreshLooks(ctx context.Context) error {
	return s.db.Transact(ctx, "comparing names", func(tx *database.Tx) error {
		found, err := tx.Query(ctx, `SELECT id, name FROM subscription WHERE change = 0 AND removed = 0 AND look = name`)
		if err != nil {
			return err
		}
		defer found.Close()
		looks := map[int64]string{}
		for found.Next() {
			var id int64
			var name string
			if err := found.Scan(&id, &name); err != nil {
				return err
			}
			if look := catalog.Look(name); look != name {
				looks[id] = look
			}
		}
		if err := found.Err(); err != nil {
			return err
		}
		for id, look := range looks {
			if _, err := tx.Exec(ctx, `UPDATE subscription SET look = ? WHERE id = ?`, look, id); err != nil {
				return err
			}
		}
		return nil
	})
}
