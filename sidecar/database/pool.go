package database

import (
	"context"
	"errors"
	"time"
)

// errOccupied says that no connection came free within Config.Busy.
var errOccupied = errors.New("the database is busy: no connection came free in time")

// errClosed says that the database was closed.
var errClosed = errors.New("the database is closed")

// take waits for an element of a pool, at most as long as a statement waits for a lock.
func take[T any](ctx context.Context, pool <-chan T, closed <-chan struct{}, busy time.Duration) (element T, err error) {
	select {
	case <-closed:
		return element, errClosed
	default:
	}
	select {
	case element = <-pool:
		return element, nil
	default:
	}
	limit := time.NewTimer(busy)
	defer limit.Stop()
	select {
	case element = <-pool:
		return element, nil
	case <-closed:
		return element, errClosed
	case <-ctx.Done():
		return element, ctx.Err()
	case <-limit.C:
		return element, errOccupied
	}
}

// drain ends all of a pool's elements that come free in time, for good.
func drain[T any](pool <-chan T, busy time.Duration, end func(T)) {
	limit := time.NewTimer(busy)
	defer limit.Stop()
	for range cap(pool) {
		select {
		case element := <-pool:
			end(element)
		case <-limit.C:
			return
		}
	}
}
