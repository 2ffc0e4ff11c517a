package backup

import (
	"context"
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/sidecar/database"
)

const (
	// fetched is how many rows are read from PostgreSQL at a time.
	fetched = 1000
	// bound is about how many values one statement inserts: far below what SQLite and
	// PostgreSQL take.
	bound = 900
)

// side is a transaction and the SQL that it speaks.
type side struct {
	tx      statements
	dialect database.Dialect
}

// copying moves rows from one database to another.
type copying struct{ from, to side }

// all copies tables into those of a new store. What migrations put there is replaced.
func (c *copying) all(ctx context.Context, tables []table) error {
	for i := len(tables) - 1; i >= 0; i-- {
		if err := c.to.empty(ctx, &tables[i]); err != nil {
			return fmt.Errorf("emptying table %s: %w", tables[i].name, err)
		}
	}
	for i := range tables {
		if err := c.table(ctx, &tables[i]); err != nil {
			return fmt.Errorf("copying table %s: %w", tables[i].name, err)
		}
	}
	return nil
}

// empty deletes rows where there are some: the audit does not let itself be deleted from.
func (s *side) empty(ctx context.Context, t *table) error {
	has, err := s.has(ctx, t.name)
	if err != nil || !has {
		return err
	}
	_, err = s.tx.Exec(ctx, `DELETE FROM `+quoted(t.name))
	return err
}

func (s *side) has(ctx context.Context, name string) (has bool, err error) {
	err = s.tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+quoted(name)+`)`).Scan(&has)
	return has, err
}

func (c *copying) table(ctx context.Context, t *table) error {
	in := inserting{side: c.to, table: t}
	if err := c.from.each(ctx, t, func(row []any) error { return in.add(ctx, row) }); err != nil {
		return err
	}
	if err := in.flush(ctx); err != nil {
		return err
	}
	if !t.counted {
		return nil
	}
	last, err := c.from.counter(ctx, t)
	if err != nil {
		return fmt.Errorf("reading its counter: %w", err)
	}
	if err := c.to.count(ctx, t, last); err != nil {
		return fmt.Errorf("setting its counter: %w", err)
	}
	return nil
}

// each calls f with the rows of a table; SQLite gives them in the order of its key. The row is
// only good until f returns.
func (s *side) each(ctx context.Context, t *table, f func([]any) error) error {
	if s.dialect == database.SQLite {
		_, err := s.some(ctx, t, t.selection(), f)
		return err
	}
	// A cursor: the driver would let the server send all of it, within one statement's time.
	cursor := quoted("copied_" + t.name)
	if _, err := s.tx.Exec(ctx, `DECLARE `+cursor+` NO SCROLL CURSOR FOR SELECT `+t.names()+` FROM `+quoted(t.name)); err != nil {
		return err
	}
	for {
		n, err := s.some(ctx, t, fmt.Sprintf(`FETCH %d FROM %s`, fetched, cursor), f)
		if err != nil {
			return err
		}
		if n < fetched {
			_, err := s.tx.Exec(ctx, `CLOSE `+cursor)
			return err
		}
	}
}

func (s *side) some(ctx context.Context, t *table, query string, f func([]any) error) (n int, err error) {
	rows, err := s.tx.Query(ctx, query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row, into := make([]any, len(t.columns)), make([]any, len(t.columns))
	for i := range row {
		into[i] = &row[i]
	}
	for ; rows.Next(); n++ {
		if err := rows.Scan(into...); err != nil {
			return n, err
		}
		for i := range row {
			if row[i], err = t.columns[i].value(row[i]); err != nil {
				return n, err
			}
		}
		if err := f(row); err != nil {
			return n, err
		}
	}
	return n, rows.Err()
}

// counter is the last number that a table's counter gave out.
func (s *side) counter(ctx context.Context, t *table) (last int64, err error) {
	if s.dialect == database.SQLite {
		err = s.tx.QueryRow(ctx, `SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = ?`, t.name).Scan(&last)
		return last, err
	}
	var sequence string
	if err := s.tx.QueryRow(ctx, `SELECT pg_get_serial_sequence(?, ?)`, quoted(t.name), t.key[0]).Scan(&sequence); err != nil {
		return 0, err
	}
	err = s.tx.QueryRow(ctx, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM `+sequence).Scan(&last)
	return last, err
}

// count sets the last number that a table's counter gave out.
func (s *side) count(ctx context.Context, t *table, last int64) error {
	if last < 1 {
		return nil
	}
	if s.dialect == database.PostgreSQL {
		_, err := s.tx.Exec(ctx, `SELECT setval(pg_get_serial_sequence(?, ?), ?)`, quoted(t.name), t.key[0], last)
		return err
	}
	if _, err := s.tx.Exec(ctx, `DELETE FROM sqlite_sequence WHERE name = ?`, t.name); err != nil {
		return err
	}
	_, err := s.tx.Exec(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)`, t.name, last)
	return err
}

// inserting collects rows for one statement.
type inserting struct {
	side
	table  *table
	values []any
}

func (in *inserting) add(ctx context.Context, row []any) error {
	in.values = append(in.values, row...)
	if n := len(in.table.columns); len(in.values) < max(bound/n, 1)*n {
		return nil
	}
	err := in.insert(ctx, in.values)
	in.values = in.values[:0]
	return err
}

// flush inserts what is left row by row: statements of each length would have to be prepared.
func (in *inserting) flush(ctx context.Context) error {
	n := len(in.table.columns)
	for ; len(in.values) > 0; in.values = in.values[n:] {
		if err := in.insert(ctx, in.values[:n]); err != nil {
			return err
		}
	}
	return nil
}

func (in *inserting) insert(ctx context.Context, values []any) error {
	n := len(in.table.columns)
	row := "(" + strings.Repeat(", ?", n)[2:] + ")"
	overriding := ""
	if in.dialect == database.PostgreSQL {
		overriding = " OVERRIDING SYSTEM VALUE"
	}
	_, err := in.tx.Exec(ctx, `INSERT INTO `+quoted(in.table.name)+` (`+in.table.names()+`)`+overriding+` VALUES `+
		strings.Repeat(", "+row, len(values)/n)[2:], values...)
	return err
}
