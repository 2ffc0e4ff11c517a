package admin

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// joinSurrogates writes the pairs of \uXXXX by which JSON writes a character above U+FFFF as
// that character: YAML, as which a catalog's objects are read, has no such pairs. text is
// JSON; half of a pair stays as it is.
func joinSurrogates(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\u`)) {
		return text
	}
	joined := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			joined = append(joined, text[i])
			i++
			continue
		}
		if r := utf16.DecodeRune(escaped(text[i:]), escaped(text[min(i+6, len(text)):])); r != utf8.RuneError {
			joined = utf8.AppendRune(joined, r)
			i += 12
			continue
		}
		joined = append(joined, text[i:min(i+2, len(text))]...) // so that the second of \\ begins nothing
		i += 2
	}
	return joined
}

// escaped is the character of the \uXXXX at the beginning of text; 0: there is none.
func escaped(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}
