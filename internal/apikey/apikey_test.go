package apikey_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/internal/apikey"
)

// What stands in documents and in scanners' rules does not move.
func TestKeysKeepTheirForm(t *testing.T) {
	counting := make([]byte, apikey.RandomSize)
	for i := range counting {
		counting[i] = byte(i)
	}
	ones := bytes.Repeat([]byte{255}, apikey.RandomSize)
	for name, tc := range map[string]struct{ got, want string }{ // worked out by another program
		"zeros":          {apikey.New(make([]byte, apikey.RandomSize)), "tg_0000000000000000000000000000004fdrUr"},
		"counting":       {apikey.New(counting), "tg_CTQj2uNU3MFagCXG9LRKRcwGkBIDlf0Ek6xK"},
		"ones":           {apikey.New(ones), "tg_L1YmHWZWm8LLG7HjnuCA2j5rOw8Xp11cWlEA"},
		"zero token":     {apikey.NewToken(make([]byte, apikey.RandomSize)), "tga_0000000000000000000000000000001rIZZ5"},
		"counting token": {apikey.NewToken(counting), "tga_CTQj2uNU3MFagCXG9LRKRcwGkBIDlf2kmOam"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %s, want %s", name, tc.got, tc.want)
		}
	}
	if counting[31] != 31 {
		t.Error("New changed the bytes that it was given")
	}
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func TestWellFormedTellsKeysFromOtherText(t *testing.T) {
	pattern := regexp.MustCompile(`^tg_[0-9A-Za-z]{36}$`)
	rapid.Check(t, func(t *rapid.T) {
		random := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "random")
		key, token := apikey.New(random), apikey.NewToken(random)
		if !apikey.WellFormed(key) || !apikey.TokenWellFormed(token) || !pattern.MatchString(key) {
			t.Fatalf("%s or %s is not well formed", key, token)
		}
		if apikey.WellFormed(token) || apikey.TokenWellFormed(key) {
			t.Fatal("a key is a token")
		}
		i := rapid.IntRange(0, len(key)-1).Draw(t, "where")
		other := rapid.Byte().Draw(t, "other")
		if typo := key[:i] + string(rune(other)) + key[i+1:]; typo != key && apikey.WellFormed(typo) {
			t.Fatalf("%s passes for %s", typo, key)
		}
		if i > 0 { // two neighbours that changed places: CRC-32 finds every burst of at most 32 bits
			b := []byte(key)
			b[i-1], b[i] = b[i], b[i-1]
			if typo := string(b); typo != key && apikey.WellFormed(typo) {
				t.Fatalf("%s passes for %s", typo, key)
			}
		}
	})
	good := apikey.New(make([]byte, 32))
	for name, text := range map[string]string{
		"empty": "", "the prefix": "tg_", "short": good[:len(good)-1], "long": good + "0", "a blank": good + " ", "another prefix": "tx_" + good[3:],
		"upper case": strings.ToUpper(good), "no ASCII": "tg_" + strings.Repeat("é", 18),
	} {
		if apikey.WellFormed(text) {
			t.Errorf("%s: %q is well formed", name, text)
		}
	}
}

// Each digit of the random part takes each value about as often.
func TestDigitsAreUniform(t *testing.T) {
	const n = 20_000
	var count [30][256]int
	random := numbered()
	for range n {
		key := apikey.New(random())
		for i, digit := range []byte(key[3:33]) {
			count[i][digit]++
		}
	}
	for i := range count {
		square := 0.0
		for _, digit := range []byte(alphabet) {
			d := float64(count[i][digit]) - n/62.0
			square += d * d / (n / 62.0)
		}
		if square > 130 { // 61 degrees of freedom: beyond 130 once in a million
			t.Errorf("digit %d: chi-square %.0f", i, square)
		}
	}
}

// numbered gives other bytes with each call, the same in each run.
func numbered() func() []byte {
	n := 0
	return func() []byte {
		n++
		d := apikey.Digest(fmt.Sprint(n))
		return d[:]
	}
}
