package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// pace is a load that does not depend on how fast answers are.
type pace struct {
	perSecond int           // requests, over all connections
	settle    time.Duration // at that pace before anything is counted: leases are sized by it
	time      time.Duration // that is counted
}

// steady is what a variant did at a pace.
type steady struct {
	requests  int
	perSecond float64
	calls     float64 // per 1,000 requests, see lane.calls
}

// keepPace gives the variant load at a pace and counts the calls. Unlike rounds, which come
// and go, it never pauses for longer than from one request to the next.
func (l *lane) keepPace(ctx context.Context, p pace) (steady, error) {
	if _, err := l.paced(ctx, p.perSecond, p.settle); err != nil {
		return steady{}, err
	}
	calls, err := l.calls(ctx)
	if err != nil {
		return steady{}, err
	}
	began := time.Now()
	n, err := l.paced(ctx, p.perSecond, p.time)
	if err != nil {
		return steady{}, err
	}
	elapsed := time.Since(began)
	callsAfter, err := l.calls(ctx)
	if err != nil {
		return steady{}, err
	}
	if n == 0 {
		return steady{}, fmt.Errorf("no request was made within %s", p.time)
	}
	return steady{requests: n, perSecond: float64(n) / elapsed.Seconds(), calls: (callsAfter - calls) / float64(n) * 1000}, nil
}

// paced makes requests at fixed times, the connections in turn. What is late is made up for
// at once. It returns how many there were.
func (l *lane) paced(ctx context.Context, perSecond int, during time.Duration) (total int, err error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	between := time.Second / time.Duration(perSecond)
	counts := make([]int, len(l.clients))
	errs := make([]error, len(l.clients))
	var clients sync.WaitGroup
	for i, c := range l.clients {
		if err := c.connection.SetDeadline(began.Add(during + 30*time.Second)); err != nil {
			return 0, err
		}
		defer context.AfterFunc(ctx, func() { _ = c.connection.SetDeadline(time.Unix(1, 0)) })()
		clients.Go(func() {
			for at := time.Duration(i) * between; at < during; at += between * time.Duration(len(l.clients)) {
				select {
				case <-running.Done():
					return
				case <-time.After(at - time.Since(began)):
				}
				if errs[i] = c.do(); errs[i] != nil {
					stop()
					return
				}
				counts[i]++
			}
		})
	}
	clients.Wait()
	for _, n := range counts {
		total += n
	}
	if err := errors.Join(errs...); err != nil {
		if ended := l.ended(); ended != nil {
			return 0, ended
		}
		return 0, fmt.Errorf("%w%s", err, l.lastWords())
	}
	return total, context.Cause(ctx)
}
