package filter

import (
	"encoding/binary"
	"errors"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"github.com/tollgate/tollgate/internal/wire"
)

// pagesTimeoutMillis bounds the answer to one call for pages.
const pagesTimeoutMillis = 5000

// The collector lets memory grow by some part of what lives before it runs. Most of what
// lives in a large table are pages, which hold no pointers and cost it nothing; memory that
// grew never shrinks. So it may grow by 16 MiB beside a small table, and by less and less
// beside a large one.
const (
	heapBytes = 4 << 20 // that live beside a table, about
	growthMax = 16 << 20
	growthMin = 4 << 20
)

// pace sets when the collector runs, for a table of that many bytes.
func pace(table int) {
	growth := max(growthMin, growthMax-table/4)
	debug.SetGCPercent(growth * 100 / (heapBytes + table))
}

// loading is a snapshot on its way: until all of its pages are there, the one held serves.
type loading struct {
	snapshot wire.Snapshot
	pages    wire.Pages
	missing  []wire.Digest
}

// load begins to take a snapshot, and ends it where no page is missing. An unusable one is
// dropped, and the one held stays.
func (p *plugin) load(body []byte) {
	snapshot, err := readSnapshot(body)
	if err == nil {
		err = p.gate.Usable(snapshot)
	}
	if err != nil {
		p.drop(err)
		return
	}
	l := &loading{snapshot: snapshot, pages: p.still(snapshot)}
	p.fetched = nil
	if l.missing = p.gate.Missing(snapshot, l.pages); len(l.missing) > 0 {
		p.loading = l
		pace(p.gate.TableBytes() + len(l.missing)*wire.PageMax)
		p.fetch()
		return
	}
	p.take(l)
}

// still are the pages that were fetched for an earlier snapshot and serve this one.
func (p *plugin) still(s wire.Snapshot) wire.Pages {
	pages := wire.Pages{}
	if len(p.fetched) > 0 {
		for _, digest := range s.Missing(func(wire.Digest) bool { return false }) {
			if page := p.fetched[digest]; page != nil {
				pages[digest] = page
			}
		}
	}
	return pages
}

// drop gives a snapshot up; what it fetched goes with it.
func (p *plugin) drop(err error) {
	proxywasm.LogError("tollgate: " + err.Error() + "; the snapshot held stays")
	p.loading = nil
	p.nextWatch = time.Now().Add(badSnapshotPause)
}

// fetch asks for the next pages of the snapshot on its way. The sidecar keeps pages for a
// while after they were replaced; where one is gone all the same, the next snapshot goes on
// with those that are there.
func (p *plugin) fetch() {
	l := p.loading
	asked := l.missing[:min(len(l.missing), wire.PagesMax)]
	var path strings.Builder
	path.WriteString(wire.PathPages)
	for i, digest := range asked {
		path.WriteByte("?&"[min(i, 1)])
		path.WriteString(wire.PagesDigest + "=" + digest.String())
	}
	p.fetching = p.dispatch("GET", path.String(), nil, pagesTimeoutMillis, func(status string, size int) {
		defer p.recovered("pages")
		p.fetching = false
		switch status {
		case "200":
			if err := readPages(asked, size, l.pages); err != nil {
				p.drop(err)
				return
			}
			if l.missing = l.missing[len(asked):]; len(l.missing) > 0 {
				p.fetch()
				return
			}
			p.take(l)
		case "404":
			p.loading, p.fetched = nil, l.pages // the tick watches
		default: // the tick tries again
		}
	}) == nil
}

var errPages = errors.New("the sidecar's pages are not readable")

// readPages reads the answer to the active call into pages: each page into memory of its own
// size, so that nothing is left over.
func readPages(asked []wire.Digest, size int, pages wire.Pages) error {
	at := 0
	next := func(n int) ([]byte, error) {
		if n <= 0 || n > size-at {
			return nil, errPages
		}
		piece, err := proxywasm.GetHttpCallResponseBody(at, n)
		if err != nil || len(piece) != n {
			return nil, errPages
		}
		at += n
		return piece, nil
	}
	for _, digest := range asked {
		head, err := next(4)
		if err != nil {
			return err
		}
		page, err := next(int(binary.LittleEndian.Uint32(head)))
		if err != nil {
			return err
		}
		if wire.PageDigest(page) != digest {
			return errors.New("a page is not what the snapshot says")
		}
		pages[digest] = page
	}
	if at != size {
		return errPages
	}
	return nil
}

// take makes a snapshot the one held, and watches for the next one.
func (p *plugin) take(l *loading) {
	p.loading = nil
	refresh, err := p.gate.Load(l.snapshot, l.pages, time.Now())
	if err != nil {
		p.drop(err)
		return
	}
	if len(refresh) > 0 {
		p.refresh(refresh)
	}
	*l = loading{} // the collector need not wait until its callers have returned
	pace(p.gate.TableBytes())
	runtime.GC()
	p.watch()
}
