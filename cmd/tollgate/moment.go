package main

import (
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
)

const momentHelp = "an RFC 3339 time, a day like 2027-01-31 (its beginning, UTC), or a time from now like 30d or 12h"

// moment reads a time to come, or a length of time from now on.
func moment(flag, text string) (*time.Time, error) {
	if t, err := instantOf(text); err == nil {
		return &t, nil
	}
	length, err := catalog.ParseDuration(text)
	if err != nil || length <= 0 {
		return nil, misusef("%s is %s, not %q", flag, momentHelp, text)
	}
	t := time.Now().Add(time.Duration(length)).UTC().Truncate(time.Second)
	return &t, nil
}

const pastHelp = "an RFC 3339 time, a day like 2027-01-31 (its beginning, UTC), or how long ago, like 7d or 24h"

// past reads a time, or how long ago one was.
func past(flag, text string) (time.Time, error) {
	if t, err := instantOf(text); err == nil {
		return t, nil
	}
	length, err := catalog.ParseDuration(text)
	if err != nil || length < 0 {
		return time.Time{}, misusef("%s is %s, not %q", flag, pastHelp, text)
	}
	return time.Now().Add(-time.Duration(length)).UTC(), nil
}

func instantOf(text string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err
}
