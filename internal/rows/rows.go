// Package rows counts the rows that AzureML scored, from a response as it passes: in pieces
// of any size, keeping none of it. It is pure.
//
// It knows the forms in which AzureML's services answer: tables
// ({"Results":{"output1":{"type":"table","value":{"Values":[[...],...]}}}}), lists of objects
// ({"Results":{"output1":[{...},...]}} and {"Results":[...]}), and a bare list. Of several
// outputs the longest counts: each holds the rows of one request. What is not JSON, or of
// another form, has no rows.
package rows

// depthMax is how deep rows can lie; what is deeper is passed over.
const depthMax = 5

// nameMax is longer than any name that matters.
const nameMax = 16

// Counter counts rows. The zero value is not one; see NewCounter.
type Counter struct {
	levels [depthMax]level
	depth  int // of open arrays and objects
	text   bool
	escape bool
	name   [nameMax]byte // of the member that is being read
	length int           // of name; beyond nameMax: it matters not
	value  bool          // a value is expected next, not a name
	inside bool          // a scalar is being read
	broken bool          // this is no JSON: nothing more is counted
	rows   int64
}

// level is one open array or object.
type level struct {
	array bool
	name  string // of the member, in an object
	rows  int64  // of an array that holds rows; -1: it does not
}

// NewCounter makes a counter for one response.
func NewCounter() *Counter { return &Counter{value: true} }

// Rows is how many rows were seen so far, in the longest output.
func (c *Counter) Rows() int64 { return c.rows }

// Write reads the next piece.
func (c *Counter) Write(piece []byte) {
	for _, b := range piece {
		if c.broken {
			return
		}
		if c.text {
			c.readText(b)
			continue
		}
		switch b {
		case ' ', '\t', '\r', '\n':
			c.inside = false
		case '"':
			c.begin()
			c.text, c.length = true, 0
		case '{', '[':
			c.begin()
			c.open(b == '[')
		case '}', ']':
			c.close()
		case ',':
			c.inside = false
			if l := c.level(); l == nil || !l.array {
				c.value = false
			} else {
				c.value = true
			}
		case ':':
			c.value = true
			if l := c.level(); l != nil {
				l.name = known(c.name[:min(c.length, nameMax)])
			}
		default:
			if !c.inside {
				c.begin()
				c.inside = true
			}
		}
	}
}

func (c *Counter) readText(b byte) {
	switch {
	case c.escape:
		c.escape = false
		c.length = nameMax // no name that matters is written with escapes
	case b == '\\':
		c.escape = true
	case b == '"':
		c.text = false
	case c.length < nameMax:
		c.name[c.length] = b
		c.length++
	}
}

// begin notes the start of a value: in an array of rows, of a row.
func (c *Counter) begin() {
	if !c.value {
		return // a name
	}
	if l := c.level(); l != nil && l.array && l.rows >= 0 {
		l.rows++
		c.rows = max(c.rows, l.rows)
	}
}

func (c *Counter) level() *level {
	if c.depth == 0 || c.depth > depthMax {
		return nil
	}
	return &c.levels[c.depth-1]
}

func (c *Counter) open(array bool) {
	holds := array && c.holdsRows()
	c.depth++
	c.value, c.inside = array, false
	if l := c.level(); l != nil {
		*l = level{array: array, rows: -1}
		if holds {
			l.rows = 0
		}
	}
}

func (c *Counter) close() {
	if c.depth--; c.depth <= 0 {
		c.broken = true // after its only value, or for one bracket too many
	}
	c.value, c.inside = false, false
}

// holdsRows says whether an array that begins now is one of rows, by where it stands.
func (c *Counter) holdsRows() bool {
	at := c.levels[:min(c.depth, depthMax)]
	for _, l := range at {
		if l.array {
			return false
		}
	}
	switch c.depth {
	case 0:
		return true
	case 1, 2:
		return at[0].name == "Results"
	case 4:
		return at[0].name == "Results" && at[2].name == "value" && at[3].name == "Values"
	}
	return false
}

// known gives the names that matter without keeping others.
func known(name []byte) string {
	for _, n := range []string{"Results", "value", "Values"} {
		if string(name) == n {
			return n
		}
	}
	return ""
}
