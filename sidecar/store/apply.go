package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

// Conflicts says what Apply does with what another source manages and the file declares
// otherwise.
type Conflicts string

// What becomes of conflicts.
const (
	ConflictsRefuse   Conflicts = "refuse" // nothing is applied; so it is unless given
	ConflictsKeep     Conflicts = "keep"   // they stay as they are
	ConflictsTakeOver Conflicts = "take_over"
)

// Application is a catalog file to be applied.
type Application struct {
	Catalog   *catalog.Catalog // as Parse returned it
	Secrets   Secrets          // for subscriptions' keys; may be nil where all are digests
	Conflicts Conflicts        // Write.TakeOver is ConflictsTakeOver
	// Prune deletes what the source declared before and the file does not any more. It is so
	// with Write.Operator; else that stays.
	Prune bool
	// DryRun changes nothing and says what would.
	DryRun bool
	Write  // Source is the file's, see FileSource; Match has no meaning here
}

// Plan is what an application changes, or would.
type Plan struct {
	Changes []PlannedChange
	// Kept are the conflicts: what stays as another source made it or, with an error, what is
	// in the way.
	Kept []ManagedError
	// Unpruned is what the file does not declare any more, and Prune would delete.
	Unpruned []PlannedChange
}

// PlannedChange is one change of a Plan.
type PlannedChange struct {
	Action string // create, update, delete; adopt where only the source changes
	Kind   string // of an object, or subscription
	Name   string
	// Before and After are what is audited; empty where there is nothing.
	Before, After json.RawMessage
}

// Apply makes the store hold what a catalog file declares, in one transaction, and returns
// what that changed: what the file declares is created or changed, what it declared before
// and does not any more is deleted where it prunes, and what others manage stays. An
// organization that is not in the file any more stays as well.
//
// A subscription keeps its id for as long as its name stays in the store, and gets it back,
// and its start, when the name returns with the same developer; a name that returns with
// another developer is another subscription. A slot for which the file gives no key keeps the
// key that the API made. Its revision moves when anything that hangs on it changed.
//
// What is there as the file declares it is no conflict, whoever manages it. What was declared
// before files had names becomes this file's where the file declares it; what the file does
// not declare of it is deleted by Write.Operator alone.
//
// A key that was revoked or replaced does not come back, nor does a subscription that the API
// rejected or cancelled: Plan.Kept has them. Taking over brings back the key alone.
//
// An error leaves the store as it was. It is a *ManagedError for each conflict that is in the
// way, joined, or an *InvalidError with every mistake, by fields of the file; none of them
// holds a key.
func (s *Store) Apply(ctx context.Context, a Application) (Plan, error) {
	doing := "applying the catalog"
	if a.TakeOver {
		a.Conflicts = ConflictsTakeOver
	}
	a.TakeOver = a.Conflicts == ConflictsTakeOver
	if name, ok := strings.CutPrefix(a.Source, "file:"); !ok || name == "" || !storable(name) || len(name) > maxSource {
		return Plan{}, fmt.Errorf("%s: %w", doing, mistaken("source", "must be the name of a file, of at most %d bytes", maxSource))
	}
	want, err := declared(a.Catalog, a.Secrets)
	if err != nil {
		return Plan{}, fmt.Errorf("%s: %w", doing, err)
	}
	var p *planning
	plan := func(c *changing) (func(*changing) error, error) {
		p = &planning{changing: c, file: a, want: slices.Clone(want)}
		if err := p.work(); err != nil || len(p.objects)+len(p.subs) == 0 {
			return nil, err
		}
		return p.execute, nil
	}
	if a.DryRun {
		err = s.view(ctx, doing, a.Write, func(c *changing) error {
			_, err := plan(c)
			return err
		})
	} else {
		err = s.planned(ctx, doing, a.Write, lastChange, plan)
	}
	if p == nil {
		return Plan{}, err
	}
	if err != nil {
		return Plan{Kept: p.conflicts}, err
	}
	return p.plan(), nil
}

// maxSource is the length in bytes of the longest name of a file.
const maxSource = 255

// planning is an application at work: what it has read, and what it is going to write.
type planning struct {
	*changing
	file Application
	want []Subscription // without ids; as in the file's order

	held      map[objectName]Object
	declares  map[objectName]declaredObject // by the file
	specs     map[objectName][]byte         // as they will be
	objects   []plannedObject               // deletions come first
	subs      []plannedSubscription
	untouched []Subscription      // live ones that were read and stay as they are
	read      map[uint32]bool     // the ids of the live ones that were read
	taken     map[[32]byte]string // keys of the file that others have, by their digests
	revoked   map[[32]byte]bool   // digests of keys of the file that are not to come back

	conflicts []ManagedError
	unpruned  []PlannedChange
	mistakes  []catalog.Mistake
}

// objectName names an object.
type objectName struct {
	kind Kind
	name string
}

