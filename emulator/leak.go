package emulator

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// LeakCode is the envelope's code when a request shows that the gateway in front let something through. Status 500.
const LeakCode = "ConsumerKeyLeaked"

// keyHeaders carry a consumer's key; the second is where the PowerShell client repeats it.
var keyHeaders = []string{"Ocp-Apim-Subscription-Key", "X-Ms-Metaanalytics-Authorizationtoken"}

// pathHeaders tell the backend the public path or host; Envoy adds them when it rewrites either.
var pathHeaders = []string{"X-Envoy-Original-Path", "X-Envoy-Original-Host"}

// keyParameter is the query parameter of a consumer's key.
const keyParameter = "subscription-key"

// leak returns the error for the first thing in r that should have stayed in front of the service, or nil. It names the place,
// never the value, nor a name that contains a forbidden key.
func (s *Server) leak(r *http.Request) *Error {
	s.forbiddenMu.RLock()
	forbidden := s.forbidden
	s.forbiddenMu.RUnlock()

	if holds(forbidden, r.URL.EscapedPath()) {
		return leakError("a consumer's key", "the path")
	}
	if e := queryLeak(forbidden, r.URL.RawQuery); e != nil {
		return e
	}
	if holds(forbidden, r.Host) {
		return leakError("a consumer's key", "header \"host\"")
	}
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if e := headerLeak(forbidden, name, r.Header[name]); e != nil {
			return e
		}
	}
	return nil
}

func headerLeak(forbidden []string, name string, values []string) *Error {
	if holds(forbidden, name) {
		return leakError("a consumer's key", "a header's name")
	}
	place := "header " + strconv.Quote(strings.ToLower(name))
	switch {
	case slices.Contains(keyHeaders, name):
		return leakError("a consumer's key", place)
	case slices.Contains(pathHeaders, name):
		return leakError("the public path", place)
	case strings.HasPrefix(name, "X-Tollgate-"):
		return leakError("a gateway's header", place)
	}
	for _, value := range values {
		if holds(forbidden, value) {
			return leakError("a consumer's key", place)
		}
	}
	return nil
}

// queryLeak reads the raw query itself, so that one which is not well-formed hides nothing.
func queryLeak(forbidden []string, query string) *Error {
	for part := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(part, "=")
		name = unescape(name)
		switch {
		case holds(forbidden, name):
			return leakError("a consumer's key", "a query parameter's name")
		case strings.EqualFold(strings.TrimSpace(name), keyParameter), holds(forbidden, value):
			return leakError("a consumer's key", "query parameter "+strconv.Quote(name))
		}
	}
	if holds(forbidden, query) {
		return leakError("a consumer's key", "the query")
	}
	return nil
}

// holds reports whether text contains a forbidden key, in any letter case, as it is or percent-encoded once.
func holds(forbidden []string, text string) bool {
	if text == "" {
		return false
	}
	plain, decoded := strings.ToLower(text), strings.ToLower(unescape(text))
	return slices.ContainsFunc(forbidden, func(key string) bool {
		return strings.Contains(plain, key) || strings.Contains(decoded, key)
	})
}

// unescape decodes what percent escapes it can and leaves the others.
func unescape(text string) string {
	if decoded, err := url.PathUnescape(text); err == nil {
		return decoded
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
