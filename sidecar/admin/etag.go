package admin

import (
	"net/http"
	"strconv"
	"strings"
)

// etag is the ETag of a revision (RFC 9110, section 8.8.3).
func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// Matching is what a change of something takes.
type Matching struct {
	IfMatch  string `header:"If-Match" doc:"The ETag that it must have still, or *. Otherwise: 412."`
	TakeOver bool   `query:"take_over" doc:"Change it although another source manages it; it is the API's from then on."`
}

// revision is the one that must match; 0: any.
func (m *Matching) revision() (uint64, error) {
	text := strings.TrimSpace(m.IfMatch)
	if text == "" || text == "*" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.Trim(text, `"`), 10, 64)
	if err != nil || n == 0 || etag(n) != text { // no ETag of this API: it matches nothing
		return 0, problem(http.StatusPreconditionFailed, "moved", "If-Match has the ETag that was read, like %s, or *", etag(1))
	}
	return n, nil
}

// maxPage is the most that is on a page.
const maxPage = 1000

// Paging is what a list takes.
type Paging struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many there are on a page at most."`
	After string `query:"after" maxLength:"512" doc:"What the page before had as next."`
}

// withNext lists a page of items and the one after it, if there is one: only then has the page
// a next. list gives at most limit, and that at most maxPage, after the last one that it gave.
func withNext[Item any](limit int, list func(last *Item, limit int) ([]Item, error)) ([]Item, error) {
	found, err := list(nil, min(limit+1, maxPage))
	if err != nil || limit < maxPage || len(found) < maxPage {
		return found, err
	}
	more, err := list(&found[len(found)-1], 1)
	return append(found, more...), err
}

// page makes a page of items, of which one more than the limit was asked for. at gives an
// item's place.
func page[Item, Shown any](items []Item, limit int, at func(*Item) string, show func(*Item) Shown) List[Shown] {
	l := List[Shown]{Items: make([]Shown, 0, min(len(items), limit))}
	for i := range items[:min(len(items), limit)] {
		l.Items = append(l.Items, show(&items[i]))
	}
	if len(items) > limit {
		l.Next = at(&items[limit-1])
	}
	return l
}