// work reads the store and works out what to write, or why that does not go.
func (p *planning) work() error {
	if err := p.planObjects(); err != nil {
		return err
	}
	if err := p.planSubscriptions(); err != nil {
		return err
	}
	if len(p.conflicts) > 0 && p.file.Conflicts != ConflictsKeep && p.file.Conflicts != ConflictsTakeOver {
		errs := make([]error, len(p.conflicts))
		for i := range p.conflicts {
			errs[i] = &p.conflicts[i]
		}
		return errors.Join(errs...)
	}
	for _, step := range []func() error{p.alive, p.checkObjects, p.alive, p.checkSubscriptions, p.alive} {
		if err := step(); err != nil {
			return err
		}
	}
	if len(p.mistakes) > 0 {
		slices.SortFunc(p.mistakes, byPlace)
		return &InvalidError{Mistakes: p.mistakes}
	}
	return nil
}

// alive tells a server that the transaction goes on, which a large file can make it doubt.
func (p *planning) alive() error {
	var one int
	return p.tx.QueryRow(p.ctx, `SELECT 1`).Scan(&one)
}

// byPlace sorts mistakes by the lists and the items of the file.
func byPlace(a, b catalog.Mistake) int {
	listA, itemA, _ := strings.Cut(a.Field, "[")
	listB, itemB, _ := strings.Cut(b.Field, "[")
	numberA, _, _ := strings.Cut(itemA, "]")
	numberB, _, _ := strings.Cut(itemB, "]")
	i, _ := strconv.Atoi(numberA) // 0 where it is a name
	j, _ := strconv.Atoi(numberB)
	return cmp.Or(strings.Compare(listA, listB), i-j, strings.Compare(a.Field, b.Field), strings.Compare(a.Message, b.Message))
}

func (p *planning) mistake(field, format string, arguments ...any) {
	p.mistakes = append(p.mistakes, catalog.Mistake{Field: field, Message: fmt.Sprintf(format, arguments...)})
}

// attitude is what an application does with something that is there already.
type attitude int

const (
	own      attitude = iota // changes it, or deletes it
	unnamed                  // the same, and makes it its own; it was a file's that had no name
	foreign                  // leaves it as it is
	takeOver                 // changes it and makes it its own
)

// stance is how the application stands to what source manages.
func (p *planning) stance(source string) attitude {
	switch {
	case source == p.write.Source:
		return own
	case source == FileSource(""):
		return unnamed
	case p.file.Conflicts == ConflictsTakeOver:
		return takeOver
	}
	return foreign
}

// conflict notes what is managed elsewhere.
func (p *planning) conflict(kind, name, source string) {
	p.conflicts = append(p.conflicts, ManagedError{Kind: kind, Name: name, Source: source})
}

// prunes says whether what the file does not declare any more goes.
func (p *planning) prunes() bool { return p.file.Prune || p.write.Operator }

// leaves says whether what the file does not declare is what it declared before.
func (p *planning) leaves(source string) bool {
	return source == p.write.Source || source == FileSource("") && p.write.Operator
}

// keeps notes what the API did, and stays whatever the file declares.
func (p *planning) keeps(kind, name, why string) {
	p.conflicts = append(p.conflicts, ManagedError{Kind: kind, Name: name, Why: why})
}

// plan is the planning for people.
func (p *planning) plan() Plan {
	plan := Plan{Kept: p.conflicts, Unpruned: p.unpruned}
	for i := range p.subs {
		if sub := &p.subs[i]; sub.action == actionDelete {
			plan.Changes = append(plan.Changes, sub.change())
		}
	}
	for _, o := range p.objects {
		if o.action != actionSilent {
			plan.Changes = append(plan.Changes, PlannedChange{Action: o.action, Kind: string(o.kind), Name: o.name, Before: o.held.Spec, After: o.spec})
		}
	}
	for i := range p.subs {
		if sub := &p.subs[i]; sub.action != actionDelete && sub.action != actionSilent {
			plan.Changes = append(plan.Changes, sub.change())
		}
	}
	return plan
}

// Actions of planned changes. The last one is no change to people.
const (
	actionCreate = "create"
	actionUpdate = "update"
	actionDelete = "delete"
	actionAdopt  = "adopt"
	actionSilent = "silent" // of a file without a name, now this file's
)

// execute writes with c what was planned: what goes first, so that names, keys and what
// others need are free.
func (p *planning) execute(c *changing) error {
	p.changing = c
	if err := p.removeSubscriptions(); err != nil {
		return err
	}
	if err := p.writeObjects(); err != nil {
		return err
	}
	return p.writeSubscriptions()
}

// room writes the audit of what is done so far where that is much.
func (p *planning) room() error {
	if len(p.audit) < pageRows {
		return nil
	}
	return p.flush()
}

// sortedBy sorts by a text of each.
func sortedBy[T any](list []T, text func(T) string) {
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(text(a), text(b)) })
}
