package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
)

// Action is what an administrator does to a subscription.
type Action string

// The actions, from which states to which: see acts.
const (
	Approve Action = "approve"
	Reject  Action = "reject"
	Suspend Action = "suspend"
	Resume  Action = "resume"
	Cancel  Action = "cancel"
)

// Actions are all of them.
var Actions = []Action{Approve, Reject, Suspend, Resume, Cancel}

// acts are the life cycle. A subscription that has expired is an active one; rejected and
// cancelled are final. A catalog file may also declare one as expired.
var acts = map[Action]struct {
	from []wire.State
	to   wire.State
	done string
}{
	Approve: {[]wire.State{wire.StateSubmitted}, wire.StateActive, "approved"},
	Reject:  {[]wire.State{wire.StateSubmitted}, wire.StateRejected, "rejected"},
	Suspend: {[]wire.State{wire.StateActive}, wire.StateSuspended, "suspended"},
	Resume:  {[]wire.State{wire.StateSuspended}, wire.StateActive, "resumed"},
	Cancel:  {[]wire.State{wire.StateSubmitted, wire.StateActive, wire.StateSuspended, wire.StateExpired}, wire.StateCancelled, "cancelled"},
}

// maxNote is the longest note, in characters.
const maxNote = 1024

// StateAt is a subscription's state at a time, as people see it: an active one is expired
// from Expires on.
func (s *Subscription) StateAt(now time.Time) wire.State {
	if s.State == wire.StateActive && s.Expires != 0 && now.Unix() >= int64(s.Expires) {
		return wire.StateExpired
	}
	return s.State
}

// conflict says that something is not to be done in the state in which a subscription is,
// and what is.
func (c *changing) conflict(sub *Subscription, done string) *StateError {
	var possible []string
	for _, action := range Actions {
		if slices.Contains(acts[action].from, sub.State) {
			possible = append(possible, acts[action].done)
		}
	}
	state := sub.StateAt(c.now)
	text := fmt.Sprintf("subscription %q is %s and cannot be %s", sub.Name, StateName(state), done)
	switch {
	case len(possible) == 0:
		text += ": that is final, and what is needed is a new subscription"
	case state == wire.StateExpired:
		text += ": it can be " + alternatives(possible) + ", or get a later expiry"
	default:
		text += ": it can be " + alternatives(possible)
	}
	return &StateError{Code: "state_conflict", Text: text}
}

