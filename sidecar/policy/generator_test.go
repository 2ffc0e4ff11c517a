package policy_test

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// generator draws random rules. Every body is built from statements that read input in
// one of the ways in which Rego can: directly, through variables, patterns, functions,
// comprehensions, negations, mocks.
type generator struct {
	t *rapid.T
	// paths are the places of input that rules refer to, down to the leaves.
	paths [][]string
	vars  int
}

var constants = []string{`"a"`, `"b"`, `1`, `true`, `false`, `null`, `[]`, `{}`, `["a"]`}

func (g *generator) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(g.t, label)
}

func (g *generator) constant() string { return g.pick("constant", constants...) }

func (g *generator) variable() string {
	g.vars++
	return fmt.Sprintf("v%d", g.vars)
}

// cut splits a path of input at a random place below its first name.
func (g *generator) cut() (head, tail []string) {
	path := rapid.SampledFrom(g.paths).Draw(g.t, "path")
	at := rapid.IntRange(min(2, len(path)), len(path)).Draw(g.t, "cut")
	if rapid.IntRange(0, 40).Draw(g.t, "whole") == 0 {
		at = rapid.IntRange(0, 1).Draw(g.t, "root")
	}
	return path[:at], path[at:]
}

func write(root string, path []string) string {
	var b strings.Builder
	b.WriteString(root)
	for _, segment := range path {
		if segment[0] >= '0' && segment[0] <= '9' {
			fmt.Fprintf(&b, "[%s]", segment)
		} else {
			fmt.Fprintf(&b, "[%q]", segment)
		}
	}
	return b.String()
}

// expression is a reference to input, sometimes with a segment that only evaluation
// knows, sometimes wrapped in a call or a literal.
func (g *generator) expression() string {
	head, tail := g.cut()
	switch rapid.IntRange(0, 9).Draw(g.t, "expression") {
	case 0:
		return write("input", head) + "[_]"
	case 1:
		return write("input", head) + "[input.request.method]"
	case 2:
		if len(tail) > 0 {
			return fmt.Sprintf("object.get(%s, %q, %s)", write("input", head), tail[0], g.constant())
		}
	case 3:
		return fmt.Sprintf(`{"k": %s}["k"]`, write("input", head))
	}
	return write("input", append(append([]string{}, head...), tail[:rapid.IntRange(0, len(tail)).Draw(g.t, "tail")]...))
}

// alias binds a prefix of a path to a variable and returns where its values lie.
func (g *generator) alias() (statement, variable string, tail []string) {
	head, tail := g.cut()
	v, ref := g.variable(), write("input", head)
	if len(tail) == 0 {
		tail = []string{g.pick("below", "a", "suspended")}
	}
	return g.pick("alias", v+" := "+ref, v+" = "+ref, "["+v+", _] = ["+ref+", 1]", "some "+v+" in ["+ref+"]",
		v+" := same("+ref+")", v+" := [x | x := "+ref+"][0]"), v, tail
}

func (g *generator) statements() []string {
	bind, v, tail := g.alias()
	below := write(v, tail)
	deep := write(v, tail[:1])
	x := g.variable()
	switch rapid.IntRange(0, 18).Draw(g.t, "statement") {
	case 0:
		return []string{bind, "not " + below}
	case 1:
		return []string{bind, below + " == " + g.constant()}
	case 2:
		return []string{bind, fmt.Sprintf("not %s == %s", below, g.constant())}
	case 3:
		return []string{bind, fmt.Sprintf("count({%[1]s | %[1]s := %[2]s[_]; %[1]s == %[3]s}) == 0", x, deep, g.constant())}
	case 4:
		return []string{fmt.Sprintf("every %[1]s in [%[2]s] { %[1]s != %[3]s }", x, g.expression(), g.constant())}
	case 5:
		return []string{fmt.Sprintf("some %s in %s", x, g.expression()), x + " == " + g.constant()}
	case 6:
		return []string{bind, fmt.Sprintf("object.get(%s, %q, %s) == %s", v, tail[0], g.constant(), g.constant())}
	case 7:
		return []string{bind, fmt.Sprintf("{%q: %s} = %s", tail[0], x, v), x + " != " + g.constant()}
	case 8:
		return []string{"_ = " + g.expression(), "not " + g.expression()}
	case 9:
		return []string{"mocked with input.request.method as " + g.expression()}
	case 10:
		return []string{fmt.Sprintf("is(%s, %s)", g.expression(), g.constant())}
	case 11:
		return []string{bind, fmt.Sprintf("suspended(%s)", v)}
	case 12:
		return []string{bind, fmt.Sprintf("walk(%s, [_, %s])", v, g.constant())}
	case 13:
		return []string{bind, fmt.Sprintf("not is(%s, %s)", v, g.constant())}
	case 14:
		return []string{bind, fmt.Sprintf("{%[1]s | %[2]s[%[1]s]} == {%[3]q}", x, v, tail[0])}
	case 15:
		return []string{bind, fmt.Sprintf("type_name(%s) == %s", v, g.pick("type", `"null"`, `"object"`, `"array"`, `"string"`))}
	case 16:
		return []string{bind, v + " == " + g.expression()}
	case 17:
		return []string{"not mocked with data.flags as {\"on\": " + g.expression() + "}"}
	default:
		return []string{fmt.Sprintf("chosen == %s", g.constant())}
	}
}

// rules are rules of deny, of counted and what they call, without a package line. counted
// is a set of texts to count by, made of input.
func (g *generator) rules() string {
	var b strings.Builder
	for i := range rapid.IntRange(1, 2).Draw(g.t, "rules") {
		fmt.Fprintf(&b, "deny contains \"r%d\" if {\n", i)
		for range rapid.IntRange(1, 2).Draw(g.t, "statements") {
			for _, statement := range g.statements() {
				fmt.Fprintf(&b, "\t%s\n", statement)
			}
		}
		b.WriteString("}\n\n")
	}
	fmt.Fprintf(&b, "counted contains json.marshal(%s) if {\n\t%s\n}\n\n", g.expression(), strings.Join(g.statements(), "\n\t"))
	fmt.Fprintf(&b, "same(x) := x\n\nis(x, y) if x == y\n\nsuspended(x) if not x.suspended\n\nmocked if data.flags.on == %s\n\n", g.constant())
	fmt.Fprintf(&b, "mocked if input.request.method == %s\n\n", g.constant())
	fmt.Fprintf(&b, "chosen := %s if %s == %s else := %s\n", g.constant(), g.expression(), g.constant(), g.expression())
	return b.String()
}
