// Package apikey turns a consumer's key into what may be stored and compared. It is
// pure; keys in clear never leave a call.
package apikey

import (
	"crypto/hmac"
	"crypto/sha256"
)

// MaxLength is the longest key in bytes (APIM: 1 to 256 characters).
const MaxLength = 256

// Digest is what the store keeps of a key: SHA-256 over its bytes.
func Digest(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// MAC is what a snapshot carries of a digest: HMAC-SHA-256 under the store's pepper, cut
// to 16 bytes, of which pages of keys have the first 12. Who reads a snapshot cannot look digests up in another one.
func MAC(pepper []byte, digest [32]byte) [16]byte {
	h := hmac.New(sha256.New, pepper)
	h.Write(digest[:])
	return [16]byte(h.Sum(nil)[:16])
}
