// Package route finds the API and the operation that a request names, and says how the
// request is spelled towards the backend. It is pure.
//
// It reads a path as strictly as any backend might: what the filter matched is what the
// backend gets, re-serialised from the decoded segments (invariant I7).
package route

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// ErrPath is a path or query that some backend may read otherwise than this package:
// dot segments, encoded separators, double encoding, control characters, bad escapes.
var ErrPath = errors.New("path or query is not canonical")

// splitTarget cuts a request target in origin form into its raw segments and raw query.
// The segments are what stands between slashes after the first one.
func splitTarget(target string) (path, query string, err error) {
	if target == "" || target[0] != '/' {
		return "", "", ErrPath
	}
	path, query, _ = strings.Cut(target, "?")
	if strings.ContainsAny(path, "#\\") || strings.Contains(query, "#") {
		return "", "", ErrPath
	}
	return path[1:], query, nil
}

// decodeSegment decodes a raw path segment once. It refuses what decodes to a separator,
// to another escape, to a control character, to a dot segment (also before a ";", where
// servlet containers cut), or to something that is not UTF-8.
func decodeSegment(raw string) (string, error) {
	segment := raw
	if strings.IndexByte(raw, '%') >= 0 {
		decoded, ok := unescape(raw, false)
		if !ok {
			return "", ErrPath
		}
		segment = decoded
	}
	for i := 0; i < len(segment); i++ {
		if c := segment[i]; c < 0x20 || c == 0x7f || c == '%' || c == '/' || c == '\\' {
			return "", ErrPath
		}
	}
	name, _, _ := strings.Cut(segment, ";")
	if name == "." || name == ".." || !utf8.ValidString(segment) {
		return "", ErrPath
	}
	return segment, nil
}

// appendSegment percent-encodes all but RFC 3986's unreserved characters.
func appendSegment(b []byte, segment string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if unreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// unescape decodes percent escapes, and "+" to a space where form is true.
func unescape(raw string, form bool) (string, bool) {
	b := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '%':
			if i+2 >= len(raw) {
				return "", false
			}
			high, low := unhex(raw[i+1]), unhex(raw[i+2])
			if high < 0 || low < 0 {
				return "", false
			}
			b = append(b, byte(high<<4|low))
			i += 2
		case c == '+' && form:
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
