package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

// window is how the rate limit server counts one of the two limits. The week's amount is
// smaller than that of the variant limits, for the protocol has 32 bits; neither is reached.
type window struct {
	amount uint32
	length time.Duration
	unit   ratelimitv3.RateLimitResponse_RateLimit_Unit
}

var windows = map[string]window{
	minuteLimit: {amount: 1_000_000_000, length: time.Minute, unit: ratelimitv3.RateLimitResponse_RateLimit_MINUTE},
	weekLimit:   {amount: 4_000_000_000, length: 7 * 24 * time.Hour, unit: ratelimitv3.RateLimitResponse_RateLimit_WEEK},
}

// Entries of a descriptor: which limit, and whose.
const (
	limitEntry    = "limit"
	consumerEntry = "consumer"
)

// ratelimitFilter is Envoy's global rate limit filter with both limits for each request.
func ratelimitFilter(*rig) object {
	descriptor := func(limit string) object {
		return object{"actions": []any{
			object{"generic_key": object{"descriptor_key": limitEntry, "descriptor_value": limit}},
			object{"request_headers": object{"header_name": keyHeader, "descriptor_key": consumerEntry}},
		}}
	}
	return object{"name": "envoy.filters.http.ratelimit", "typed_config": object{
		"@type":                      "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
		"domain":                     "bench",
		"failure_mode_deny":          true,
		"timeout":                    "5s",
		"enable_x_ratelimit_headers": "DRAFT_VERSION_03", // answers tell what is left, as the filter's do
		"rate_limit_service":         object{"transport_api_version": "V3", "grpc_service": serverGRPC()},
		"rate_limits":                []any{descriptor(minuteLimit), descriptor(weekLimit)},
	}}
}

func registerRateLimit(_ context.Context, args []string, g *grpc.Server) error {
	if len(args) != 0 {
		return errors.New("ratelimit SOCKET")
	}
	ratelimitv3.RegisterRateLimitServiceServer(g, &rateLimiter{now: time.Now, counters: map[string]*counter{}})
	return nil
}

// rateLimiter counts in fixed windows, in memory: as little as such a server can do.
type rateLimiter struct {
	ratelimitv3.UnimplementedRateLimitServiceServer
	now      func() time.Time
	mu       sync.Mutex
	counters map[string]*counter // by the entries of a descriptor
}

// counter is one window of one descriptor.
type counter struct {
	began time.Time
	used  uint64
}

// ShouldRateLimit is called for each request. An error makes Envoy refuse, and so end the
// run: a descriptor that Envoy left out must not look like a cheap one.
func (l *rateLimiter) ShouldRateLimit(_ context.Context, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	if got, want := len(r.GetDescriptors()), len(windows); got != want {
		return nil, fmt.Errorf("%d descriptors, want %d", got, want)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	answer := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}
	for _, d := range r.GetDescriptors() {
		status, err := l.count(d, uint64(max(1, r.GetHitsAddend())), now)
		if err != nil {
			return nil, err
		}
		if status.Code != ratelimitv3.RateLimitResponse_OK {
			answer.OverallCode = status.Code
		}
		answer.Statuses = append(answer.Statuses, status)
	}
	return answer, nil
}

func (l *rateLimiter) count(d *commonv3.RateLimitDescriptor, hits uint64, now time.Time) (*ratelimitv3.RateLimitResponse_DescriptorStatus, error) {
	var id strings.Builder
	var name, consumer string
	for _, e := range d.GetEntries() {
		switch e.GetKey() {
		case limitEntry:
			name = e.GetValue()
		case consumerEntry:
			consumer = e.GetValue()
		}
		id.WriteString(e.GetKey() + "\x00" + e.GetValue() + "\x00")
	}
	w, ok := windows[name]
	if !ok || consumer == "" {
		return nil, errors.New("the descriptor names no limit or no consumer")
	}
	c := l.counters[id.String()]
	if c == nil || now.Sub(c.began) >= w.length {
		c = &counter{began: now}
		l.counters[id.String()] = c
	}
	c.used += hits
	status := &ratelimitv3.RateLimitResponse_DescriptorStatus{
		Code:               ratelimitv3.RateLimitResponse_OK,
		CurrentLimit:       &ratelimitv3.RateLimitResponse_RateLimit{Name: name, RequestsPerUnit: w.amount, Unit: w.unit},
		DurationUntilReset: durationpb.New(w.length - now.Sub(c.began)),
	}
	if c.used > uint64(w.amount) {
		status.Code = ratelimitv3.RateLimitResponse_OVER_LIMIT
		return status, nil
	}
	status.LimitRemaining = uint32(uint64(w.amount) - c.used)
	return status, nil
}
