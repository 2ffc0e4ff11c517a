package wire_test

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/internal/wire"
)

func TestOutcomesOfStatuses(t *testing.T) {
	others := map[int]wire.CallOutcome{
		0: wire.CallOther, 99: wire.CallOther, 302: wire.CallOther, 303: wire.CallOther, 305: wire.CallOther, 306: wire.CallOther, 308: wire.CallOther,
		301: wire.CallSuccess, 304: wire.CallSuccess, 307: wire.CallSuccess, 400: wire.CallFailed, 401: wire.CallBlocked, 403: wire.CallBlocked, 429: wire.CallBlocked,
	}
	for status := range 1000 {
		want, ok := others[status]
		switch {
		case ok:
		case status >= 500:
			want = wire.CallFailed
		case status > 301 || status < 100:
			want = wire.CallOther
		default:
			want = wire.CallSuccess
		}
		if got := wire.OutcomeOf(status); got != want {
			t.Errorf("%d is %s, want %s", status, got, want)
		}
	}
}

func TestBucketsFollowEachOther(t *testing.T) {
	last := time.Duration(0)
	for i := range wire.UsageBuckets {
		bound, ok := wire.UsageBound(i)
		if ok != (i < wire.UsageBuckets-1) || ok && bound <= last {
			t.Fatalf("bucket %d ends at %s, %v, after one that ends at %s", i, bound, ok, last)
		}
		if got := wire.UsageBucket(last + 1); got != i {
			t.Errorf("%s is in bucket %d, want %d", last+1, got, i)
		}
		if got := wire.UsageBucket(bound); ok && got != i {
			t.Errorf("%s is in bucket %d, want %d", bound, got, i)
		}
		last = bound
	}
	if got := wire.UsageBucket(1<<63 - 1); got != wire.UsageBuckets-1 {
		t.Errorf("the longest time is in bucket %d", got)
	}
	if got := wire.UsageBucket(0); got != 0 {
		t.Errorf("no time is in bucket %d", got)
	}
}
