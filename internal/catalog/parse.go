package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the size in bytes of the largest catalog file.
const MaxSize = 16 << 20

// maxSearched is the size in bytes up to which a syntax error is searched for, which reads
// the file a dozen times or more. In a larger file the YAML package's line has to do.
const maxSearched = 1 << 20

// Options are what the caller adds to a catalog file.
type Options struct {
	// AllowBackends names backends that would be refused otherwise (loopback,
	// link-local, metadata services, see refusedHost), each as host or host:port. A host without a port is allowed on every port.
	AllowBackends []string
	// BackendOverrides are URLs in place of those of the APIs' backends, by the APIs' names.
	// Parse checks them as if they stood in the file, and does not check the address that is
	// replaced; Override puts them in place.
	BackendOverrides map[string]string
	// Partial takes a part of a catalog: organization and apis may be missing, and an
	// override may be of an API that is elsewhere.
	Partial bool
	// Known says whether there is an "api", a "product", a "group" or a "developer" of that
	// name besides those in the file; nil: there is none.
	Known func(kind, name string) bool
	// Unnumbered leaves lines out of messages, for what is no file of a person.
	Unnumbered bool
	// Unbounded takes a catalog that is larger than MaxSize, for what was checked already.
	Unbounded bool
}

// Parse reads a catalog file, applies the defaults and checks everything that can be
// checked without asking anyone: no name is resolved and no secret read. It returns the
// catalog, or nil and every mistake, by line. The name of the file is only for the mistakes.
//
// In the catalog that it returns, backend URLs have scheme and host in lower case, no
// default port and no slash at the end; hidden headers and digests are in lower case; a
// path parameter is required; and the lists of the catalog are never nil. Its JSON
// form is a catalog file itself, which Parse reads as the same catalog.
func Parse(file string, data []byte, options Options) (*Catalog, []Mistake) {
	r := &report{file: file, unnumbered: options.Unnumbered}
	if len(data) > MaxSize && !options.Unbounded {
		r.add(1, 1, nil, "the file is larger than %d MiB", MaxSize>>20)
		return nil, r.sorted()
	}
	if r.root = readDocument(r, data); r.root == nil {
		return nil, r.sorted()
	}
	c := &Catalog{}
	d := decoder{report: r, partial: options.Partial}
	d.value(r.root, reflect.ValueOf(c).Elem(), nil)
	if !r.isBroken(nil) {
		check(c, r, options)
	}
	if mistakes := r.sorted(); len(mistakes) > 0 {
		return nil, mistakes
	}
	return c, nil
}

// readDocument returns the content of the file's only document, or nil after a report.
func readDocument(r *report, data []byte) *yaml.Node {
	if !checkText(r, data) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	first, err := nextDocument(decoder)
	switch {
	case errors.Is(err, io.EOF), err == nil && first.Content[0].Tag == "!!null":
		r.add(1, 1, nil, "the file is empty; it must declare at least an organization and apis")
		return nil
	case err != nil:
		reportSyntax(r, data, err)
		return nil
	}
	second, err := nextDocument(decoder)
	switch {
	case err == nil:
		r.add(second.Line, second.Column, nil, `a catalog is one document; remove the "---" before this line`)
		return nil
	case !errors.Is(err, io.EOF):
		reportSyntax(r, data, err)
		return nil
	}
	return first.Content[0]
}

// nextDocument reads one document. The YAML package panics on a few malformed inputs
// ("internal error ... please report"); here that is an error like any other.
func nextDocument(d *yaml.Decoder) (document *yaml.Node, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("yaml: %v", problem)
		}
	}()
	document = &yaml.Node{}
	if err := d.Decode(document); err != nil {
		return nil, err
	}
	return document, nil
}

// checkText refuses what is not plain text, and the line breaks that YAML knows but
// editors do not, which would make every line number after them wrong.
func checkText(r *report, data []byte) bool {
	line, column := 1, 0
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		column++
		switch {
		case c == utf8.RuneError && size == 1:
			r.add(line, column, nil, "byte 0x%02x is not UTF-8; save the file as UTF-8", data[i])
			return false
		case c == '\n':
			line, column = line+1, 0
		case c == '\r' && i+1 < len(data) && data[i+1] == '\n', c == '\t':
		case c == '\uFEFF' && i == 0:
			column--
		case escaped(c):
			r.add(line, column, nil, `character U+%04X must not stand in the file; inside double quotes write "\u%04X"`, c, c)
			return false
		}
		i += size
	}
	return true
}

// escaped says whether a character stands in a file only as an escape: those that are not
// text, and the line breaks that editors do not know.
func escaped(c rune) bool {
	return unicode.IsControl(c) || c == '\u2028' || c == '\u2029' || c == '\uFEFF' || c == '\uFFFE' || c == '\uFFFF'
}

var (
	syntaxLine    = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor .* referenced$`)
)

// reportSyntax reports what the YAML package could not read. Its messages name a line
// that is often only near (of the enclosing block, or one too early), so the line is where
// the shortest beginning of the file ends that fails in the same way. What opens and never
// closes fails at the end of the file, and is reported where it opens.
func reportSyntax(r *report, data []byte, err error) {
	message := syntaxMessage(err)
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 && len(lines) > 1 {
		lines = lines[:len(lines)-1]
	}
	good, bad := 0, len(lines) // lines[:bad] fails in this way, lines[:good] does not
	for bad-good > 1 && len(data) <= maxSearched {
		middle := (good + bad) / 2
		if syntaxMessage(readAll(bytes.Join(lines[:middle], nil))) == message {
			bad = middle
		} else {
			good = middle
		}
	}
	opened, ok := opening(err, message)
	if ok || len(data) > maxSearched {
		bad = min(max(opened, 1), len(lines))
	}
	r.add(bad, 1, nil, "not YAML: %s", message)
}

// opening returns the line that the YAML package names, and whether it is the one where a
// quote or bracket opens that never closes. It counts from 1 in the package's scanner
// and from 0 in its parser.
func opening(err error, message string) (line int, ok bool) {
	m := syntaxLine.FindStringSubmatch(strings.TrimPrefix(err.Error(), "yaml: "))
	if m == nil {
		return 0, false
	}
	if line, err = strconv.Atoi(m[1]); err != nil {
		return 0, false
	}
	switch {
	case strings.Contains(message, "unexpected end of stream"), strings.Contains(message, "unexpected document indicator"):
		return line, true
	case strings.Contains(message, "',' or"):
		return line + 1, true
	}
	return line, false
}

// readAll returns the error of the first document of data that is not YAML.
func readAll(data []byte) error {
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		if _, err := nextDocument(d); err != nil {
			return err
		}
	}
}

// syntaxMessage is an error of the YAML package without its prefix and line. It leaves
// out the name of an unknown anchor: a key that begins with * looks like one.
func syntaxMessage(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = text[len(syntaxLine.FindString(text)):]
	switch {
	case unknownAnchor.MatchString(text):
		return "an alias (*name) stands before its anchor (&name); put a text that begins with * in quotes"
	case strings.Contains(text, "found character that cannot start any token"):
		return text + " (a tab, or one of @ ` % outside quotes)"
	}
	return text
}
