package audit_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
)

// tamper does to the database what only its owner can.
func tamper(t *testing.T, db *database.DB, statements ...string) {
	t.Helper()
	unlock := []string{`DROP TRIGGER audit_no_update`, `DROP TRIGGER audit_no_delete`}
	if db.Dialect() == database.PostgreSQL {
		unlock = []string{`DROP TRIGGER audit_no_change ON audit`}
	}
	if err := db.Transact(t.Context(), "tampering", func(tx *database.Tx) error {
		for _, statement := range append(unlock, statements...) {
			if _, err := tx.Exec(t.Context(), statement); err != nil {
				return fmt.Errorf("%s: %w", statement, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

const copied = `INSERT INTO audit (id, t, actor, origin, action, kind, name, before_state, after_state, hash)
	SELECT %s, t, actor, origin, action, kind, name, before_state, after_state, hash FROM audit WHERE id = %d`

func TestVerifyFindsWhatWasDoneToRows(t *testing.T) {
	moved := []string{} // rows 5 and after are one later
	for id := 10; id >= 5; id-- {
		moved = append(moved, fmt.Sprintf(`UPDATE audit SET id = %d WHERE id = %d`, id+1, id))
	}
	closed := []string{`DELETE FROM audit WHERE id = 5`} // and the gap is closed
	for id := 6; id <= 10; id++ {
		closed = append(closed, fmt.Sprintf(`UPDATE audit SET id = %d WHERE id = %d`, id-1, id))
	}
	type test struct {
		statements []string
		id         int64 // of the row that is named
		why        string
		rows       int64 // that fit before it
	}
	tests := map[string]test{
		"the first row removed": {[]string{`DELETE FROM audit WHERE id = 1`}, 1, "row 1 is gone", 0},
		"a row removed":         {[]string{`DELETE FROM audit WHERE id = 5`}, 5, "row 5 is gone", 4},
		"and the gap closed":    {closed, 5, "changed, removed or put in", 4},
		"and the head set back": {append(closed, `UPDATE audit_head SET id = 9`), 5, "changed, removed or put in", 4},
		"the last row removed":  {[]string{`DELETE FROM audit WHERE id = 10`}, 10, "row 10 is gone: the chain ends with 10", 9},
		"all rows removed":      {[]string{`DELETE FROM audit`}, 1, "row 1 is gone: the chain ends with 10", 0},
		"a row put in between":  {append(moved, fmt.Sprintf(copied, "5", 3), `UPDATE audit_head SET id = 11`), 5, "changed, removed or put in", 4},
		"a row put in at first": {[]string{fmt.Sprintf(copied, "0", 1)}, 0, "row 0 was put in", 0},
		"one below zero":        {[]string{fmt.Sprintf(copied, "-7", 1)}, -7, "row -7 was put in", 0},
		"a row put in at last":  {[]string{fmt.Sprintf(copied, "11", 10)}, 11, "row 11 stands after the end", 10},
		"far behind the end":    {[]string{fmt.Sprintf(copied, "2000", 10)}, 2000, "row 2000 stands after the end", 10},
		"two rows swapped": {[]string{`UPDATE audit SET id = 99 WHERE id = 4`, `UPDATE audit SET id = 4 WHERE id = 5`, `UPDATE audit SET id = 5 WHERE id = 99`},
			4, "changed, removed or put in", 3},
		"another hash":             {[]string{`UPDATE audit SET hash = (SELECT hash FROM audit WHERE id = 3) WHERE id = 4`}, 4, "changed", 3},
		"no hash":                  {[]string{`UPDATE audit SET hash = (SELECT hash FROM audit_head WHERE id < 0 UNION ALL SELECT substr(hash, 1, 0) FROM audit WHERE id = 1)`}, 1, "changed", 0},
		"the head's hash":          {[]string{`UPDATE audit_head SET hash = (SELECT hash FROM audit WHERE id = 9)`}, 10, "row 10 is not the end that the database names", 10},
		"the head set back":        {[]string{`UPDATE audit_head SET id = 9, hash = (SELECT hash FROM audit WHERE id = 9)`}, 10, "row 10 stands after the end", 9},
		"the head set forward":     {[]string{`UPDATE audit_head SET id = 12`}, 11, "row 11 is gone: the chain ends with 12", 10},
		"the first place is named": {[]string{fmt.Sprintf(copied, "11", 10), `UPDATE audit SET name = 'x' WHERE id = 8`}, 8, "changed", 7},
		"no head":                  {[]string{`DELETE FROM audit_head`}, 0, "names the end of the chain is gone", 0},
		"half a head":              {[]string{`UPDATE audit_head SET hash = substr(hash, 1, 16)`}, 10, "hash of 16 bytes", 0},
	}
	for _, column := range []string{"actor", "origin", "action", "kind", "name", "before_state", "after_state"} {
		tests["another "+column] = test{[]string{`UPDATE audit SET ` + column + ` = ` + column + ` || 'x' WHERE id = 7`}, 7, "changed", 6}
	}
	tests["another time"] = test{[]string{`UPDATE audit SET t = t + 1 WHERE id = 10`}, 10, "changed", 9}
	// Text that moves from one field into the next makes other bytes.
	tests["a border moved"] = test{[]string{`UPDATE audit SET action = 'subscription.approv', kind = 'esubscription' WHERE id = 2`}, 2, "changed", 1}

	inEach(t, func(t *testing.T, another making) {
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				db := another(t)
				add(t, db, numbered(10)...)
				if report := verified(t, db, nil); report.Broken != nil || report.Rows != 10 {
					t.Fatalf("before: %+v", report)
				}
				tamper(t, db, tc.statements...)
				report := verified(t, db, nil)
				if report.Broken == nil {
					t.Fatal("not found")
				}
				if report.Broken.ID != tc.id || !strings.Contains(report.Broken.Why, tc.why) || report.Rows != tc.rows {
					t.Errorf("row %d (%s) after %d that fit, want row %d (%s) after %d", report.Broken.ID, report.Broken.Why, report.Rows, tc.id, tc.why, tc.rows)
				}
			})
		}
	})
}

func TestVerifyFindsANewChainByAnOldHead(t *testing.T) {
	inEach(t, func(t *testing.T, another making) {
		db := another(t)
		add(t, db, numbered(10)...)
		noted := verified(t, db, nil).Head
		add(t, db, numbered(3)...)
		whole := verified(t, db, &noted)
		if whole.Broken != nil || whole.Rows != 13 {
			t.Fatalf("untouched: %+v", whole)
		}
		if report := verified(t, db, &audit.Head{}); report.Broken != nil {
			t.Errorf("expecting the empty chain's head: %+v", report.Broken)
		}
		rewritten := another(t)
		entries := numbered(13)
		entries[3].Actor = "somebody else"
		add(t, rewritten, entries...)
		cut := another(t)
		add(t, cut, numbered(9)...)
		for name, tc := range map[string]struct {
			db   *database.DB
			want audit.Break
		}{
			"written anew": {rewritten, audit.Break{ID: 10, Why: "row 10 is not the one that was noted: the chain was written anew"}},
			"cut off":      {cut, audit.Break{ID: 10, Why: "the chain was cut off: it ends with 9, and 10 was noted"}},
			"empty":        {another(t), audit.Break{ID: 1, Why: "the chain was cut off: it ends with 0, and 10 was noted"}},
		} {
			if report := verified(t, tc.db, nil); report.Broken != nil {
				t.Errorf("%s: expecting nothing: %+v", name, report.Broken)
			}
			if diff := cmp.Diff(&tc.want, verified(t, tc.db, &noted).Broken); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if report := verified(t, db, &audit.Head{ID: 13, Hash: noted.Hash}); report.Broken == nil || report.Broken.ID != 13 {
			t.Errorf("the last row has another hash: %+v", report.Broken)
		}
	})
}

// A chain of several pages, and one that ends with a page.
func TestVerifyReadsPages(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		add(t, db, numbered(2000)...)
		if report := verified(t, db, nil); report.Broken != nil || report.Rows != 2000 {
			t.Errorf("2000 rows: %+v", report)
		}
		add(t, db, numbered(501)...)
		if report := verified(t, db, nil); report.Broken != nil || report.Rows != 2501 {
			t.Errorf("2501 rows: %+v", report)
		}
		tamper(t, db, `UPDATE audit SET name = 'x' WHERE id = 2001`)
		if report := verified(t, db, nil); report.Broken == nil || report.Broken.ID != 2001 || report.Rows != 2000 {
			t.Errorf("row 2001 changed: %+v", report)
		}
	})
}

func TestAnEmptyChainHolds(t *testing.T) {
	inBoth(t, func(t *testing.T, db *database.DB) {
		if diff := cmp.Diff(audit.Report{}, verified(t, db, nil)); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
	})
}
