package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/internal/catalog"
)

// exportChunk is about how many bytes of JSON are held before they are written.
const exportChunk = 64 << 10

// sections are the parts of a catalog file, in its order.
var sections = []string{"organization", "apis", "products", "groups", "developers", "subscriptions"}

// exporting writes a catalog file item by item, and holds few of them at a time. What it
// writes is what the whole catalog would be as one document.
type exporting struct {
	to   *bufio.Writer
	yaml bool
	// digests: those of keys are written too.
	digests bool

	section int  // of sections, that is being written
	begun   bool // a part of that was written
	any     bool // a part of the file was written
	pending [][]byte
	size    int // bytes of pending
}

func newExporting(w io.Writer, yaml, digests bool) *exporting {
	return &exporting{to: bufio.NewWriterSize(w, exportChunk), yaml: yaml, digests: digests}
}

// item writes what comes next: catalog.Organization, API, Product, Group, Developer or
// Subscription, in the order of sections.
func (e *exporting) item(item any) error {
	name := ""
	switch v := item.(type) {
	case catalog.Organization:
		name = "organization"
	case catalog.API:
		name = "apis"
	case catalog.Product:
		name = "products"
	case catalog.Group:
		name = "groups"
	case catalog.Developer:
		name = "developers"
	case catalog.Subscription:
		name = "subscriptions"
		if !e.digests {
			v.PrimaryKey, v.SecondaryKey = nil, nil
			item = v
		}
	}
	if err := e.until(slices.Index(sections, name)); err != nil {
		return err
	}
	text, err := json.Marshal(item)
	if err != nil {
		return err
	}
	e.pending = append(e.pending, text)
	if e.size += len(text); e.size < exportChunk {
		return nil
	}
	return e.flush()
}

// until ends all sections before one.
func (e *exporting) until(section int) error {
	for ; e.section < section; e.section++ {
		if err := e.flush(); err != nil {
			return err
		}
		if err := e.end(); err != nil {
			return err
		}
		e.begun = false
	}
	return nil
}

// finish writes what is left.
func (e *exporting) finish() error {
	if err := e.until(len(sections)); err != nil {
		return err
	}
	if !e.yaml {
		if _, err := e.to.WriteString("}\n"); err != nil {
			return err
		}
	}
	return e.to.Flush()
}

// list says whether the section is one. The organization is none, and may be missing.
func (e *exporting) list() bool { return e.section > 0 }

// key begins a section in JSON.
func (e *exporting) key() string {
	before := ","
	if !e.any {
		before = "{"
	}
	return before + strconv.Quote(sections[e.section]) + ":"
}

// end ends the section, which may be empty.
func (e *exporting) end() (err error) {
	switch {
	case !e.list():
	case !e.yaml && e.begun:
		err = e.to.WriteByte(']')
	case !e.yaml:
		_, err = e.to.WriteString(e.key() + "[]")
	case !e.begun:
		_, err = e.to.WriteString(sections[e.section] + ": []\n")
	}
	e.any = e.any || e.list()
	return err
}

// flush writes the items that wait.
func (e *exporting) flush() error {
	if len(e.pending) == 0 {
		return nil
	}
	text, err := bytes.Join(e.pending, []byte(",")), error(nil)
	switch {
	case e.yaml:
		text, err = e.asYAML(text)
	case e.begun:
		text = append([]byte(","), text...)
	case e.list():
		text = append([]byte(e.key()+"["), text...)
	default:
		text = append([]byte(e.key()), text...)
	}
	if err != nil {
		return err
	}
	e.pending, e.size, e.begun, e.any = e.pending[:0], 0, true, true
	_, err = e.to.Write(text)
	return err
}

// asYAML is the section with these items; without its name where it has begun.
func (e *exporting) asYAML(items []byte) ([]byte, error) {
	name := sections[e.section]
	if e.list() {
		items = slices.Concat([]byte("["), items, []byte("]"))
	}
	text, err := asYAML(slices.Concat([]byte("{"+strconv.Quote(name)+":"), items, []byte("}")))
	if err != nil {
		return nil, err
	}
	if e.begun {
		text = bytes.TrimPrefix(text, []byte(name+":\n"))
	}
	return text, nil
}

// asYAML writes JSON as people write YAML, its fields in the same order.
func asYAML(text []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	plainStyle(&document)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&document), e.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// elsewhere are texts that YAML 1.1, which many programs still read, takes for something
// else: yes and no, and numbers to the base of 60.
var elsewhere = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|[-+0-9][-+0-9_.:]*)$`)

func plainStyle(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && elsewhere.MatchString(n.Value) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, child := range n.Content {
		plainStyle(child)
	}
}
