//go:build !wasip1

package filter_test

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"log"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"

	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/plugin/filter"
)

// worker is a filter whose callouts the test answers.
type worker struct {
	t        *testing.T
	host     proxytest.HostEmulator
	answered int // callouts of the plugin
}

func newWorker(t *testing.T) *worker {
	t.Helper()
	log.SetOutput(io.Discard) // the emulated host prints every callout
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	host, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(filter.NewVM()))
	t.Cleanup(reset)
	host.StartVM()
	host.StartPlugin()
	return &worker{t: t, host: host}
}

// next is the path and the query of the next callout; empty where there is none. What the
// tick has to say beside that is answered.
func (w *worker) next() (path string, query url.Values) {
	w.t.Helper()
	for {
		callouts := w.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)
		if w.answered == len(callouts) {
			return "", nil
		}
		at := slices.IndexFunc(callouts[w.answered].Headers, func(h [2]string) bool { return h[0] == ":path" })
		target, err := url.Parse(callouts[w.answered].Headers[at][1])
		if err != nil {
			w.t.Fatal(err)
		}
		if target.Path == wire.PathWatch || target.Path == wire.PathPages {
			return target.Path, target.Query()
		}
		w.answer("200", []byte(`{}`))
	}
}

// answer answers the next callout; without a status, nobody did.
func (w *worker) answer(status string, body []byte) {
	callout := w.host.GetCalloutAttributesFromContext(proxytest.PluginContextID)[w.answered]
	w.answered++
	var headers [][2]string
	if status != "" {
		headers = [][2]string{{":status", status}}
	}
	w.host.CallOnHttpCallResponse(callout.CalloutID, headers, nil, body)
}

// wantWatch says that a watch for more than a revision is under way.
func (w *worker) wantWatch(held string) {
	w.t.Helper()
	if path, query := w.next(); path != wire.PathWatch || query.Get(wire.WatchRevision) != held {
		w.t.Fatalf("the next callout is %q with %v, want a watch with revision %q", path, query, held)
	}
}

// wantPages are the pages that the next callout asks for.
func (w *worker) wantPages() []wire.Digest {
	w.t.Helper()
	path, query := w.next()
	if path != wire.PathPages {
		w.t.Fatalf("the next callout is %q, want %s", path, wire.PathPages)
	}
	var digests []wire.Digest
	for _, text := range query[wire.PagesDigest] {
		digest, err := wire.ParseDigest(text)
		if err != nil {
			w.t.Fatal(err)
		}
		digests = append(digests, digest)
	}
	return digests
}

// table is what a sidecar has: one key for each of some subscriptions, each of which has a
// page to itself and is suspended.
type table struct {
	snapshot wire.Snapshot
	pages    wire.Pages
}

func newTable(number uint64, keys ...string) table {
	var records []wire.KeyRecord
	pepper := []byte("pepper")
	for i, key := range keys {
		records = append(records, wire.KeyRecord{MAC: apikey.MAC(pepper, apikey.Digest(key)), Subscription: uint32(1 + i*wire.SubscriptionsPerPage),
			Revision: uint32(1 + i), Scope: 5, State: wire.StateSuspended, Slot: wire.SlotPrimary})
	}
	s := wire.Snapshot{
		Version: wire.Version, Revision: wire.Revision{Store: "s", Number: number, Content: "c"}, Gateway: wire.Gateway{MaxStaleSeconds: 300}, Pepper: pepper,
		Policy: wire.Policy{Revision: "p", Vary: []wire.Field{{"resource"}}}, Scopes: []wire.Scope{{Number: 5, APIs: []int{0}}},
		APIs: []wire.API{{Name: "Demo", Suffix: "demo", Errors: wire.DialectAPIM, Authorization: wire.AuthorizationPass, Open: -1,
			Keys: wire.Keys{Header: "x-key", HeaderName: "X-Key", Query: "key"}, Operations: []wire.Operation{{Name: "Get", Method: "GET", Template: "/"}}}},
	}
	table := table{snapshot: s}
	table.snapshot.Keys, table.snapshot.Subscriptions, table.pages = wire.PackPages(records)
	return table
}

