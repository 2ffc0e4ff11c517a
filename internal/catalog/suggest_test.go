package catalog_test

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/internal/catalog"
)

func TestMisspelt(t *testing.T) {
	for name, c := range map[string]struct {
		word, candidate string
		want            int
		few             bool
	}{
		"the same":         {"alice", "Alice", 0, true},
		"one wrong":        {"alide", "alice", 1, true},
		"one missing":      {"alce", "alice", 1, true},
		"one added":        {"allice", "alice", 1, true},
		"two swapped":      {"alcie", "alice", 1, true},
		"too many":         {"bob", "alice", 5, false},
		"nothing":          {"", "a", 0, false},
		"a word too long":  {strings.Repeat("a", 65), "a", 0, false},
		"the other is":     {"a", strings.Repeat("a", 65), 0, false},
		"the longest word": {strings.Repeat("a", 64), strings.Repeat("a", 63), 1, true},
	} {
		if got, few := catalog.Misspelt(c.word, c.candidate); few != c.few || few && got != c.want {
			t.Errorf("%s: %d, %v; want %d, %v", name, got, few, c.want, c.few)
		}
	}
}
