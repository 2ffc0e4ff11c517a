// Package cache keeps decisions for a while, bounded in bytes and per subscription. It is
// pure: the time comes in. It says nothing of what may be kept; the gate does.
package cache

import "time"

// Entry is one kept decision.
type Entry[V any] struct {
	Value V
	Key   string
	Hits  uint32 // since it was kept or last swept

	subscription uint32
	expires      int64 // Unix nanoseconds
	size         int
	older, newer *Entry[V] // a ring around Cache.ring, in order of last use
}

// Limits bounds a cache.
type Limits struct {
	Bytes           int // keys and values together
	PerSubscription int // entries
	KeyBytes        int // a longer key is not kept
}

// Cache is a least-recently-used map from a key's bytes, compared in full, to V. It is
// for one goroutine.
type Cache[V any] struct {
	limits  Limits
	entries map[string]*Entry[V]
	per     map[uint32]int
	bytes   int
	ring    Entry[V] // ring.newer is the oldest entry, ring.older the newest
}

// New makes an empty cache.
func New[V any](limits Limits) *Cache[V] {
	c := &Cache[V]{limits: limits}
	c.Clear()
	return c
}

// Clear drops all entries.
func (c *Cache[V]) Clear() {
	c.entries, c.per, c.bytes = make(map[string]*Entry[V]), make(map[uint32]int), 0
	c.ring.older, c.ring.newer = &c.ring, &c.ring
}

// Len is the number of entries, expired ones included.
func (c *Cache[V]) Len() int { return len(c.entries) }

// Find returns the entry kept under key while now is before its end.
func (c *Cache[V]) Find(key []byte, now time.Time) (*Entry[V], bool) {
	e, ok := c.entries[string(key)]
	if !ok {
		return nil, false
	}
	if now.UnixNano() >= e.expires {
		c.remove(e)
		return nil, false
	}
	e.Hits++
	c.unlink(e)
	c.link(e)
	return e, true
}

// Item is what Keep takes.
type Item[V any] struct {
	Key          []byte
	Subscription uint32
	Value        V
	ValueBytes   int // an estimate, for the bound
	Expires      time.Time
}

// entryBytes is what an entry costs beside its key and value.
const entryBytes = 160

// Keep stores an item in place of one with the same key, and drops the least recently
// used ones beyond the bounds: first of the same subscription, then of all. It returns the
// entry, nil where the item is beyond the bounds by itself.
func (c *Cache[V]) Keep(item Item[V]) *Entry[V] {
	size := len(item.Key) + item.ValueBytes + entryBytes
	if len(item.Key) > c.limits.KeyBytes || size > c.limits.Bytes {
		return nil
	}
	if old, ok := c.entries[string(item.Key)]; ok {
		c.remove(old)
	}
	if c.per[item.Subscription] >= c.limits.PerSubscription {
		c.removeOldestOf(item.Subscription)
	}
	for c.bytes+size > c.limits.Bytes {
		c.remove(c.ring.newer)
	}
	e := &Entry[V]{Value: item.Value, Key: string(item.Key), subscription: item.Subscription, expires: item.Expires.UnixNano(), size: size}
	c.entries[e.Key] = e
	c.per[e.subscription]++
	c.bytes += size
	c.link(e)
	return e
}

// Hottest returns up to n entries, the most often found first.
func (c *Cache[V]) Hottest(n int) []*Entry[V] {
	top := make([]*Entry[V], 0, n+1)
	for e := c.ring.older; e != &c.ring; e = e.older {
		i := len(top)
		for i > 0 && top[i-1].Hits < e.Hits {
			i--
		}
		if i < n {
			top = append(top, nil)
			copy(top[i+1:], top[i:])
			top[i] = e
			top = top[:min(n, len(top))]
		}
	}
	return top
}

func (c *Cache[V]) removeOldestOf(subscription uint32) {
	for e := c.ring.newer; e != &c.ring; e = e.newer {
		if e.subscription == subscription {
			c.remove(e)
			return
		}
	}
}

func (c *Cache[V]) remove(e *Entry[V]) {
	delete(c.entries, e.Key)
	if c.per[e.subscription]--; c.per[e.subscription] == 0 {
		delete(c.per, e.subscription)
	}
	c.bytes -= e.size
	c.unlink(e)
}

func (c *Cache[V]) link(e *Entry[V]) {
	e.older, e.newer = c.ring.older, &c.ring
	c.ring.older.newer, c.ring.older = e, e
}

func (c *Cache[V]) unlink(e *Entry[V]) { e.older.newer, e.newer.older = e.newer, e.older }