func (t table) body() []byte {
	body, _ := json.Marshal(t.snapshot) // a plain struct
	return body
}

func (t table) answer(digests []wire.Digest) []byte {
	var body []byte
	for _, d := range digests {
		body = append(binary.LittleEndian.AppendUint32(body, uint32(len(t.pages[d]))), t.pages[d]...)
	}
	return body
}

// known is the outcome of a key that is in the table. Its subscription does not work, so
// that no callout is made: the emulated host gives ids twice where answers do not come in the
// order of the callouts.
const known = "subscription_not_active"

// outcome is the reason of a refusal.
func (w *worker) outcome(key string) string {
	w.t.Helper()
	stream := w.host.InitializeHttpContext()
	defer w.host.CompleteHttpContext(stream)
	w.host.CallOnRequestHeaders(stream, [][2]string{{":method", "GET"}, {":path", "/demo/"}, {":authority", "h"}, {"x-key", key}}, true)
	sent := w.host.GetSentLocalResponse(stream)
	if sent == nil {
		w.t.Fatal("the request was not refused")
	}
	for _, h := range sent.Headers {
		if h[0] == "x-tollgate-reason" {
			return h[1]
		}
	}
	return "refused without a reason"
}

func (w *worker) wantOutcomes(when string, want map[string]string) {
	w.t.Helper()
	for key, want := range want {
		if got := w.outcome(key); got != want {
			w.t.Errorf("%s, key %q: %s, want %s", when, key, got, want)
		}
	}
}

// twenty keys are more pages than one answer has.
func twenty() []string { return strings.Fields("a b c d e f g h i j k l m n o p q r s t") }

// TestATableIsTakenWhenAllOfItIsThere: until then the one before serves, and of the next
// only the pages are fetched that moved.
func TestATableIsTakenWhenAllOfItIsThere(t *testing.T) {
	w, first := newWorker(t), newTable(1, twenty()...)
	w.host.Tick()
	w.wantWatch("")
	w.answer("200", first.body())
	asked := w.wantPages()
	if len(asked) != wire.PagesMax {
		t.Errorf("asked for %d pages at once, want %d", len(asked), wire.PagesMax)
	}
	w.answer("200", first.answer(asked))
	w.wantOutcomes("half-way", map[string]string{"a": "no_snapshot"})
	rest := w.wantPages()
	if got := len(asked) + len(rest); got != len(first.pages) || slices.ContainsFunc(rest, func(d wire.Digest) bool { return slices.Contains(asked, d) }) {
		t.Errorf("asked for %d pages, want each of %d once", got, len(first.pages))
	}
	w.answer("200", first.answer(rest))
	w.wantWatch(first.snapshot.Revision.String())
	w.wantOutcomes("with the first", map[string]string{"a": known, "t": known, "u": "key_unknown"})

	second := newTable(2, append([]string{"u"}, twenty()[1:]...)...) // u in the place of a
	w.answer("200", second.body())
	w.wantOutcomes("while the second comes", map[string]string{"a": known, "t": known, "u": "key_unknown"})
	if asked = w.wantPages(); len(asked) != 1 {
		t.Errorf("asked for %d pages, want the one of keys", len(asked))
	}
	w.answer("200", second.answer(asked))
	w.wantOutcomes("with the second", map[string]string{"a": "key_unknown", "t": known, "u": known})
	w.wantWatch(second.snapshot.Revision.String())

	w.answer("200", newTable(3, twenty()...).body()) // a is back; its page was let go
	asked = w.wantPages()
	w.answer("200", first.answer(asked))
	w.wantOutcomes("with the third", map[string]string{"a": known, "u": "key_unknown"})
}

