// Package jsontext writes JSON without reflection: encoding/json costs the filter's module
// a megabyte (RATIONALE.md). It imports nothing and is pure.
package jsontext

// AppendString writes s as a JSON string (RFC 8259 section 7). Bytes that are not UTF-8
// become U+FFFD.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			b = append(b, `\u00`...)
			b = append(b, hex[r>>4], hex[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}
