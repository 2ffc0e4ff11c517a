package torture_test

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/torture"
)

func TestMost(t *testing.T) {
	at := func(sent, arrived time.Duration) torture.Call {
		return torture.Call{Sent: sent * time.Millisecond, Arrived: arrived * time.Millisecond}
	}
	for name, c := range map[string]struct {
		calls []torture.Call
		want  int
	}{
		"none":                             {nil, 0},
		"one":                              {[]torture.Call{at(5, 6)}, 1},
		"one that took longer":             {[]torture.Call{at(5, 2005)}, 0},
		"two at the ends of a window":      {[]torture.Call{at(0, 1), at(998, 999)}, 2},
		"two a window apart":               {[]torture.Call{at(0, 1), at(999, 1000)}, 1},
		"the second may have been later":   {[]torture.Call{at(0, 1), at(500, 1000)}, 1},
		"the first may have been before":   {[]torture.Call{at(0, 900), at(500, 1000)}, 1},
		"one that hangs hides no others":   {[]torture.Call{at(0, 5000), at(1, 2), at(3, 4), at(5, 6)}, 3},
		"in any order":                     {[]torture.Call{at(5, 6), at(3, 4), at(1, 2)}, 3},
		"the fullest of several":           {[]torture.Call{at(0, 1), at(2000, 2001), at(2002, 2003), at(5000, 5001)}, 2},
		"a window that slides between two": {[]torture.Call{at(0, 1), at(600, 601), at(1200, 1201), at(1300, 1301)}, 3},
	} {
		if got := torture.Most(c.calls, time.Second); got != c.want {
			t.Errorf("%s: %d within a second, want %d", name, got, c.want)
		}
	}
}