// alternatives are words as a sentence has them: "a, b or c".
func alternatives(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// Act moves a subscription to another state, with a note that says why; an earlier note
// goes. A *StateError with state_conflict says which acts are possible instead, one with
// subscriptions_limit that the developer has no more room; ErrNotFound, ErrMoved,
// *ManagedError, and *InvalidError for the note.
func (s *Store) Act(ctx context.Context, nameOrID string, action Action, note string, w Write) (Subscription, error) {
	act, known := acts[action]
	if !known {
		return Subscription{}, mistaken("action", "must be one of approve, reject, suspend, resume and cancel")
	}
	if fault := noteFault(note); fault != "" {
		return Subscription{}, mistaken("note", "%s", fault)
	}
	return s.changeSubscription(ctx, nameOrID, "subscription."+string(action), w, func(c *changing, sub *Subscription) error {
		if !slices.Contains(act.from, sub.State) {
			return c.conflict(sub, act.done)
		}
		sub.State, sub.Note = act.to, note
		return nil
	})
}

func noteFault(note string) string {
	if utf8.RuneCountInString(note) > maxNote {
		return fmt.Sprintf("must have at most %d characters", maxNote)
	}
	for _, r := range note {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || r == utf8.RuneError {
			return fmt.Sprintf("must not hold the character U+%04X", r)
		}
	}
	return ""
}

// SubscriptionChange says what changes of a subscription, besides its state and keys.
type SubscriptionChange struct {
	// Expires is when it ends: in whole seconds, in the future. Nil: as it is. To end it at
	// once there is Cancel, and Suspend.
	Expires *time.Time
	// NoExpiry lets it go on without end.
	NoExpiry bool
	// Attributes are all that it has then. Nil: as they are.
	Attributes map[string]string
}

// ChangeSubscription changes a subscription's expiry or attributes. One that has expired
// lives again with a later expiry. Where nothing differs nothing is written. Errors are
// *StateError with state_conflict where it is rejected or cancelled, or with
// subscriptions_limit where it would live again beside too many others; *InvalidError,
// ErrNotFound, ErrMoved, *ManagedError.
func (s *Store) ChangeSubscription(ctx context.Context, nameOrID string, change SubscriptionChange, w Write) (Subscription, error) {
	return s.changeSubscription(ctx, nameOrID, "subscription.update", w, func(c *changing, sub *Subscription) error {
		if final(sub.State) {
			return c.conflict(sub, "changed")
		}
		if err := change.check(c.now, sub); err != nil {
			return err
		}
		change.apply(sub)
		return nil
	})
}

func final(state wire.State) bool { return state == wire.StateRejected || state == wire.StateCancelled }

func (s *SubscriptionChange) check(now time.Time, sub *Subscription) error {
	var wrong mistakes
	switch {
	case s.Expires != nil && s.NoExpiry:
		wrong.add("expires_at", "must be left out where there is to be no expiry")
	case s.Expires != nil && s.Expires.Nanosecond() != 0:
		wrong.add("expires_at", "must be whole seconds")
	case s.Expires != nil && s.Expires.Unix() != int64(sub.Expires): // or it was read, and is sent back
		wrong.future("expires_at", *s.Expires, now)
	}
	if s.Attributes != nil {
		probe := catalog.Subscription{Name: "x", Developer: "x", AllAPIs: true, State: "active", Attributes: s.Attributes}
		_, found := parseSubscription(probe, func(string, string) bool { return true })
		wrong = append(wrong, found...)
	}
	return wrong.err()
}

func (s *SubscriptionChange) apply(sub *Subscription) {
	if s.Expires != nil || s.NoExpiry {
		until := expires(s.Expires)
		if sub.State == wire.StateExpired && (s.NoExpiry || until != sub.Expires) { // a file's word; else it is derived
			sub.State = wire.StateActive
		}
		sub.Expires = until
	}
	if s.Attributes != nil {
		sub.Attributes = maps.Clone(s.Attributes)
	}
}

// changeSubscription lets f change a subscription in one transaction.
func (s *Store) changeSubscription(ctx context.Context, nameOrID, action string, w Write, f func(*changing, *Subscription) error) (Subscription, error) {
	var after Subscription
	err := s.change(ctx, "changing a subscription", w, func(c *changing) error {
		before, err := c.held(nameOrID)
		if err != nil {
			return err
		}
		after = before
		after.Keys = slices.Clone(before.Keys)
		if err := f(c, &after); err != nil {
			return err
		}
		if sameButKeys(&before, &after) && slices.Equal(before.Keys, after.Keys) && before.Shown == after.Shown {
			return nil
		}
		return c.put(action, &before, &after)
	})
	if err != nil {
		return Subscription{}, err
	}
	return after, nil
}

// held is the subscription that find finds, where it has the revision that the write wants.
func (c *changing) held(nameOrID string) (Subscription, error) {
	sub, err := c.find(nameOrID)
	if err == nil && c.write.Match != 0 && c.write.Match != uint64(sub.Revision) {
		return Subscription{}, fmt.Errorf("subscription %q: %w", sub.Name, ErrMoved)
	}
	return sub, err
}

// DeleteSubscription removes a subscription and its keys, whatever its state. Its id is
// never given to another one, and its name may be. ErrNotFound, ErrMoved, *ManagedError.
func (s *Store) DeleteSubscription(ctx context.Context, nameOrID string, w Write) error {
	return s.change(ctx, "deleting a subscription", w, func(c *changing) error {
		sub, err := c.held(nameOrID)
		if err != nil {
			return err
		}
		return c.remove("subscription.delete", sub)
	})
}

// mistakes are collected, so that a caller hears of all of them at once.
type mistakes []catalog.Mistake

func (m *mistakes) add(field, format string, arguments ...any) {
	*m = append(*m, mistaken(field, format, arguments...).Mistakes...)
}

// future wants a time after now that fits into seconds of 32 bits.
func (m *mistakes) future(field string, t, now time.Time) {
	switch {
	case t.Unix() <= now.Unix():
		m.add(field, "must be in the future")
	case t.Unix() > math.MaxUint32:
		m.add(field, "must not be after %s", time.Unix(math.MaxUint32, 0).UTC().Format(time.RFC3339))
	}
}

// err is an *InvalidError, or nil where there are none.
func (m *mistakes) err() error {
	if len(*m) == 0 {
		return nil
	}
	return &InvalidError{Mistakes: *m}
}
