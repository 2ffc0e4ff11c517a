package audit

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/sidecar/database"
)

// page is how many rows Verify reads at a time.
const page = 1000

// Report is what Verify found.
type Report struct {
	// Head is the end of the chain that the database names. Noted elsewhere, it is what a
	// later Verify expects.
	Head Head
	Rows int64 // that were read and fit
	// Broken is the first place where the chain does not hold; nil where it does.
	Broken *Break
}

// Break is a place where a chain does not hold.
type Break struct {
	ID  int64 // of the row; 0: of none
	Why string
}

// ParseHead reads what Head.String wrote.
func ParseHead(text string) (Head, error) {
	id, digits, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(id, 10, 64)
	hash, hexErr := hex.DecodeString(digits)
	if err != nil || hexErr != nil || n < 0 || len(hash) != sha256.Size {
		return Head{}, errors.New("a head is ID:HASH, a number and 64 hexadecimal digits, as tollgate audit verify prints it")
	}
	return Head{ID: n, Hash: [sha256.Size]byte(hash)}, nil
}

// Verify reads the whole chain, oldest row first, up to the head that it has at the
// beginning, and says where it does not hold: a row was changed, removed or put in, or the
// end is not where the database says it is. Whoever can write to the database can also make
// a whole new chain, or cut the end off and name another: that is only found with expect, a
// head that was noted elsewhere, which must be in the chain. Pass nil where there is none.
//
// An error says that it could not be read, not that it is broken.
func Verify(ctx context.Context, db *database.DB, expect *Head) (Report, error) {
	v := verifier{expect: expect, at: math.MinInt64} // the first row must be 1: others may have been put before it
	if err := db.View(ctx, "verifying the audit", func(tx *database.Tx) error { return v.begin(ctx, tx) }); err != nil {
		return Report{}, err
	}
	for more := true; more && v.Broken == nil; {
		from := v
		// Pages are of several transactions: what was read does not change, and one of
		// all pages would keep the database from tidying up.
		if err := db.View(ctx, "verifying the audit", func(tx *database.Tx) (err error) {
			v = from
			more, err = v.page(ctx, tx)
			return err
		}); err != nil {
			return Report{}, err
		}
	}
	v.end()
	return v.Report, nil
}

// verifier is one run of Verify.
type verifier struct {
	Report
	expect *Head
	last   Head          // of the rows that fit
	at     int64         // the id of the last row that was read
	beyond sql.NullInt64 // the first row after Head
}

func (v *verifier) breaks(id int64, why string, args ...any) {
	if v.Broken == nil {
		v.Broken = &Break{ID: id, Why: fmt.Sprintf(why, args...)}
	}
}

// begin reads the head, and whether there is anything after it, in one transaction.
func (v *verifier) begin(ctx context.Context, tx *database.Tx) error {
	v.Report = Report{} // it may run again
	var hash []byte
	err := tx.QueryRow(ctx, `SELECT id, hash FROM audit_head`).Scan(&v.Head.ID, &hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		v.breaks(0, "the row that names the end of the chain is gone")
		return nil
	case err != nil:
		return err
	}
	copy(v.Head.Hash[:], hash)
	if whole := len(hash) == sha256.Size; !whole && (v.Head.ID != 0 || len(hash) > 0) {
		v.breaks(v.Head.ID, "the end of the chain is named with a hash of %d bytes instead of %d", len(hash), sha256.Size)
		return nil
	}
	return tx.QueryRow(ctx, `SELECT MIN(id) FROM audit WHERE id > ?`, v.Head.ID).Scan(&v.beyond)
}

// page reads the next rows, and says whether there may be more.
func (v *verifier) page(ctx context.Context, tx *database.Tx) (more bool, err error) {
	n := 0
	err = each(ctx, tx, ` WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, []any{v.at, v.Head.ID, page}, func(e *Entry) {
		n++
		v.at = e.ID
		v.take(e)
	})
	return n == page, err
}

// take looks at the next row.
func (v *verifier) take(e *Entry) {
	want := v.last.ID + 1
	switch {
	case v.Broken != nil:
	case e.ID < want:
		v.breaks(e.ID, "row %d was put in: the first row is 1", e.ID)
	case e.ID > want:
		v.breaks(want, "row %d is gone", want)
	case e.chained(v.last.Hash) != e.Hash:
		v.breaks(e.ID, "row %d does not fit its hash and the row before: one of them was changed, removed or put in", e.ID)
	case v.expect != nil && v.expect.ID == e.ID && v.expect.Hash != e.Hash:
		v.breaks(e.ID, "row %d is not the one that was noted: the chain was written anew", e.ID)
	default:
		v.last = Head{e.ID, e.Hash}
		v.Rows++
	}
}

// end looks at where the rows ended.
func (v *verifier) end() {
	switch {
	case v.Broken != nil:
	case v.last.ID < v.Head.ID:
		v.breaks(v.last.ID+1, "row %d is gone: the chain ends with %d", v.last.ID+1, v.Head.ID)
	case v.last != v.Head:
		v.breaks(v.Head.ID, "row %d is not the end that the database names: one of them was changed", v.Head.ID)
	case v.beyond.Valid:
		v.breaks(v.beyond.Int64, "row %d stands after the end of the chain, which is %d: it was put in, or the end was set back", v.beyond.Int64, v.Head.ID)
	case v.expect != nil && v.expect.ID > v.last.ID:
		v.breaks(v.last.ID+1, "the chain was cut off: it ends with %d, and %d was noted", v.last.ID, v.expect.ID)
	}
}
