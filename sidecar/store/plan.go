package store

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// planAttempts is how often a change is planned while others change the store.
const planAttempts = 3

// errOverrun: the store was changed after it was read.
var errOverrun = errors.New("the store was changed meanwhile")

// lastChange and lastConfigured say what must not have moved since a plan was made.
const (
	lastChange     = `SELECT change FROM meta`
	lastConfigured = `SELECT configured FROM meta`
)

// planned makes a change that takes long to work out: plan reads and checks in a view, where
// it is in nobody's way, and what it returns writes, in a transaction that finds the number
// of last as the view did; nil: there is nothing to write. Where others are always faster,
// both run in one transaction.
func (s *Store) planned(ctx context.Context, doing string, w Write, last string, plan func(*changing) (write func(*changing) error, err error)) error {
	for range planAttempts {
		var seen int64
		var write func(*changing) error
		if err := s.view(ctx, doing, w, func(c *changing) (err error) {
			if err := c.tx.QueryRow(ctx, last).Scan(&seen); err != nil {
				return err
			}
			write, err = plan(c)
			return err
		}); err != nil || write == nil {
			return err
		}
		err := s.change(ctx, doing, w, func(c *changing) error {
			var now int64
			if err := c.tx.QueryRow(ctx, last).Scan(&now); err != nil {
				return err
			}
			if now != seen {
				return errOverrun
			}
			return write(c)
		})
		if !errors.Is(err, errOverrun) {
			return err
		}
	}
	return s.change(ctx, doing, w, func(c *changing) error {
		write, err := plan(c)
		if err != nil || write == nil {
			return err
		}
		return write(c)
	})
}

// view lets f look at what a change would do.
func (s *Store) view(ctx context.Context, doing string, w Write, f func(*changing) error) error {
	return s.db.View(ctx, doing, func(tx *database.Tx) error {
		return f(&changing{Store: s, ctx: ctx, tx: tx, write: w, now: s.now().UTC().Truncate(time.Millisecond)})
	})
}
