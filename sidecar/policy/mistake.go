package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Mistake is something in a policy that its author should change.
type Mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // 0: the file as a whole
	Message string `json:"message"`
	// Warning: the policies are taken over all the same.
	Warning bool `json:"warning,omitempty"`
}

// String is "file:line: message".
func (m Mistake) String() string {
	at := m.File
	if m.Line > 0 {
		at = fmt.Sprintf("%s:%d", m.File, m.Line)
	}
	if m.Warning {
		return at + ": warning: " + m.Message
	}
	return at + ": " + m.Message
}

// Mistakes are all the mistakes of one set of policies, none of them warnings. As an
// error it says them one a line.
type Mistakes []Mistake

func (m *Mistakes) Error() string {
	lines := make([]string, len(*m))
	for i, mistake := range *m {
		lines[i] = mistake.String()
	}
	return strings.Join(lines, "\n")
}

func (m Mistakes) sorted() Mistakes {
	slices.SortStableFunc(m, func(x, y Mistake) int {
		return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), strings.Compare(x.Message, y.Message))
	})
	return slices.Compact(m)
}

// mistakes turns what OPA found into ours.
func mistakes(found ast.Errors) *Mistakes {
	var all Mistakes
	for _, e := range found {
		m := Mistake{Message: strings.TrimSpace(e.Message)}
		if e.Details != nil {
			m.Message += detail(e.Details)
		}
		if e.Location != nil {
			m.File, m.Line = e.Location.File, e.Location.Row
		}
		all = append(all, m)
	}
	all = all.sorted()
	return &all
}

// detail keeps what a type error has beside its message; the lines of a parse error are
// the source, which its file and line name.
func detail(details ast.ErrorDetails) string {
	if _, isSource := details.(*ast.ParserErrorDetail); isSource {
		return ""
	}
	var said []string
	for _, line := range details.Lines() {
		if line = strings.TrimSpace(line); strings.Trim(line, "^") != "" {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return ""
	}
	return " (" + strings.Join(said, "; ") + ")"
}

// asMistakes finds the mistakes in err, or makes one of it that names file.
func asMistakes(err error, file string) Mistakes {
	var all *Mistakes
	if errors.As(err, &all) {
		return *all
	}
	return Mistakes{{File: file, Message: err.Error()}}
}
