package catalog

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxAliased bounds the nodes that are read through aliases: a short file that repeats
// lists of lists of aliases would otherwise grow without end.
const maxAliased = 100_000

var (
	plainField = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	// decimal leaves out leading zeros, by which YAML 1.1 means octal.
	decimal = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)$`)

	durationType = reflect.TypeFor[Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	secretType   = reflect.TypeFor[Secret]()
	catalogType  = reflect.TypeFor[Catalog]()
)

// decoder reads YAML nodes into the types of this package, strictly: no field twice or
// unknown, no null, no value of another type made to fit.
type decoder struct {
	*report
	inAlias, aliased int
	partial          bool // see Options.Partial
}

// value reads n into out. On a mistake out keeps its default, and the path is broken.
func (d *decoder) value(n *yaml.Node, out reflect.Value, p *path) {
	if n.Kind == yaml.AliasNode {
		d.inAlias++
		defer func() { d.inAlias-- }()
		n = n.Alias
	}
	switch {
	case d.tooManyAliased(n):
	case n.Style&yaml.TaggedStyle != 0:
		d.structure(n, p, "tags (!name) are not supported; write %s", wanted(out.Type()))
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		d.structure(n, p, "has no value; write %s, or remove the field", wanted(out.Type()))
	default:
		d.typed(n, out, p)
	}
}

// tooManyAliased counts a value that is read through an alias.
func (d *decoder) tooManyAliased(n *yaml.Node) bool {
	if d.inAlias == 0 {
		return false
	}
	if d.aliased++; d.aliased == maxAliased {
		d.structure(n, nil, "aliases (*name) repeat more than %d values; write fewer", maxAliased)
	}
	return d.aliased >= maxAliased
}

// typed reads n, which is neither alias nor null, as what out is.
func (d *decoder) typed(n *yaml.Node, out reflect.Value, p *path) {
	t := out.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		target := reflect.New(t.Elem())
		d.value(n, target.Elem(), p)
		out.Set(target)
	case t == durationType:
		d.duration(n, out, p)
	case t == timeType:
		d.time(n, out, p)
	case t == definitionType:
		d.definition(n, out, p)
	case t.Kind() == reflect.Struct:
		d.structValue(n, out, p)
	case t.Kind() == reflect.Slice:
		d.list(n, out, p)
	case t.Kind() == reflect.Map:
		d.texts(n, out, p)
	default:
		d.scalar(n, out, p)
	}
}

// scalar reads text, truth values and whole numbers.
func (d *decoder) scalar(n *yaml.Node, out reflect.Value, p *path) {
	switch kind := out.Kind(); {
	case kind == reflect.String && n.Tag == "!!str":
		out.SetString(n.Value)
	case kind == reflect.Bool && n.Tag == "!!bool":
		out.SetBool(strings.EqualFold(n.Value, "true"))
	case (kind == reflect.Int || kind == reflect.Int64) && (n.Tag == "!!int" || n.Tag == "!!float") && decimal.MatchString(n.Value):
		d.integer(n, out, p)
	case kind == reflect.String && n.Kind == yaml.ScalarNode:
		d.structure(n, p, "must be text, but YAML reads it as %s; put it in quotes", found(n))
	default:
		d.mismatch(n, out.Type(), p)
	}
}

// integer reads a decimal number. One of more than 64 bits is a float to YAML.
func (d *decoder) integer(n *yaml.Node, out reflect.Value, p *path) {
	bits := 32
	if out.Kind() == reflect.Int64 {
		bits = 64
	}
	number, err := strconv.ParseInt(n.Value, 10, bits)
	if err != nil {
		d.structure(n, p, "the number is too large")
		return
	}
	out.SetInt(number)
}

func (d *decoder) duration(n *yaml.Node, out reflect.Value, p *path) {
	if n.Kind != yaml.ScalarNode {
		d.mismatch(n, durationType, p)
		return
	}
	length, err := ParseDuration(n.Value)
	if err != nil || n.Tag != "!!str" && n.Value != "0" {
		d.structure(n, p, "must be %s, with its unit", wanted(durationType))
		return
	}
	out.SetInt(int64(length))
}

func (d *decoder) time(n *yaml.Node, out reflect.Value, p *path) {
	if n.Kind != yaml.ScalarNode {
		d.mismatch(n, timeType, p)
		return
	}
	instant, err := time.Parse(time.RFC3339, n.Value)
	if err != nil {
		d.structure(n, p, "must be %s", wanted(timeType))
		return
	}
	out.Set(reflect.ValueOf(instant.UTC())) // Parse takes the machine's own zone where the offset fits
}

func (d *decoder) list(n *yaml.Node, out reflect.Value, p *path) {
	if n.Kind != yaml.SequenceNode {
		d.mismatch(n, out.Type(), p)
		return
	}
	items := reflect.MakeSlice(out.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.value(item, items.Index(i), p.item(i))
	}
	out.Set(items)
}

// texts reads a mapping whose fields are the user's own.
func (d *decoder) texts(n *yaml.Node, out reflect.Value, p *path) {
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, out.Type(), p)
		return
	}
	texts := reflect.MakeMap(out.Type())
	d.fields(n, p, func(key, value *yaml.Node, q *path) {
		text := reflect.New(out.Type().Elem()).Elem()
		d.value(value, text, q)
		texts.SetMapIndex(reflect.ValueOf(key.Value), text)
	})
	out.Set(texts)
}

// structValue reads a mapping whose fields are those of a struct.
func (d *decoder) structValue(n *yaml.Node, out reflect.Value, p *path) {
	applyDefaults(out)
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, out.Type(), p)
		return
	}
	names := fieldNames(out.Type())
	given := map[string]bool{}
	d.fields(n, p, func(key, value *yaml.Node, q *path) {
		for i, name := range names {
			if name == key.Value {
				given[name] = true
				d.value(value, out.Field(i), q)
				return
			}
		}
		d.unknown(key, out.Type(), names, p)
	})
	for _, name := range required[out.Type()] {
		if !given[name] && (!d.partial || out.Type() != catalogType) {
			d.structure(n, p.field(name), "is missing; every %s needs it", nouns[out.Type()])
		}
	}
}

// fields calls each for the fields of a mapping, and refuses keys that are no names.
func (d *decoder) fields(n *yaml.Node, p *path, each func(key, value *yaml.Node, q *path)) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch first, twice := lines[key.Value]; {
		case key.Tag == "!!merge":
			d.add(key.Line, key.Column, p, `merge keys (<<) are not supported; repeat the fields, or use an alias for each`)
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Style&yaml.TaggedStyle != 0:
			d.add(key.Line, key.Column, p, "the name of a field must be text; put it in quotes")
		case twice:
			d.twice(key, first, p.field(key.Value))
		default:
			lines[key.Value] = key.Line
			each(key, value, p.field(key.Value))
		}
	}
}

func (d *decoder) twice(key *yaml.Node, first int, p *path) {
	where := ""
	if !d.unnumbered {
		where = fmt.Sprintf("; the first is in line %d", first)
	}
	d.add(key.Line, key.Column, p, "stands twice%s", where)
}

// unknown reports a field that its struct does not have. Within a Secret it does not
// repeat the name: it may be a key, pasted where its source belongs.
func (d *decoder) unknown(key *yaml.Node, t reflect.Type, names []string, p *path) {
	hint := "known are " + listed(names)
	if near, ok := nearest(key.Value, names); ok {
		hint = "did you mean " + strconv.Quote(near) + "?"
	}
	if t == secretType {
		d.add(key.Line, key.Column, p, "unknown field; %s", hint)
		return
	}
	d.add(key.Line, key.Column, p.field(key.Value), "unknown field %q; %s", key.Value, hint)
}

func (d *decoder) mismatch(n *yaml.Node, t reflect.Type, p *path) {
	if t == secretType {
		d.structure(n, p, "must say where the key is, as {env: NAME} or {file: PATH}; a key never stands in the file itself")
		return
	}
	d.structure(n, p, "must be %s, not %s", wanted(t), found(n))
}

// wanted says in words what a value of type t looks like.
func wanted(t reflect.Type) string {
	switch {
	case t == durationType:
		return `a duration like "60s", "1m30s" or "7d"`
	case t == timeType:
		return "a time with its zone (RFC 3339), like 2027-01-31T00:00:00Z"
	case t.Kind() == reflect.Pointer:
		return wanted(t.Elem())
	case t.Kind() == reflect.Struct:
		return "a mapping with the fields " + listed(fieldNames(t))
	case t.Kind() == reflect.Slice:
		return "a list"
	case t == definitionType:
		return "a mapping"
	case t.Kind() == reflect.Map:
		return "a mapping of names to texts"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "a whole number"
	}
	return "text"
}

// found says in words what stands in the file.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!bool":
		return "true or false"
	case n.Tag == "!!int", n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!timestamp":
		return "a time"
	}
	return "text"
}

// fieldNames are the YAML names of a struct's fields, in their order.
func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("yaml")
	}
	return names
}
