package apikey

import (
	"hash/crc32"
	"strings"
)

// Prefixes of what the gateway makes itself, by which people and secret scanners tell it
// from other text. A scanner's pattern is PREFIX[0-9A-Za-z]{36}; WellFormed then tells
// chance finds.
const (
	Prefix      = "tg_"  // of a subscription's key
	TokenPrefix = "tga_" // of a token of the admin API
)

// RandomSize is how many random bytes a key is made of.
const RandomSize = 32

const (
	randomDigits   = 30 // 178 bits
	checksumDigits = 6  // 62^6 is more than 2^32
)

// base62 are the digits in the order of their values: a double click selects all of a key.
const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// New makes a subscription's key: Prefix, 30 digits of random in base 62, and 6 of the
// CRC-32 (IEEE 802.3) over all that stands before. random is RandomSize bytes that nobody
// can guess: the key is as good as they are.
func New(random []byte) string { return made(Prefix, random) }

// NewToken makes a token of the admin API, in the same way.
func NewToken(random []byte) string { return made(TokenPrefix, random) }

// WellFormed says whether a text has the form, and the checksum, of a key that New made.
// Keys that people chose, or that came from another gateway, do not have it.
func WellFormed(key string) bool { return wellFormed(Prefix, key) }

// TokenWellFormed says the same of a token.
func TokenWellFormed(token string) bool { return wellFormed(TokenPrefix, token) }

func made(prefix string, random []byte) string {
	text := prefix + string(digits(append([]byte(nil), random...), randomDigits))
	return text + checksum(text)
}

func wellFormed(prefix, text string) bool {
	if len(text) != len(prefix)+randomDigits+checksumDigits || !strings.HasPrefix(text, prefix) {
		return false
	}
	for i := len(prefix); i < len(text); i++ {
		if strings.IndexByte(base62, text[i]) < 0 {
			return false
		}
	}
	body := text[:len(text)-checksumDigits]
	return text[len(body):] == checksum(body)
}

// checksum is the CRC-32 of a text in base 62.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	return string(digits([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}, checksumDigits))
}

// digits are the last n digits in base 62 of a number, the most significant byte first. It
// uses the number up. Of 32 random bytes 30 digits are uniform to 2^-77.
func digits(number []byte, n int) []byte {
	text := make([]byte, n)
	for i := n - 1; i >= 0; i-- {
		rest := 0
		for j, b := range number {
			rest = rest<<8 | int(b)
			number[j] = byte(rest / len(base62))
			rest %= len(base62)
		}
		text[i] = base62[rest]
	}
	return text
}
