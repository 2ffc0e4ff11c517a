package main

import (
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
)

// TestRateLimiter tells that the server counts: one that always says OK would be no rival.
func TestRateLimiter(t *testing.T) {
	descriptor := func(limit, consumer string) *commonv3.RateLimitDescriptor {
		return &commonv3.RateLimitDescriptor{Entries: []*commonv3.RateLimitDescriptor_Entry{
			{Key: limitEntry, Value: limit}, {Key: consumerEntry, Value: consumer},
		}}
	}
	both := func(consumer string) []*commonv3.RateLimitDescriptor {
		return []*commonv3.RateLimitDescriptor{descriptor(minuteLimit, consumer), descriptor(weekLimit, consumer)}
	}
	const ok, over = ratelimitv3.RateLimitResponse_OK, ratelimitv3.RateLimitResponse_OVER_LIMIT
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	l := &rateLimiter{now: func() time.Time { return now }, counters: map[string]*counter{}}
	full := windows[minuteLimit].amount
	for _, step := range []struct {
		name     string
		consumer string
		hits     uint32 // 0: one
		after    time.Duration
		want     ratelimitv3.RateLimitResponse_Code
		left     uint32 // of the minute
	}{
		{name: "the first", consumer: "a", want: ok, left: full - 1},
		{name: "up to the amount", consumer: "a", hits: full - 1, want: ok, left: 0},
		{name: "beyond it", consumer: "a", want: over},
		{name: "another consumer", consumer: "b", want: ok, left: full - 1},
		{name: "shortly before the minute is over", consumer: "a", after: time.Minute - 1, want: over},
		{name: "the next minute", consumer: "a", after: 1, want: ok, left: full - 1},
	} {
		now = now.Add(step.after)
		got, err := l.ShouldRateLimit(t.Context(), &ratelimitv3.RateLimitRequest{Descriptors: both(step.consumer), HitsAddend: step.hits})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got.OverallCode != step.want || got.Statuses[0].LimitRemaining != step.left || got.Statuses[1].Code != ok {
			t.Errorf("%s: answered %v, want %v with %d left of the minute and enough of the week", step.name, got, step.want, step.left)
		}
	}
	for name, descriptors := range map[string][]*commonv3.RateLimitDescriptor{
		"none":            nil,
		"one":             both("a")[:1],
		"no consumer":     both(""),
		"another's limit": {descriptor("hour", "a"), descriptor(weekLimit, "a")},
	} {
		if got, err := l.ShouldRateLimit(t.Context(), &ratelimitv3.RateLimitRequest{Descriptors: descriptors}); err == nil {
			t.Errorf("%s: answered %v, want an error", name, got)
		}
	}
}
