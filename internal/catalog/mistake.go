package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxMistakes bounds what one run reports; a file with more is broken in a way that a
// longer list would not explain.
const maxMistakes = 1000

// Mistake is one thing wrong with a catalog file, and what would be right.
type Mistake struct {
	File   string
	Line   int    // 1 and up, always within the file
	Column int    // 1 and up, in characters
	Field  string // path of the field, like apis[0].backend.url; empty for the file as a whole
	// Message says what is wrong and what would be right. It never holds the value of a
	// Secret's field, nor a URL's user, password or query.
	Message string
}

// String is file:line:column: field: message, the form that editors and terminals link.
func (m Mistake) String() string {
	where := fmt.Sprintf("%s:%d:%d: ", m.File, m.Line, m.Column)
	if m.Field != "" {
		where += m.Field + ": "
	}
	return where + m.Message
}

// path names a field: a chain from the field up to the file. The file itself is nil.
// It becomes text only when there is a mistake to report.
type path struct {
	parent *path
	name   string
	index  int // of a list's item; -1 for a field
}

func (p *path) field(name string) *path { return &path{parent: p, name: name, index: -1} }
func (p *path) item(i int) *path        { return &path{parent: p, index: i} }

// String is the path as Mistake.Field gives it.
func (p *path) String() string {
	switch {
	case p == nil:
		return ""
	case p.index >= 0:
		return p.parent.String() + "[" + strconv.Itoa(p.index) + "]"
	case !plainField.MatchString(p.name):
		return p.parent.String() + "[" + strconv.Quote(p.name) + "]"
	case p.parent == nil:
		return p.name
	}
	return p.parent.String() + "." + p.name
}

// find returns the node at p below root, or its nearest ancestor that the file has.
func (p *path) find(root *yaml.Node) (n *yaml.Node, exact bool) {
	if p == nil {
		return root, true
	}
	parent, exact := p.parent.find(root)
	if !exact {
		return parent, false
	}
	if parent.Kind == yaml.AliasNode {
		parent = parent.Alias
	}
	switch {
	case p.index >= 0 && parent.Kind == yaml.SequenceNode && p.index < len(parent.Content):
		return parent.Content[p.index], true
	case p.index < 0 && parent.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(parent.Content); i += 2 {
			if parent.Content[i].Value == p.name {
				return parent.Content[i+1], true
			}
		}
	}
	return parent, false
}

// report collects mistakes. What the decoder finds, it finds in the file's structure; a
// field whose structure is wrong has no value, so that nothing further is said about it.
type report struct {
	file     string
	root     *yaml.Node
	mistakes []Mistake
	dropped  int
	broken   map[string]bool // paths whose structure is wrong

	unnumbered bool // see Options.Unnumbered
}

// add reports at a line and column.
func (r *report) add(line, column int, p *path, format string, args ...any) {
	if len(r.mistakes) == maxMistakes {
		r.dropped++
		return
	}
	m := Mistake{r.file, max(line, 1), max(column, 1), p.String(), fmt.Sprintf(format, args...)}
	r.mistakes = append(r.mistakes, m)
}

// structure reports that the structure at n is wrong.
func (r *report) structure(n *yaml.Node, p *path, format string, args ...any) {
	if r.broken == nil {
		r.broken = map[string]bool{}
	}
	r.broken[p.String()] = true
	r.add(n.Line, n.Column, p, format, args...)
}

// on reports that the value of a field is wrong, unless the field has no value.
func (r *report) on(p *path, format string, args ...any) {
	if r.isBroken(p) {
		return
	}
	n, _ := p.find(r.root)
	r.add(n.Line, n.Column, p, format, args...)
}

// isBroken says whether the structure at p, or above it, is wrong.
func (r *report) isBroken(p *path) bool {
	if len(r.broken) == 0 {
		return false
	}
	for q := p; q != nil; q = q.parent {
		if r.broken[q.String()] {
			return true
		}
	}
	return r.broken[""]
}

// has says whether the file itself gives the field, be its value the default or not.
func (r *report) has(p *path) bool {
	_, exact := p.find(r.root)
	return exact
}

// line is where the field stands, in brackets after a blank, for a message.
func (r *report) line(p *path) string {
	if r.unnumbered {
		return ""
	}
	n, _ := p.find(r.root)
	return fmt.Sprintf(" (line %d)", n.Line)
}

// sorted returns the mistakes by line, each once.
func (r *report) sorted() []Mistake {
	slices.SortFunc(r.mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			strings.Compare(a.Field, b.Field), strings.Compare(a.Message, b.Message))
	})
	r.mistakes = slices.Compact(r.mistakes)
	if r.dropped > 0 {
		last := r.mistakes[len(r.mistakes)-1]
		r.mistakes = append(r.mistakes, Mistake{r.file, last.Line, last.Column, "",
			fmt.Sprintf("%d more mistakes are not shown", r.dropped)})
	}
	return r.mistakes
}
