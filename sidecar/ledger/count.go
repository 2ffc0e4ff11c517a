package ledger

import (
	"context"
	"fmt"
)

// Count is how many counters Counters would list of everybody, without a bound.
func (l *Ledger) Count(ctx context.Context) (n int, err error) {
	err = l.storage.View(ctx, func(rows Rows) error {
		_, t, err := l.look(rows)
		if err != nil {
			return err
		}
		n, err = rows.Count(t)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("counting the counters: %w", err)
	}
	return n, nil
}
