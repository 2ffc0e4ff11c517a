package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
)

// CreateSubscription makes a subscription: submitted where its product wants approval, else
// active. Its keys are made by ShowKeys. A name that is left out is made of the developer and
// the product or API: ada-starter, ada-starter-2.
//
// Errors are *InvalidError, by fields of d, of which State is left out, or what it will be,
// and the keys are left out; ErrExists for the name; *StateError with not_published or
// subscriptions_limit.
func (s *Store) CreateSubscription(ctx context.Context, d catalog.Subscription, w Write) (Subscription, error) {
	var made Subscription
	err := s.change(ctx, "creating a subscription", w, func(c *changing) error {
		sub, err := c.subscribed(d)
		if err != nil {
			return err
		}
		if err := c.put("subscription.create", nil, &sub); err != nil {
			return err
		}
		made, err = c.find(sub.Name) // with what the store knows of the developer
		return err
	})
	if err != nil {
		return Subscription{}, err
	}
	return made, nil
}

// subscribed is the subscription that d asks for, without an id.
func (c *changing) subscribed(d catalog.Subscription) (Subscription, error) {
	d, err := c.checked(d)
	if err != nil {
		return Subscription{}, err
	}
	sub := Subscription{Name: d.Name, Scope: scopeOf(d), State: wire.StateActive, Expires: expires(d.ExpiresAt), Attributes: d.Attributes,
		Developer: Developer{Email: d.Developer}}
	if sub.Scope.Kind == ScopeProduct {
		product, err := c.product(sub.Scope.Name)
		if err != nil {
			return Subscription{}, err
		}
		if !product.Published {
			return Subscription{}, &StateError{Code: "not_published", Text: fmt.Sprintf("the product %q is not published: nobody can subscribe to it", product.Name)}
		}
		if product.ApprovalRequired {
			sub.State = wire.StateSubmitted
		}
	}
	if state := StateName(sub.State); d.State != "" && d.State != state {
		return Subscription{}, mistaken("state", "must be left out: a new subscription to this is %s", state)
	}
	return sub, nil
}

// checked is d as a catalog file would have it, if it had all that d refers to.
func (c *changing) checked(d catalog.Subscription) (catalog.Subscription, error) {
	var wrong mistakes
	if d.PrimaryKey != nil {
		wrong.add("primary_key", "must be left out: keys are made once the subscription is there, and shown once")
	}
	if d.SecondaryKey != nil {
		wrong.add("secondary_key", "must be left out: keys are made once the subscription is there, and shown once")
	}
	if at := d.ExpiresAt; at != nil {
		wrong.future("expires_at", *at, c.now)
	}
	if wrong != nil {
		return d, wrong.err()
	}
	name, state := d.Name, d.State
	if d.Name == "" {
		d.Name = baseName(d)
	}
	if d.State == "" {
		d.State = "active"
	}
	var failed, err error
	parsed, wrong := parseSubscription(d, func(kind, name string) bool {
		known, err := c.known(kind, name)
		failed = errors.Join(failed, err)
		return known
	})
	if failed != nil || wrong != nil {
		return d, errors.Join(failed, wrong.err())
	}
	if name == "" {
		parsed.Name, err = c.freeName(parsed.Name)
	}
	parsed.State = state
	return parsed, err
}

// known says whether there is an object.
func (c *changing) known(kind, name string) (bool, error) {
	var one int
	err := c.tx.QueryRow(c.ctx, `SELECT 1 FROM object WHERE kind = ? AND name = ?`, kind, shown(name)).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// parseSubscription checks a subscription as that of a catalog file, and returns it as one,
// with the fields of its mistakes relative to it.
func parseSubscription(d catalog.Subscription, known func(kind, name string) bool) (catalog.Subscription, mistakes) {
	const place = "subscriptions[0]"
	text, err := json.Marshal(map[string]any{"subscriptions": []catalog.Subscription{d}})
	if err != nil { // a time of the year 10000
		return d, mistakes{{Field: "expires_at", Message: "must be a time of the years 1970 to 2106"}}
	}
	parsed, wrong := catalog.Parse("", escaped(text), catalog.Options{Partial: true, Known: known, Unnumbered: true})
	for i := range wrong {
		w := &wrong[i]
		w.File, w.Line, w.Column = "", 0, 0
		if w.Field == place { // it is about product, api and all_apis
			w.Field = "product"
		}
		w.Field = strings.TrimPrefix(w.Field, place+".")
	}
	if wrong != nil {
		return d, wrong
	}
	return parsed.Subscriptions[0], nil
}

// escaped is a JSON document without the characters that must not stand in a catalog file as
// they are: what holds them is then judged by its field.
func escaped(document []byte) []byte {
	var b strings.Builder
	for _, r := range string(document) {
		if unicode.IsControl(r) || r == '\uFEFF' || r == '\uFFFE' || r == '\uFFFF' {
			fmt.Fprintf(&b, `\u%04X`, r)
			continue
		}
		b.WriteRune(r)
	}
	return []byte(b.String())
}

// nameTries is how many names freeName numbers.
const nameTries = 20

// freeName is base, or base-2, base-3 and so on where that is taken. Of a name that very many
// have, it is base and the subscription's id.
func (c *changing) freeName(base string) (string, error) {
	for n := 1; n <= nameTries; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		err := c.subscriptionName(name)
		var alike *InvalidError
		switch {
		case err == nil:
			return name, nil
		case !errors.Is(err, ErrExists) && !errors.As(err, &alike):
			return "", err
		}
	}
	var last int64
	err := c.tx.QueryRow(c.ctx, `SELECT MAX(id) FROM subscription`).Scan(&last)
	return fmt.Sprintf("%s-%d", base, last+1), err // put says so where even that is taken
}

