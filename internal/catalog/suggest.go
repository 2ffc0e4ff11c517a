package catalog

import (
	"strconv"
	"strings"
)

// Beyond these, a suggestion costs more than it helps.
const (
	MaxSuggestLength     = 64   // of a word, in bytes
	MaxSuggestCandidates = 2000 // of words to ask Misspelt about
)

// Misspelt is how many letters of candidate are wrong, missing, added or swapped in word,
// whatever their case; false where that is too many for the word's length, and where one of
// them is too long.
func Misspelt(word, candidate string) (int, bool) {
	if word == "" || len(word) > MaxSuggestLength || len(candidate) > MaxSuggestLength {
		return 0, false
	}
	d := distance(strings.ToLower(word), strings.ToLower(candidate))
	return d, d <= 1+len(word)/4
}

// distance is the optimal string alignment distance of a and b, over bytes.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// nearest returns the candidate that word was probably meant to be: the one with the
// fewest letters wrong, missing, added or swapped, if these are few for its length.
func nearest(word string, candidates []string) (string, bool) {
	if len(candidates) > MaxSuggestCandidates {
		return "", false
	}
	best, found := 0, ""
	for _, candidate := range candidates {
		if wrong, ok := Misspelt(word, candidate); ok && (found == "" || wrong < best) {
			best, found = wrong, candidate
		}
	}
	return found, found != ""
}

// hint ends a message about a word that is none of the candidates.
func hint(word string, candidates []string) string {
	if near, ok := nearest(word, candidates); ok {
		return "; did you mean " + strconv.Quote(near) + "?"
	}
	if len(candidates) > 0 && len(candidates) <= 12 {
		return "; known are " + listed(candidates)
	}
	return ""
}

// listed is "a", "a and b", "a, b and c".
func listed(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
