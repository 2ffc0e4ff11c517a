package route

import "strings"

// Pair is one name=value of a query: decoded, and as it was sent.
type Pair struct {
	Name, Value string
	raw         string
}

// Query is a parsed query in its order. Repeated names are kept.
type Query []Pair

// parseQuery splits raw at "&". Escapes must be whole; "+" is a space. Empty pairs are
// dropped, a pair without "=" has an empty value.
func parseQuery(raw string) (Query, error) {
	if raw == "" {
		return nil, nil
	}
	query := make(Query, 0, 1+strings.Count(raw, "&"))
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		decodedName, ok := decodeQuery(name)
		decodedValue, ok2 := decodeQuery(value)
		if !ok || !ok2 {
			return nil, ErrPath
		}
		query = append(query, Pair{decodedName, decodedValue, pair})
	}
	return query, nil
}

func decodeQuery(raw string) (string, bool) {
	if strings.ContainsAny(raw, "%+") {
		decoded, ok := unescape(raw, true)
		return decoded, ok && !hasControl(decoded)
	}
	return raw, !hasControl(raw)
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// Take removes the pairs named name, in any case of letters, and returns their values.
func (q Query) Take(name string) (rest Query, values []string) {
	rest = q
	for i := 0; i < len(rest); i++ {
		if strings.EqualFold(rest[i].Name, name) {
			values = append(values, rest[i].Value)
			rest = append(append(Query(nil), rest[:i]...), rest[i+1:]...)
			i--
		}
	}
	return rest, values
}

// appendTo writes the pairs as they were sent, with a leading "?" when there is one.
func (q Query) appendTo(b []byte) []byte {
	separator := byte('?')
	for _, pair := range q {
		b = append(b, separator)
		b = append(b, pair.raw...)
		separator = '&'
	}
	return b
}
