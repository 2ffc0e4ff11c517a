package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/audit"
	"github.com/tollgate/tollgate/sidecar/database"
)

// Write says who changes something, and on what condition.
type Write struct {
	Actor  string // as audited
	Origin string // where the call came from, as audited
	// Source marks what is changed: empty for the API, else a catalog file's, see FileSource.
	Source string
	// TakeOver changes also what another source manages; it is Source's from then on.
	TakeOver bool
	// Match is the revision that the object must have; 0: any.
	Match uint64
	// Operator: it comes from the file that the sidecar was started with. Only then may a
	// secret be anywhere; else Options.AllowSecret says where.
	Operator bool
	// Limited: who writes may not name a secret of a backend, nor say where one is sent.
	Limited bool
	// Once is what Once was asked before the write; nil: it was not.
	Once *OnceKey
}

// OnceKey is the key of a request that runs once, see Once.
type OnceKey struct{ Actor, Key string }

// FileSource is the source of what a catalog file declares.
func FileSource(name string) string { return "file:" + name }

// Why a change was refused. None of them says that anything was changed.
var (
	ErrNotFound = errors.New("there is none")
	ErrExists   = errors.New("it exists already")
	// ErrMoved: the object has another revision than Write.Match.
	ErrMoved = errors.New("it was changed meanwhile")
)

// ManagedError says that another source manages an object.
type ManagedError struct {
	Kind, Name, Source string
	// Why is what the other source did that stays as it is; empty: it manages the object.
	Why string
}

func (e *ManagedError) Error() string {
	if e.Why != "" {
		return fmt.Sprintf("%s %q %s", e.Kind, e.Name, e.Why)
	}
	manager := "the API"
	if file, ok := strings.CutPrefix(e.Source, "file:"); ok {
		manager = "the catalog file " + file
	}
	return fmt.Sprintf("%s %q is managed by %s: change it there, or take it over", e.Kind, e.Name, manager)
}

// InUseError says that an object cannot go, or change so, while others need it.
type InUseError struct {
	Kind, Name string
	By         []string // "subscription alice", at most ten
	More       int      // beyond By
}

func (e *InUseError) Error() string {
	text := fmt.Sprintf("%s %q is needed by %s", e.Kind, e.Name, strings.Join(e.By, ", "))
	if e.More > 0 {
		text += fmt.Sprintf(" and %d more", e.More)
	}
	return text
}

// StateError says that something does not go in the state in which a subscription is.
type StateError struct {
	Code string // stable, snake_case
	Text string
}

func (e *StateError) Error() string { return e.Text }

// InvalidError says what is wrong with an object. Fields are relative to the object.
type InvalidError struct{ Mistakes []catalog.Mistake }

func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.Message
		if m.Field != "" {
			lines[i] = m.Field + ": " + m.Message
		}
	}
	return strings.Join(lines, "; ")
}

// changing is one transaction that changes objects, subscriptions or keys: it is alone, it
// has a number, and what it did is audited with it or not at all.
type changing struct {
	*Store
	ctx    context.Context
	tx     *database.Tx
	write  Write
	now    time.Time
	number int64 // of this change
	// configures is set where the organization, an API, a product or a group changes.
	configures bool
	noted      bool // something was, see note
	audit      []audit.Entry
}

// change runs f in a transaction. Where f notes nothing for the audit, nothing was changed,
// and the number of changes does not move.
func (s *Store) change(ctx context.Context, doing string, w Write, f func(*changing) error) error {
	changed := false
	err := s.db.Transact(ctx, doing, func(tx *database.Tx) error {
		changed = false
		c := &changing{Store: s, ctx: ctx, tx: tx, write: w, now: s.now().UTC().Truncate(time.Millisecond)}
		if err := tx.QueryRow(ctx, `SELECT change FROM meta`+s.db.Dialect().ForUpdate()).Scan(&c.number); err != nil {
			return err
		}
		c.number++
		if err := f(c); err != nil {
			return err
		}
		if changed = c.noted; !changed {
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE meta SET change = ?`, c.number); err != nil {
			return err
		}
		if c.configures {
			if _, err := tx.Exec(ctx, `UPDATE meta SET configured = ?`, c.number); err != nil {
				return err
			}
		}
		if err := c.done(); err != nil {
			return err
		}
		return c.flush()
	})
	if err == nil && changed && s.options.OnChange != nil {
		s.options.OnChange()
	}
	return err
}

// done notes with the change that the request which made it is done, so that it does not run
// again where its answer is lost.
func (c *changing) done() error {
	once := c.write.Once
	if once == nil {
		return nil
	}
	_, err := c.tx.Exec(c.ctx, `UPDATE idempotency SET status = ? WHERE actor = ? AND key = ? AND status = 0`, statusDone, shown(once.Actor), shown(once.Key))
	return err
}

// flush writes what was noted so far. Who appends to the audit waits for this transaction
// from then on.
func (c *changing) flush() error {
	err := audit.Append(c.ctx, c.tx, c.db.Dialect(), c.audit)
	c.audit = c.audit[:0]
	return err
}

// note audits what was done to an object. before and after are marshalled; nil: nothing.
func (c *changing) note(action, kind, name string, before, after any) {
	c.noted = true
	c.audit = append(c.audit, audit.Entry{Time: c.now, Actor: c.write.Actor, Origin: c.write.Origin,
		Action: action, Kind: kind, Name: name, Before: document(before), After: document(after)})
}

func document(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil { // our own structs: they always are
		return ""
	}
	return string(text)
}

// allowed says whether the write may change what source manages.
func (c *changing) allowed(kind, name, source string) error {
	if source == c.write.Source || c.write.TakeOver || source == FileSource("") && strings.HasPrefix(c.write.Source, "file:") {
		return nil
	}
	return &ManagedError{Kind: kind, Name: name, Source: source}
}
