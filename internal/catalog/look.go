package catalog

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/mtibben/confusables"
	"golang.org/x/text/unicode/norm"
)

// Look is the form that two names share when people cannot tell them apart (the skeleton of
// Unicode Technical Standard 39). It is for comparing alone.
func Look(name string) string { return confusables.Skeleton(name) }

// LookAlike says whether two names of one kind look the same. ASCII is for ASCII to tell
// apart: "Pool l" and "Pool 1" are two names.
func LookAlike(a, b string) bool {
	return a != b && (!isASCII(a) || !isASCII(b)) && Look(a) == Look(b)
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c > unicode.MaxASCII })
}

// looksDifferent refuses a name that looks like another one of its kind. looks are the names
// seen so far, by their looks: of several, one that is not ASCII.
func (k *checker) looksDifferent(p *path, name string, looks map[string]string) {
	look := Look(name)
	other, seen := looks[look]
	if seen && LookAlike(name, other) {
		k.on(p, "%q looks like %q; use a name that people can tell from it", name, other)
		return
	}
	if !seen || !isASCII(name) {
		looks[look] = name
	}
}

// lookFault says why people could take a name for another one; empty when they cannot.
func lookFault(name string) string {
	if isASCII(name) {
		return ""
	}
	if !norm.NFC.IsNormalString(name) {
		return fmt.Sprintf("must be in Unicode's composed form (NFC): write %q", norm.NFC.String(name))
	}
	for _, c := range name {
		if unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) || c == '\u2800' {
			return fmt.Sprintf("must not have invisible characters, and U+%04X is one", c)
		}
	}
	for word := range strings.FieldsFuncSeq(name, func(c rune) bool { return !unicode.In(c, unicode.L, unicode.M, unicode.N) }) {
		if scripts := scriptsOf(word); !belongTogether(scripts) {
			return fmt.Sprintf("must not mix scripts in one word: %q is %s", word, listed(scripts))
		}
	}
	return ""
}

// scriptsOf are the scripts of a word's letters, sorted.
func scriptsOf(word string) []string {
	var scripts []string
	for _, c := range word {
		if script := scriptOf(c); script != "" && !slices.Contains(scripts, script) {
			scripts = append(scripts, script)
		}
	}
	slices.Sort(scripts)
	return scripts
}

// scriptOf is a character's script; empty for those that go with any.
func scriptOf(c rune) string {
	if c <= unicode.MaxASCII || unicode.In(c, unicode.Latin) {
		if unicode.IsLetter(c) {
			return "Latin"
		}
		return ""
	}
	if unicode.In(c, unicode.Common, unicode.Inherited) {
		return ""
	}
	for name, table := range unicode.Scripts {
		if unicode.Is(table, c) {
			return name
		}
	}
	return ""
}

// writingSystems are the scripts that languages write together, and with Latin letters (UTS
// 39 section 5.2, "highly restrictive").
var writingSystems = [][]string{
	{"Han", "Hiragana", "Katakana", "Latin"},
	{"Bopomofo", "Han", "Latin"},
	{"Han", "Hangul", "Latin"},
}

func belongTogether(scripts []string) bool {
	return len(scripts) < 2 || slices.ContainsFunc(writingSystems, func(system []string) bool {
		return !slices.ContainsFunc(scripts, func(script string) bool { return !slices.Contains(system, script) })
	})
}
