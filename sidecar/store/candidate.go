package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/database"
)

// entry is an object of a candidate.
type entry struct {
	kind Kind
	name string
	spec []byte // JSON that Parse reads, see readable
	// place is how mistakes name the object: empty for the one at hand.
	place string
}

// candidate is a configuration, or a part of one, that is to be checked as a catalog file.
// Of two objects that do not go together, the one that was added last is at fault.
type candidate struct {
	lists map[Kind][]entry
}

// placeOf is how mistakes name an object by its name: apis["Demo"].
func placeOf(kind Kind, name string) string {
	if kind == KindOrganization {
		return kind.list()
	}
	return kind.list() + "[" + strconv.Quote(name) + "]"
}

func (c *candidate) add(e entry) {
	if c.lists == nil {
		c.lists = map[Kind][]entry{}
	}
	c.lists[e.kind] = append(c.lists[e.kind], e)
}

// text is the candidate as a catalog file.
func (c *candidate) text() []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for kind, entries := range c.lists {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		if kind == KindOrganization {
			b.WriteString(`"organization":`)
			b.Write(entries[len(entries)-1].spec)
			continue
		}
		b.WriteString(strconv.Quote(kind.list()) + ":[")
		for i, e := range entries {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(e.spec)
		}
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return b.Bytes()
}

// fits is an *InvalidError where the candidate is larger than a catalog file may be.
func (c *candidate) fits() error {
	if size := len(c.text()); size > catalog.MaxSize {
		return mistaken("", "organization, APIs, groups and products would be %d bytes together, and may be %d (%d MiB)", size, catalog.MaxSize, catalog.MaxSize>>20)
	}
	return nil
}

// parse checks the candidate, of any size, and returns it with all defaults, or an *InvalidError.
func (c *candidate) parse(o catalog.Options) (*catalog.Catalog, error) {
	o.Partial, o.Unnumbered, o.Unbounded = true, true, true
	parsed, mistakes := catalog.Parse("store", c.text(), o)
	if len(mistakes) == 0 {
		return parsed, nil
	}
	for i := range mistakes {
		mistakes[i] = catalog.Mistake{Field: c.field(mistakes[i].Field), Message: mistakes[i].Message}
	}
	return nil, &InvalidError{Mistakes: mistakes}
}

// field names a field of the candidate by the object in which it stands.
func (c *candidate) field(path string) string {
	for kind, entries := range c.lists {
		rest, ok := strings.CutPrefix(path, kind.list())
		if !ok || rest != "" && rest[0] != '.' && rest[0] != '[' {
			continue
		}
		i := len(entries) - 1
		if kind != KindOrganization {
			var index string
			if index, rest, ok = strings.Cut(strings.TrimPrefix(rest, "["), "]"); !ok {
				return path
			}
			var err error
			if i, err = strconv.Atoi(index); err != nil || i >= len(entries) {
				return path
			}
		}
		if place := entries[i].place; place != "" {
			return place + rest
		}
		return strings.TrimPrefix(rest, ".")
	}
	return path
}

// encoded is a part of a catalog as JSON that Parse reads.
func encoded(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return readable(b.Bytes())
}

// readable is JSON that Parse reads as well: YAML has no pairs of surrogates and no escaped
// slash, and some characters stand in it only as escapes; all others are written out, so that
// a text has one form. What is no JSON is an *InvalidError.
func readable(text []byte) ([]byte, error) {
	if len(text) > catalog.MaxSize {
		return nil, mistaken("", "is larger than %d MiB", catalog.MaxSize>>20)
	}
	if !utf8.Valid(text) {
		return nil, mistaken("", "is not UTF-8")
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, mistaken("", "is not JSON: %s", syntax)
		}
		return nil, mistaken("", "is not JSON")
	}
	compact := b.Bytes()
	out := make([]byte, 0, len(compact))
	for i := 0; i < len(compact); {
		switch c, size := utf8.DecodeRune(compact[i:]); {
		case c == '\\' && compact[i+1] == '/': // an escape only within a string, and not in YAML
			out = append(out, '/')
			i += 2
		case c == '\\' && compact[i+1] != 'u':
			out = append(out, compact[i:i+2]...)
			i += 2
		case c == '\\':
			var ok bool
			if out, size, ok = unescaped(out, compact[i:]); !ok {
				return nil, mistaken("", "has half a character: an escape of a surrogate that stands alone")
			}
			i += size
		case escapedOnly(c):
			out = fmt.Appendf(out, `\u%04x`, c)
			i += size
		default:
			out = append(out, compact[i:i+size]...)
			i += size
		}
	}
	return out, nil
}

// escapedOnly says whether a character stands in a catalog file only as an escape.
func escapedOnly(c rune) bool {
	return unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c == '\uFEFF' || c == '\uFFFE' || c == '\uFFFF'
}

// unescaped appends the character whose escape text begins with, written out where it may
// stand so.
func unescaped(out, text []byte) (_ []byte, size int, ok bool) {
	const one, two = len(`\u0000`), len(`\ud83d\ude00`)
	unit := func(i int) rune {
		n, err := strconv.ParseUint(string(text[i+2:i+one]), 16, 16)
		if err != nil {
			return unicode.ReplacementChar
		}
		return rune(n)
	}
	first := unit(0)
	switch {
	case first == '"' || first == '\\' || escapedOnly(first):
		return fmt.Appendf(out, `\u%04x`, first), one, true
	case first < 0xD800 || first > 0xDFFF:
		return utf8.AppendRune(out, first), one, true
	case first > 0xDBFF || len(text) < two || text[one] != '\\' || text[one+1] != 'u':
		return out, 0, false
	}
	second := unit(one)
	if second < 0xDC00 || second > 0xDFFF {
		return out, 0, false
	}
	return utf8.AppendRune(out, (first-0xD800)<<10+(second-0xDC00)+0x10000), two, true
}

// configuration is the organization, the APIs, the groups and the products as stored, but
// for the one of this kind and name.
func configuration(ctx context.Context, tx *database.Tx, kind Kind, name string) (*candidate, error) {
	c := &candidate{}
	for _, of := range configured {
		objects, err := selectObjects(ctx, tx, `kind = ? ORDER BY name`, string(of.kind))
		if err != nil {
			return nil, err
		}
		sortObjects(objects)
		for _, o := range objects {
			if o.Kind != kind || o.Name != name {
				c.add(entry{kind: o.Kind, name: o.Name, spec: o.Spec, place: placeOf(o.Kind, o.Name)})
			}
		}
	}
	return c, nil
}
