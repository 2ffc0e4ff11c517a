package emulator

import (
	"strconv"
	"strings"

	"github.com/spaolacci/murmur3"
)

// FeatureHashing counts a text's unigrams and bigrams in 2^Bits buckets, as AzureML Studio's Feature Hashing module does with
// Vowpal Wabbit 7's defaults: MurmurHash3_x86_32 with seed 0 of each space-separated token, case kept, no constant feature.
type FeatureHashing struct {
	Bits          uint // 1 to 31; 3 in the guide's experiment
	NumericTokens bool // a token of digits is its number, not its hash
}

// bigramFactor folds the hash of a token into that of its predecessor (Vowpal Wabbit's quadratic constant).
const bigramFactor = 27942141

// Counts returns the 2^Bits counts. A text without tokens has only zeros.
func (f FeatureHashing) Counts(text string) []int {
	counts := make([]int, 1<<f.Bits)
	mask := uint32(len(counts) - 1)
	var previous uint32
	for i, token := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' }) {
		h := f.hash(token)
		counts[h&mask]++
		if i > 0 {
			counts[(previous*bigramFactor+h)&mask]++
		}
		previous = h
	}
	return counts
}

func (f FeatureHashing) hash(token string) uint32 {
	if !f.NumericTokens || strings.Trim(token, "0123456789") != "" {
		h := murmur3.New32() // not Sum32: v1.1.0 walks the bytes with a uintptr there, which a moving stack breaks
		_, _ = h.Write([]byte(token))
		return h.Sum32()
	}
	var n uint32
	for _, digit := range []byte(token) {
		n = 10*n + uint32(digit-'0')
	}
	return n
}

// Names of the one input, its one column, and the one output of the emulated service.
const (
	inputName   = "input1"
	inputColumn = "Col2"
	outputName  = "output1"
)

// experiment is the web service's model: a text column in, the text and its features out.
type experiment struct {
	prefix  string
	hashing FeatureHashing
}

// table is what travels between the model and the encodings. Every scalar is a string.
type table struct {
	columns []string
	types   []string
	rows    [][]string
}

func (x experiment) schema() table {
	t := table{columns: []string{inputColumn}, types: []string{"String"}}
	for i := range 1 << x.hashing.Bits {
		t.columns = append(t.columns, x.prefix+strconv.Itoa(i))
		t.types = append(t.types, "Int32")
	}
	return t
}

func (x experiment) run(texts []string) table {
	t := x.schema()
	t.rows = make([][]string, 0, len(texts))
	for _, text := range texts {
		row := []string{text}
		for _, n := range x.hashing.Counts(text) {
			row = append(row, strconv.Itoa(n))
		}
		t.rows = append(t.rows, row)
	}
	return t
}
