package store_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// content is all that a database holds: the bytes of SQLite's files, or the rows of every
// table of PostgreSQL, as text and with the bytes that it shows in hexadecimal.
func content(t *testing.T, at string) []byte {
	t.Helper()
	var all bytes.Buffer
	if !strings.HasPrefix(at, "postgres") {
		for _, name := range []string{at, at + "-wal"} {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		return all.Bytes()
	}
	conn, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	tables := texts(t, conn, `SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'`)
	for _, table := range tables {
		for _, row := range texts(t, conn, `SELECT r::text FROM `+pgx.Identifier{table}.Sanitize()+` r`) {
			all.WriteString(row)
			for field := range strings.SplitSeq(row, `\\x`) {
				field, _, _ = strings.Cut(field, `"`)
				if b, err := hex.DecodeString(field); err == nil {
					all.Write(b)
				}
			}
		}
	}
	return all.Bytes()
}

func texts(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}
