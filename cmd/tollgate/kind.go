package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/admin"
)

// kind is a kind of thing that can be listed.
type kind struct {
	name    string   // as in the admin API
	path    string   // of its list, below /v1; of an operation, below its API
	aliases []string // besides name and path
	columns []string
	// row is one of them in the table.
	row func(item json.RawMessage) ([]string, error)
}

// kinds are all of them, in the order of their help.
var kinds = []kind{
	{"organization", "organization", []string{"org"}, []string{"NAME", "URL", "ADMINISTRATOR", "SOURCE"}, objectRow(organizationCells)},
	{"api", "apis", nil, []string{"NAME", "SUFFIX", "BACKEND", "OPERATIONS", "SOURCE"}, objectRow(apiCells)},
	{"operation", "operations", []string{"op", "ops"}, []string{"NAME", "METHOD", "TEMPLATE", "LIMITS", "SOURCE"}, objectRow(operationCells)},
	{"product", "products", []string{"prod", "prods"}, []string{"NAME", "APIS", "PUBLISHED", "APPROVAL", "LIMITS", "SOURCE"}, objectRow(productCells)},
	{"group", "groups", []string{"grp"}, []string{"NAME", "DESCRIPTION", "SOURCE"}, objectRow(groupCells)},
	{"developer", "developers", []string{"dev", "devs"}, []string{"EMAIL", "NAME", "GROUPS", "SOURCE"}, objectRow(developerCells)},
	{"subscription", "subscriptions", []string{"sub", "subs"}, []string{"NAME", "ID", "DEVELOPER", "SCOPE", "STATE", "EXPIRES", "KEYS", "SOURCE"}, row(subscriptionCells)},
	{"token", "tokens", nil, []string{"NAME", "ROLE", "EXPIRES", "CREATED", "USED"}, row(tokenCells)},
}

const kindsHelp = `KIND is organization (org), apis, operations (op; the API's name follows), products (prod),
groups (grp), developers (dev), subscriptions (sub) or tokens; the singular will do as well, and
KIND/NAME, as -o name prints it.`

// of is whether a word on the command line means the kind.
func (k *kind) of(word string) bool {
	return word == k.name || word == k.path || slices.Contains(k.aliases, word)
}

// findKind is the kind that a word means.
func findKind(word string) (*kind, error) {
	lower := strings.ToLower(word)
	nearest, least := "", 0
	for i := range kinds {
		if kinds[i].of(lower) {
			return &kinds[i], nil
		}
		for _, known := range append([]string{kinds[i].name, kinds[i].path}, kinds[i].aliases...) {
			if wrong, few := catalog.Misspelt(lower, known); few && (nearest == "" || wrong < least) {
				nearest, least = known, wrong
			}
		}
	}
	if nearest != "" {
		return nil, misusef("there is no kind %q; did you mean %q?", word, nearest)
	}
	return nil, misusef("there is no kind %q; known are %s", word, alternatives(kindNames()))
}

func kindNames() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.path
	}
	return names
}

// target is what a command is about: a kind, and some of it by name; none is all of it.
type target struct {
	kind  *kind
	api   string // of operations
	names []string
}

// parseTarget reads KIND [NAME...], KIND/NAME, and operations API [NAME...].
func parseTarget(c *cobra.Command, args []string) (t target, err error) {
	word, name, slash := strings.Cut(args[0], "/")
	if t.kind, err = findKind(word); err != nil {
		return t, err
	}
	t.names = args[1:]
	if slash {
		if len(args) > 1 || name == "" {
			return t, misuse{seeHelp(c, "%q is a kind and a name already", args[0])}
		}
		t.names = []string{name}
	}
	switch t.kind.name {
	case "organization":
		if len(t.names) > 0 {
			return t, misusef("there is one organization: %q is one word too many", t.names[0])
		}
	case "operation":
		if slash {
			t.names = strings.SplitN(name, "/", 2)
		}
		if len(t.names) == 0 {
			return t, misuse{seeHelp(c, "operations are those of an API: name it")}
		}
		t.api, t.names = t.names[0], t.names[1:]
	}
	return t, nil
}

// list is the path of all of them, one of each of them by name.
func (t *target) list() string {
	if t.kind.name == "operation" {
		return admin.Path("apis", t.api, t.kind.path)
	}
	return admin.Path(t.kind.path)
}

func (t *target) one(name string) string {
	if t.kind.name == "organization" {
		return t.list()
	}
	return t.list() + strings.TrimPrefix(admin.Path(name), "/v1")
}

