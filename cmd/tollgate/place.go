package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/admin"
)

// place prints what the sidecar found wrong with the file, with where that is.
func (a *application) place(w io.Writer, p *admin.Problem) {
	managed := p.Code == "managed_elsewhere"
	for _, e := range p.Errors {
		field := e.Field
		if managed {
			field = a.declaredAt(field)
		}
		switch {
		case field == "":
			fmt.Fprintln(w, "tollgate:", e.Message)
		case strings.HasPrefix(field, "query."):
			fmt.Fprintf(w, "tollgate: --%s %s\n", strings.TrimPrefix(field, "query."), e.Message)
		default:
			a.say(w, field, e.Message)
		}
	}
	if managed {
		fmt.Fprintln(w, "tollgate: nothing is changed: --conflicts keep leaves these as they are, --conflicts take-over makes them the file's")
	}
}

// declaredAt is the field where the file declares an object, given as "product Starter";
// empty where it does not.
func (a *application) declaredAt(object string) string {
	kind, name, _ := strings.Cut(object, " ")
	if kind == "organization" {
		return kind
	}
	items := within(a.root, kind+"s")
	if items == nil {
		return ""
	}
	for i, item := range items.Content {
		for _, field := range []string{"name", "email"} {
			if n := within(item, field); n != nil && n.Value == name && (field == "email") == (kind == "developer") {
				return fmt.Sprintf("%ss[%d]", kind, i)
			}
		}
	}
	return ""
}

// say prints a mistake in a field of the file, as catalog.Mistake is printed.
func (a *application) say(w io.Writer, field, message string) {
	n := at(a.root, field)
	fmt.Fprintln(w, catalog.Mistake{File: shownFile(a.file), Line: max(n.Line, 1), Column: max(n.Column, 1), Field: field, Message: message})
}
