package catalog

import (
	"regexp"
	"slices"
	"strings"
)

var (
	// token is RFC 9110 section 5.6.2, without the underscore: Envoy refuses a request
	// whose header names have one (envoy.yaml).
	token     = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^`|~-]+$")
	queryWord = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
)

// hopByHop are the headers of one connection (RFC 9110 section 7.6.1).
var hopByHop = []string{
	"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade",
}

// meaningful are request headers that mean something else already, to Envoy, to the
// gateway or to every client.
var meaningful = []string{
	"accept", "accept-encoding", "accept-language", "content-encoding", "content-length", "content-type", "cookie", "date",
	"expect", "forwarded", "host", "origin", "range", "referer", "user-agent", "via",
	"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id",
}

// unhideable are response headers that frame a message or that every error promises.
var unhideable = append([]string{
	"content-encoding", "content-length", "content-type", "retry-after", "www-authenticate", "x-request-id",
}, hopByHop...)

// headerName checks the form of a header's name.
func (k *checker) headerName(p *path, name string) bool {
	switch {
	case name == "":
		k.on(p, "must not be empty; leave the field out for its default")
	case strings.Contains(name, "_"):
		k.on(p, "%q has an underscore, which Envoy refuses in header names; use a hyphen", name)
	case !token.MatchString(name) || len(name) > maxName:
		k.on(p, "must be the name of a header: letters, digits and hyphens, like X-Api-Key")
	default:
		return true
	}
	return false
}

// reservedKeyHeader says why a header cannot carry a consumer's key.
func reservedKeyHeader(name string) (reason string, reserved bool) {
	switch lower := strings.ToLower(name); {
	case lower == "authorization":
		return "write keys: {bearer: true} to take keys from it", true
	case strings.HasPrefix(lower, "x-tollgate-") || strings.HasPrefix(lower, "x-envoy-"):
		return "the gateway keeps this prefix for itself", true
	case slices.Contains(hopByHop, lower):
		return "it belongs to one connection", true
	case slices.Contains(meaningful, lower):
		return "it has another meaning", true
	}
	return "", false
}

// queryName checks the name of a query parameter. The characters are those that need no
// percent-encoding, so that there is one spelling of it.
func (k *checker) queryName(p *path, name string) {
	switch {
	case name == "":
		k.on(p, "must not be empty; leave the field out for its default")
	case !queryWord.MatchString(name) || len(name) > maxName:
		k.on(p, "must be the name of a query parameter: letters, digits, dots, underscores, tildes and hyphens")
	}
}
