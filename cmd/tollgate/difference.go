package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"

	"github.com/tollgate/tollgate/sidecar/admin"
)

// leaf is one value of an object: the path of its field, and the value as JSON.
type leaf struct{ field, value string }

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// leaves are the values of a JSON object, by field. Where a list's items all have a name, they are
// told apart by it instead of by their place, so that one that is put in between is one
// difference.
func leaves(text json.RawMessage) ([]leaf, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	var list []leaf
	flatten(v, "", &list)
	return list, nil
}

func flatten(v any, field string, list *[]leaf) {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int { return cmp.Or(identityFirst(a, b), cmp.Compare(a, b)) })
		for _, name := range names {
			flatten(v[name], below(field, name), list)
		}
		if len(v) > 0 {
			return
		}
	case []any:
		names := identities(v)
		for i, item := range v {
			flatten(item, field+"["+names[i]+"]", list)
		}
		if len(v) > 0 {
			return
		}
	}
	*list = append(*list, leaf{field, compact(v)})
}

// identityFirst puts what names an object before its other fields.
func identityFirst(a, b string) int {
	rank := func(name string) int {
		if name == "name" || name == "email" {
			return 0
		}
		return 1
	}
	return cmp.Compare(rank(a), rank(b))
}

// identities are what a list's items are told apart by: their names, where all have one and
// no two the same, or else their places.
func identities(items []any) []string {
	names, places := make([]string, len(items)), make([]string, len(items))
	seen := map[string]bool{}
	named := true
	for i, item := range items {
		object, _ := item.(map[string]any)
		name, _ := object["name"].(string)
		names[i], places[i] = strconv.Quote(name), strconv.Itoa(i)
		named = named && name != "" && !seen[name]
		seen[name] = true
	}
	if named {
		return names
	}
	return places
}

func below(field, name string) string {
	switch {
	case !plainName.MatchString(name):
		return field + "[" + strconv.Quote(name) + "]"
	case field == "":
		return name
	}
	return field + "." + name
}

func compact(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // it was JSON before
		return ""
	}
	return string(bytes.TrimSpace(b.Bytes()))
}

// printDifference prints what a change does, field by field, under a header like that of
// `diff -u`.
func printDifference(w io.Writer, c admin.PlannedChange, file string) error {
	before, err := leaves(c.Before)
	if err != nil {
		return fmt.Errorf("reading %s %q as it is: %w", c.Kind, c.Name, err)
	}
	after, err := leaves(c.After)
	if err != nil {
		return fmt.Errorf("reading %s %q as it would be: %w", c.Kind, c.Name, err)
	}
	from, to := reference(c.Kind, c.Name)+" (store)", reference(c.Kind, c.Name)+" ("+file+")"
	switch c.Action {
	case "create":
		from = "(none)"
	case "delete":
		to = "(none)"
	}
	fmt.Fprintf(w, "--- %s\n+++ %s\n", from, to)
	same := true // but for the order of lists with names
	was, is := map[string]string{}, map[string]string{}
	for _, l := range before {
		was[l.field] = l.value
	}
	for _, l := range after {
		is[l.field] = l.value
	}
	for _, l := range before {
		now, there := is[l.field]
		if there && now == l.value {
			continue
		}
		same = false
		fmt.Fprintf(w, "- %s: %s\n", l.field, l.value)
		if there {
			fmt.Fprintf(w, "+ %s: %s\n", l.field, now)
		}
	}
	for _, l := range after {
		if _, there := was[l.field]; !there {
			same = false
			fmt.Fprintf(w, "+ %s: %s\n", l.field, l.value)
		}
	}
	if same {
		fmt.Fprintln(w, "# only the order of lists is another")
	}
	return nil
}

// reference is how an object is named on the command line and in what is printed:
// product/Starter; the organization has no name.
func reference(kind, name string) string {
	if name == "" {
		return kind
	}
	return kind + "/" + name
}
