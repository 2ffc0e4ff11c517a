package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// statements runs them: a *database.Tx, or a connection to a file that is not a store yet.
type statements interface {
	Exec(ctx context.Context, query string, args ...any) (sql.Result, error)
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) *sql.Row
}

// connection is a statements of SQLite.
type connection struct{ *sql.Conn }

func (c connection) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return c.ExecContext(ctx, query, args...)
}

func (c connection) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return c.QueryContext(ctx, query, args...)
}

func (c connection) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return c.QueryRowContext(ctx, query, args...)
}

// table is one of a store's, as SQLite has it. PostgreSQL has the same tables and columns.
type table struct {
	name    string
	columns []column
	key     []string // columns of the primary key
	counted bool     // key is given out by a counter that never goes back
}

type column struct {
	name, kind string
	null       bool // it may be NULL
}

// The kinds of columns.
const (
	integer = "integer"
	boolean = "boolean"
	text    = "text"
	blob    = "blob"
	real    = "real"
)

// versions is the table of the migrations themselves. It is not copied: a copy has its own.
const versions = "goose_db_version"

// tablesOf is the tables of a SQLite store, each after those that its rows refer to.
func tablesOf(ctx context.Context, tx statements) ([]table, error) {
	names, err := list(ctx, tx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT IN (?, ?) ORDER BY name`,
		versions, sealTable)
	if err != nil {
		return nil, err
	}
	tables, refers := map[string]table{}, map[string][]string{}
	for _, name := range names {
		if tables[name], err = tableOf(ctx, tx, name); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		if refers[name], err = list(ctx, tx, `SELECT "table" FROM pragma_foreign_key_list(?)`, name); err != nil {
			return nil, err
		}
	}
	var ordered []table
	placed := map[string]bool{}
	for len(names) > 0 {
		left := len(names)
		names = slices.DeleteFunc(names, func(name string) bool {
			for _, other := range refers[name] {
				if other != name && !placed[other] {
					return false
				}
			}
			ordered, placed[name] = append(ordered, tables[name]), true
			return true
		})
		if len(names) == left {
			return nil, fmt.Errorf("tables %s refer to each other", strings.Join(names, ", "))
		}
	}
	return ordered, nil
}

func tableOf(ctx context.Context, tx statements, name string) (table, error) {
	t := table{name: name}
	var definition string
	if err := tx.QueryRow(ctx, `SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?`, name).Scan(&definition); err != nil {
		return t, err
	}
	t.counted = strings.Contains(strings.ToUpper(definition), "AUTOINCREMENT")
	rows, err := tx.Query(ctx, `SELECT name, type, "notnull" = 0 AND pk = 0 FROM pragma_table_info(?) ORDER BY cid`, name)
	if err != nil {
		return t, err
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.kind, &c.null); err != nil {
			return t, err
		}
		switch c.kind {
		case "INTEGER", "BIGINT": // BOOLEAN is one of its own: PostgreSQL has it
			c.kind = integer
		case "BOOLEAN", "TEXT", "BLOB", "REAL":
			c.kind = strings.ToLower(c.kind)
		default:
			return t, fmt.Errorf("column %s is of type %q", c.name, c.kind)
		}
		t.columns = append(t.columns, c)
	}
	if err := rows.Err(); err != nil {
		return t, err
	}
	t.key, err = list(ctx, tx, `SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk`, name)
	if err == nil && len(t.key) == 0 {
		err = errors.New("it has no primary key")
	}
	return t, err
}

// list is the texts of a query of one column.
func list(ctx context.Context, tx statements, query string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var texts []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		texts = append(texts, one)
	}
	return texts, rows.Err()
}

// quoted lists names of columns as SQL has them.
func quoted(names ...string) string { return `"` + strings.Join(names, `", "`) + `"` }

func (t *table) names() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return quoted(names...)
}

// selection reads all rows, in the order of their key.
func (t *table) selection() string {
	return `SELECT ` + t.names() + ` FROM ` + quoted(t.name) + ` ORDER BY ` + quoted(t.key...)
}

// value is what a database gave for the column, as both databases take it.
func (c *column) value(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		switch c.kind {
		case integer:
			return v, nil
		case boolean:
			if v == 0 || v == 1 {
				return v == 1, nil
			}
		}
	case bool:
		if c.kind == boolean {
			return v, nil
		}
	case float64:
		if c.kind == real {
			return v, nil
		}
	case string:
		if c.kind == text {
			return v, nil
		}
	case []byte:
		if c.kind == blob {
			return append([]byte{}, v...), nil // never nil, which would be NULL
		}
	case nil:
		switch {
		case c.kind == blob && !c.null: // how SQLite's driver gives an empty one
			return []byte{}, nil
		case c.kind != blob && c.null:
			return nil, nil
		}
	}
	return nil, fmt.Errorf("column %s is of type %s and holds a %T", c.name, c.kind, v)
}