// TestPagesThatDoNotCome: whatever is answered in their place, the table held serves on.
func TestPagesThatDoNotCome(t *testing.T) {
	first, second := newTable(1, "a"), newTable(2, twenty()...)
	good := func(asked []wire.Digest) []byte { return second.answer(asked) }
	for name, c := range map[string]struct {
		status string
		body   func(asked []wire.Digest) []byte
		next   string // path of the callout with the next tick
	}{
		"nobody answers":    {"", nil, wire.PathPages},
		"unavailable":       {"503", nil, wire.PathPages},
		"gone":              {"404", nil, wire.PathWatch},
		"nothing":           {"200", func([]wire.Digest) []byte { return nil }, ""},
		"cut short":         {"200", func(a []wire.Digest) []byte { b := good(a); return b[:len(b)-1] }, ""},
		"too much":          {"200", func(a []wire.Digest) []byte { return append(good(a), 0) }, ""},
		"one too few":       {"200", func(a []wire.Digest) []byte { return good(a[1:]) }, ""},
		"in another order":  {"200", func(a []wire.Digest) []byte { a = slices.Clone(a); slices.Reverse(a); return good(a) }, ""},
		"a byte is another": {"200", func(a []wire.Digest) []byte { b := good(a); b[100]++; return b }, ""},
		"a long page":       {"200", func(a []wire.Digest) []byte { return append([]byte{0, 0, 16, 0}, make([]byte, 1<<20)...) }, ""},
		"a length below 0":  {"200", func(a []wire.Digest) []byte { return []byte{255, 255, 255, 255, 0, 0} }, ""},
		"an empty page":     {"200", func(a []wire.Digest) []byte { return []byte{0, 0, 0, 0} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorker(t)
			w.host.Tick()
			w.next()
			w.answer("200", first.body())
			w.answer("200", first.answer(w.wantPages()))
			w.wantWatch(first.snapshot.Revision.String())
			w.answer("200", second.body())
			done := w.wantPages()
			w.answer("200", good(done)) // the first of two calls
			asked := w.wantPages()
			var body []byte
			if c.body != nil {
				body = c.body(asked)
			}
			w.answer(c.status, body)
			w.wantOutcomes("after that", map[string]string{"a": known, "b": "key_unknown"})
			if path, _ := w.next(); path != "" {
				t.Errorf("called %s at once", path)
			}
			w.host.Tick()
			switch path, _ := w.next(); {
			case path != c.next:
				t.Fatalf("with the next tick: called %q, want %q", path, c.next)
			case path == "":
				return
			case path == wire.PathWatch: // a third snapshot, most of whose pages were fetched
				w.answer("200", newTable(3, append(twenty(), "z")...).body())
			}
			again := w.wantPages()
			for _, d := range again {
				if slices.Contains(done, d) {
					t.Errorf("fetched page %s again", d)
				}
			}
			third := newTable(3, append(twenty(), "z")...)
			for d, page := range second.pages {
				third.pages[d] = page
			}
			w.answer("200", third.answer(again))
			w.wantOutcomes("in the end", map[string]string{"b": known, "x": "key_unknown"})
		})
	}
}

// TestPagesOfAnUnusableSnapshotAreNotFetched, and the one held stays.
func TestPagesOfAnUnusableSnapshotAreNotFetched(t *testing.T) {
	odd := newTable(1, "a")
	odd.snapshot.Policy.Vary = []wire.Field{{"request", "cookie"}}
	apart := newTable(1, "a")
	apart.snapshot.Keys[0] = 3 // pages that do not fit together
	for name, c := range map[string]struct {
		table  table
		fetch  bool
		reason string
	}{"a field that is not known": {odd, false, "no_snapshot"}, "pages that do not fit together": {apart, true, "no_snapshot"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorker(t)
			w.host.Tick()
			w.next()
			w.answer("200", c.table.body())
			if c.fetch {
				w.answer("200", c.table.answer(w.wantPages()))
			}
			w.host.Tick()
			if path, _ := w.next(); path != "" {
				t.Errorf("called %s", path)
			}
			w.wantOutcomes("after that", map[string]string{"a": c.reason})
		})
	}
}