// baseName is "ada-starter" for ada@example.com and the product Starter: letters, digits,
// dots and underscores, in lower case, with a hyphen for each run of others.
func baseName(d catalog.Subscription) string {
	who, _, _ := strings.Cut(d.Developer, "@")
	what := d.Product + d.API
	if d.AllAPIs {
		what = "all-apis"
	}
	var b strings.Builder
	for _, r := range who + "-" + what {
		if r = unicode.ToLower(r); !unicode.In(r, unicode.L, unicode.M, unicode.N) && r != '.' && r != '_' {
			r = '-'
		}
		if r != '-' || !strings.HasSuffix(b.String(), "-") {
			b.WriteRune(r)
		}
	}
	runes := []rune(strings.Trim(b.String(), "-"))
	name := strings.Trim(string(runes[:min(len(runes), 100)]), "-")
	if strings.Trim(name, "0123456789") == "" { // that would be an id
		return strings.Trim("subscription-"+name, "-")
	}
	return name
}

// FindSubscription is the subscription with this name, or else with this id in decimal;
// ErrNotFound, also for one that was deleted.
func (s *Store) FindSubscription(ctx context.Context, nameOrID string) (Subscription, error) {
	var sub Subscription
	err := s.db.View(ctx, "reading a subscription", func(tx *database.Tx) (err error) {
		sub, err = oneRow(ctx, tx, nameOrID)
		return err
	})
	if err != nil {
		return Subscription{}, err
	}
	return sub, nil
}

// SubscriptionQuery says which subscriptions ListSubscriptions gives: those to which all of
// it applies that is not empty.
type SubscriptionQuery struct {
	Developer string
	Product   string
	API       string // those to the API itself
	// State is as people see it at this moment: expired is one of them.
	State string
	// After is the name of the last one of the page before.
	After string
	// Limit is how many at most; 0: 100; above 1000: 1000.
	Limit int
}

// ListSubscriptions gives subscriptions by name, in the database's order of names.
func (s *Store) ListSubscriptions(ctx context.Context, q SubscriptionQuery) ([]Subscription, error) {
	condition, arguments, err := q.condition(s.now())
	if err != nil {
		return nil, err
	}
	var subs []Subscription
	err = s.db.View(ctx, "listing subscriptions", func(tx *database.Tx) error {
		rows, err := selected(ctx, tx, condition, arguments...)
		subs = make([]Subscription, len(rows))
		for i, r := range rows {
			subs[i] = r.Subscription
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return subs, nil
}

// condition is a query in SQL. What it does not ask for is left out, so that an index can
// serve the rest.
func (q *SubscriptionQuery) condition(now time.Time) (string, []any, error) {
	condition, arguments := `s.removed = 0`, []any{}
	and := func(given bool, more string, values ...any) {
		if given {
			condition += ` AND ` + more
			arguments = append(arguments, values...)
		}
	}
	and(q.Developer != "", `s.developer = ?`, shown(q.Developer))
	and(q.Product != "", `s.scope_kind = ? AND s.scope_name = ?`, string(ScopeProduct), shown(q.Product))
	and(q.API != "", `s.scope_kind = ? AND s.scope_name = ?`, string(ScopeAPI), shown(q.API))
	and(q.After != "", `s.name > ?`, shown(q.After))
	switch state, known := states[q.State]; {
	case q.State == "":
	case !known:
		return "", nil, mistaken("state", "must be submitted, active, suspended, rejected, cancelled or expired")
	case state == wire.StateActive:
		and(true, `s.state = ? AND (s.expires = 0 OR s.expires > ?)`, int(state), now.Unix())
	case state == wire.StateExpired:
		and(true, `(s.state = ? OR s.state = ? AND s.expires > 0 AND s.expires <= ?)`, int(state), int(wire.StateActive), now.Unix())
	default:
		and(true, `s.state = ?`, int(state))
	}
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	return condition + ` ORDER BY s.name LIMIT ?`, append(arguments, min(limit, 1000)), nil
}
