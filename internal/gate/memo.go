package gate

import (
	"math"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/route"
	"github.com/tollgate/tollgate/internal/wire"
)

// What follows is worked out again and again for the same bytes, so the last results are
// kept while what they were made from is held. Both hold copies: a header's string keeps the whole head
// alive.
const (
	routesMax  = 1024
	recordsMax = 4096
	targetMax  = 1 << 10 // bytes of a target worth keeping
)

type routes map[routeKey]route.Match

type routeKey struct{ method, host, target string }

// find is route.Table.Find. Only matches without a consumer's key in them are kept.
func (g *Gate) find(head *Head) (route.Match, route.Outcome) {
	if match, ok := g.routes[routeKey{head.Method, head.Host, head.Target}]; ok {
		return match, route.Found
	}
	key := routeKey{strings.Clone(head.Method), strings.Clone(head.Host), strings.Clone(head.Target)}
	match, outcome := g.held.table.Find(key.method, key.host, key.target)
	if outcome != route.Found || len(key.target) > targetMax {
		return match, outcome
	}
	if _, inQuery := match.Query.Take(g.held.apis[match.API].Keys.Query); len(inQuery) == 0 {
		if len(g.routes) >= routesMax {
			clear(g.routes)
		}
		g.routes[key] = match
	}
	return match, outcome
}

// records holds the keys that were found, by the key itself: it is in every request's head
// in this memory anyway, and two HMAC blocks a request are not. A flood of unknown keys
// leaves nothing here. A change of another key leaves a record as it is: it goes with the
// pages that it came from.
type records map[string]found

type found struct {
	record wire.KeyRecord
	origin wire.Origin
}

// record is the one of a key at now; its Scope is a place in held.scopes, or beyond them.
// A key past its own expiry is gone.
func (g *Gate) record(key string, now time.Time) (wire.KeyRecord, bool) {
	f, ok := g.records[key]
	if !ok || !g.held.keys.Holds(f.record, f.origin) {
		if f, ok = g.findRecord(key); !ok {
			delete(g.records, key)
			return wire.KeyRecord{}, false
		}
	}
	if f.record.KeyExpires != 0 && now.Unix() >= int64(f.record.KeyExpires) {
		return wire.KeyRecord{}, false
	}
	return f.record, true
}

func (g *Gate) findRecord(key string) (found, bool) {
	record, origin, ok := g.held.keys.Find(apikey.MAC(g.held.pepper, apikey.Digest(key)))
	if !ok {
		return found{}, false
	}
	place, known := g.held.places[record.Scope]
	if !known {
		place = math.MaxUint32
	}
	record.Scope = place
	if len(g.records) >= recordsMax {
		clear(g.records)
	}
	f := found{record, origin}
	g.records[strings.Clone(key)] = f
	return f, true
}