// reference is how -o name prints one of them.
func (t *target) reference(name string) string {
	if t.kind.name == "operation" {
		return reference("operation/"+t.api, name)
	}
	return reference(t.kind.name, name)
}

// nameOf is the name that an item of any kind has; the organization's is in its spec alone.
func nameOf(item json.RawMessage) (string, error) {
	var v struct{ Name string }
	if err := json.Unmarshal(item, &v); err != nil {
		return "", fmt.Errorf("reading the sidecar's answer: %w", err)
	}
	return v.Name, nil
}

// row reads an item and gives its cells.
func row[Item any](cells func(*Item) []string) func(json.RawMessage) ([]string, error) {
	return func(text json.RawMessage) ([]string, error) {
		item := new(Item)
		if err := json.Unmarshal(text, item); err != nil {
			return nil, fmt.Errorf("reading the sidecar's answer: %w", err)
		}
		return cells(item), nil
	}
}

// objectRow is row for an object: cells are of its spec, and its source comes last.
func objectRow[Spec any](cells func(*Spec) []string) func(json.RawMessage) ([]string, error) {
	return func(text json.RawMessage) ([]string, error) {
		var o struct {
			Spec   Spec
			Source string
		}
		if err := json.Unmarshal(text, &o); err != nil {
			return nil, fmt.Errorf("reading the sidecar's answer: %w", err)
		}
		return append(cells(&o.Spec), manager(o.Source)), nil
	}
}

func organizationCells(o *catalog.Organization) []string {
	return []string{o.Name, o.URL, o.Administrator}
}

func apiCells(a *catalog.API) []string {
	return []string{a.Name, a.Suffix, a.Backend.URL, strconv.Itoa(len(a.Operations))}
}

func operationCells(o *catalog.Operation) []string {
	return []string{o.Name, o.Method, o.Template, limitsCell(o.Limits)}
}

func productCells(p *catalog.Product) []string {
	approval := "no"
	if p.ApprovalRequired {
		approval = "required"
	}
	return []string{p.Name, strings.Join(p.APIs, ","), answer(p.Published), approval, limitsCell(p.Limits)}
}

func groupCells(g *catalog.Group) []string { return []string{g.Name, short(g.Description)} }

func developerCells(d *catalog.Developer) []string {
	return []string{d.Email, d.Name, strings.Join(d.Groups, ",")}
}

func subscriptionCells(s *admin.Subscription) []string {
	return []string{s.Name, strconv.FormatUint(uint64(s.ID), 10), s.Spec.Developer, scope(&s.Spec), s.State, instant(s.Spec.ExpiresAt), keysCell(s.Keys), manager(s.Source)}
}

func tokenCells(t *admin.Token) []string {
	return []string{t.Name, t.Role, instant(t.Expires), instant(&t.Created), instant(t.Used)}
}

// scope is what a subscription opens.
func scope(s *admin.SubscriptionSpec) string {
	switch {
	case s.Product != "":
		return reference("product", s.Product)
	case s.API != "":
		return reference("api", s.API)
	}
	return "all-apis"
}

// keysCell names the slots that have a key, and how many more work until their grace ends.
func keysCell(keys []admin.Key) string {
	var slots []string
	retiring := 0
	for _, k := range keys {
		if k.Expires != nil {
			retiring++
			continue
		}
		slots = append(slots, k.Slot)
	}
	text := strings.Join(slots, ",")
	if retiring > 0 {
		text += fmt.Sprintf("+%d", retiring)
	}
	return text
}

// limitsCell is "5/1m,100/7d": an amount per window or period.
func limitsCell(limits []catalog.Limit) string {
	texts := make([]string, len(limits))
	for i, l := range limits {
		texts[i] = limitText(l)
	}
	return strings.Join(texts, ",")
}

func limitText(l catalog.Limit) string {
	text := strconv.FormatInt(l.Amount, 10)
	if l.Unit != "" && l.Unit != catalog.DefaultUnit {
		text += " " + l.Unit
	}
	switch {
	case l.Window != nil:
		return text + "/" + plainSpan(*l.Window)
	case l.Period != nil && *l.Period == 0:
		return text + " for life"
	case l.Period != nil:
		return text + "/" + plainSpan(*l.Period)
	}
	return text + " at once"
}

// plainSpan is a length of time as a catalog may have it: "7d", "1m".
func plainSpan(d catalog.Duration) string { return span(time.Duration(d)) }
