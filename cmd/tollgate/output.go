package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// The formats of output.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
	formatCSV   = "csv"
)

// output is in which of the formats that a command knows it prints.
type output struct {
	format string
	known  []string
}

// register adds --output. The first of known is the default.
func (o *output) register(c *cobra.Command, known ...string) {
	o.known = known
	c.Flags().StringVarP(&o.format, "output", "o", known[0], alternatives(known))
	complete(c, "output", known...)
}

func (o *output) check() error {
	if !slices.Contains(o.known, o.format) {
		return misusef("--output is %s, not %q", alternatives(o.known), o.format)
	}
	return nil
}

// alternatives is "a", "a or b", "a, b or c".
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// encode prints v as JSON or YAML, and false where the format is neither.
func (o *output) encode(w io.Writer, v any) (bool, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	switch o.format {
	case formatJSON, formatYAML:
	default:
		return false, nil
	}
	if err := e.Encode(v); err != nil {
		return true, fmt.Errorf("printing: %w", err)
	}
	text := b.Bytes()
	if o.format == formatYAML {
		var err error
		if text, err = yamlOf(text); err != nil {
			return true, fmt.Errorf("printing: %w", err)
		}
	}
	_, err := w.Write(text)
	return true, err
}

// table prints aligned columns. A cell without content is "-", so that a column never
// disappears for programs that split lines.
func table(w io.Writer, columns []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = shownCell(cell)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// shownCell is a cell on one line: line breaks and tabs become spaces, what a terminal
// would obey is left out, and what turns the direction of a text.
func shownCell(cell string) string {
	cell = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			return ' '
		case c < ' ' || c >= 0x7f && c < 0xa0 || unicode.Is(unicode.Bidi_Control, c):
			return -1
		}
		return c
	}, cell)
	if cell = strings.TrimSpace(cell); cell == "" {
		return "-"
	}
	return cell
}

// short is a text cut for a column.
func short(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-3]) + "..."
	}
	return text
}

// instant is a time in a table, to the second; empty for none.
func instant(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// answer is "yes" or "no".
func answer(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// manager is a source in a table.
func manager(source string) string {
	if source == "" {
		return "api"
	}
	return source
}
