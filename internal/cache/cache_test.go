package cache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/cache"
)

var start = time.Unix(1_700_000_000, 0)

func item(key string, subscription uint32, life time.Duration) cache.Item[string] {
	return cache.Item[string]{Key: []byte(key), Subscription: subscription, Value: "v" + key, ValueBytes: 100, Expires: start.Add(life)}
}

func TestAnEntryEndsAtItsTime(t *testing.T) {
	c := cache.New[string](cache.Limits{Bytes: 1 << 20, PerSubscription: 10, KeyBytes: 100})
	c.Keep(item("a", 1, time.Second))
	if _, ok := c.Find([]byte("a"), start.Add(time.Second-1)); !ok {
		t.Error("not found before its end")
	}
	if _, ok := c.Find([]byte("a"), start.Add(time.Second)); ok {
		t.Error("found at its end")
	}
	if c.Len() != 0 {
		t.Error("still kept after its end")
	}
}

func TestBounds(t *testing.T) {
	c := cache.New[string](cache.Limits{Bytes: 1 << 20, PerSubscription: 2, KeyBytes: 3})
	c.Keep(item("long", 1, time.Hour))
	for _, key := range []string{"a", "b"} {
		c.Keep(item(key, 1, time.Hour))
	}
	c.Keep(item("x", 2, time.Hour))
	c.Find([]byte("a"), start) // now b is the older one
	c.Keep(item("c", 1, time.Hour))
	found := map[string]bool{}
	for _, key := range []string{"long", "a", "b", "c", "x"} {
		_, found[key] = c.Find([]byte(key), start)
	}
	want := map[string]bool{"long": false, "a": true, "b": false, "c": true, "x": true}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestHottest(t *testing.T) {
	c := cache.New[string](cache.Limits{Bytes: 1 << 20, PerSubscription: 10, KeyBytes: 100})
	for i := range 5 {
		key := fmt.Sprint(i)
		c.Keep(item(key, 1, time.Hour))
		for range i {
			c.Find([]byte(key), start)
		}
	}
	var keys []string
	for _, e := range c.Hottest(3) {
		keys = append(keys, e.Key)
	}
	if diff := cmp.Diff([]string{"4", "3", "2"}, keys); diff != "" {
		t.Errorf("hottest (-want +got):\n%s", diff)
	}
}

// TestAgainstAModel holds the cache against a map: it never finds what was not kept, was
// dropped, or has ended, and never exceeds its bytes.
func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := cache.Limits{Bytes: 2000, PerSubscription: 3, KeyBytes: 8}
		c := cache.New[string](limits)
		model := map[string]time.Time{}
		now := start
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := rapid.StringMatching(`[a-f]{1,2}`).Draw(t, "key")
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				life := time.Duration(rapid.IntRange(0, 5).Draw(t, "life")) * time.Second
				c.Keep(cache.Item[string]{Key: []byte(key), Subscription: uint32(key[0]), Value: key, ValueBytes: 50, Expires: now.Add(life)})
				model[key] = now.Add(life)
			case 1:
				now = now.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "pass")) * time.Second)
			case 2:
				if e, ok := c.Find([]byte(key), now); ok && (e.Value != key || !now.Before(model[key])) {
					t.Fatalf("found %q with %q, which ends at %v, at %v", key, e.Value, model[key], now)
				}
			case 3:
				if rapid.IntRange(0, 9).Draw(t, "clear") == 0 {
					c.Clear()
					model = map[string]time.Time{}
				}
			}
			if c.Len()*210 > limits.Bytes+210 {
				t.Fatalf("%d entries exceed %d bytes", c.Len(), limits.Bytes)
			}
		}
	})
}
