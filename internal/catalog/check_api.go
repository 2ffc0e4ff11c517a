package catalog

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxSuffix      = 64
	maxHost        = 253
	maxTimeout     = time.Hour
	maxCORSAge     = 24 * time.Hour
	maxConnections = 1_000_000
)

var (
	suffixPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	hostPattern   = regexp.MustCompile(`^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	originPattern = regexp.MustCompile(`^https?://([^/?#@:\[\]]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?$`)
)

func (k *checker) api(p *path, a *API) {
	k.name(p.field("name"), a.Name)
	k.description(p.field("description"), a.Description)
	k.suffix(p.field("suffix"), a.Suffix)
	seen := map[string]bool{}
	for i, host := range a.Hosts {
		if q := p.field("hosts").item(i); k.once(q, host, host, seen) {
			k.host(q, host)
		}
	}
	k.labels(p.field("tags"), a.Tags)
	k.backend(p.field("backend"), a)
	k.keys(p.field("keys"), a.Keys)
	k.oneOf(p.field("errors"), a.Errors, errorDialects)
	k.oneOf(p.field("when_unavailable"), a.WhenUnavailable, unavailables)
	k.oneOf(p.field("route"), a.Route, routes)
	k.hiddenHeaders(p.field("hide_response_headers"), a.HideResponseHeaders)
	if a.CORS != nil {
		k.cors(p.field("cors"), a.CORS)
	}
	k.limits(p.field("limits"), a.Limits)
	k.counterKey(p.field("limits"), a.Limits, longestSubscription+"/api:"+keyed.Replace(a.Name))
	k.operations(p.field("operations"), a)
	k.definitions(p, a)
}

func (k *checker) suffix(p *path, suffix string) {
	switch {
	case suffix == "":
		k.on(p, "must not be empty: it is the first segment of the API's paths")
	case suffix == ".tollgate":
		k.on(p, "%q is the gateway's own; choose another", suffix)
	case strings.Contains(suffix, "/"):
		k.on(p, "must be one path segment, without slashes")
	case !suffixPattern.MatchString(suffix):
		k.on(p, "must be lower-case letters, digits, dots, underscores and hyphens, and begin with a letter or digit")
	case len(suffix) > maxSuffix:
		k.on(p, "must have at most %d characters", maxSuffix)
	}
}

// host checks a name that clients call the gateway by.
func (k *checker) host(p *path, host string) {
	address, err := netip.ParseAddr(host)
	switch {
	case host != strings.ToLower(host):
		k.on(p, "must be in lower case: %q", strings.ToLower(host))
	case strings.Contains(host, "*"):
		k.on(p, "wildcards are not supported; list the hosts, or leave hosts out to serve every host")
	case err == nil && address.Is4():
	case strings.Contains(host, ":"):
		k.on(p, "must be a host name or IPv4 address, without scheme and port")
	case !validHostName(host):
		k.on(p, "must be a host name, like api.example.com")
	}
}

// suffixes refuses two APIs that answer for the same host and suffix. An API without
// hosts answers for every host.
func (k *checker) suffixes(list *path) {
	type face struct{ suffix, host string } // host is "*" for every host, empty for any
	first := map[face]int{}
	for i, a := range k.c.APIs {
		p := list.item(i)
		if k.isBroken(p.field("suffix")) || k.isBroken(p.field("hosts")) || a.Suffix == "" {
			continue
		}
		hosts, clashes := a.Hosts, []string{"*"}
		if len(hosts) == 0 {
			hosts, clashes = []string{"*"}, []string{"*", ""}
		}
		for _, host := range append(clashes, hosts...) {
			if j, taken := first[face{a.Suffix, host}]; taken {
				k.on(p.field("suffix"), "%q is the suffix of API %q as well%s, %s",
					a.Suffix, k.c.APIs[j].Name, k.line(list.item(j).field("suffix")), sharedHosts(k.c.APIs[j].Hosts, a.Hosts, host))
				break
			}
		}
		for _, host := range append([]string{""}, hosts...) {
			if _, taken := first[face{a.Suffix, host}]; !taken {
				first[face{a.Suffix, host}] = i
			}
		}
	}
}

// sharedHosts says for which hosts two APIs answer both.
func sharedHosts(a, b []string, host string) string {
	switch {
	case len(a) == 0 && len(b) == 0:
		return "for every host"
	case len(a) == 0 || len(b) == 0:
		return "and an API without hosts serves every host"
	}
	return "for host " + strconv.Quote(host)
}

func (k *checker) backend(p *path, a *API) {
	b := &a.Backend
	k.backendURL(p.field("url"), a)
	if b.Timeout < Duration(time.Millisecond) || b.Timeout > Duration(maxTimeout) {
		k.on(p.field("timeout"), "must be at least 1ms and at most 1h")
	}
	k.oneOf(p.field("authorization"), b.Authorization, authorizations)
	switch inject := b.Authorization == "inject"; {
	case inject && b.Key == nil:
		k.on(p, "authorization: inject needs a key; write key: {env: NAME} or key: {file: PATH}")
	case !inject && b.Key != nil && slices.Contains(authorizations, b.Authorization):
		k.on(p.field("key"), "authorization is %s, which sends no key of the backend; write authorization: inject, or remove the key", b.Authorization)
	}
	k.backendKey(p.field("key"), b.Key)
	for name, n := range map[string]int{"max_connections": b.MaxConnections, "max_pending": b.MaxPending} {
		if n < 0 || n > maxConnections {
			k.on(p.field(name), "must be from 0 (Envoy's default) to %d", maxConnections)
		}
	}
}

func (k *checker) keys(p *path, keys Keys) {
	if k.headerName(p.field("header"), keys.Header) {
		if reason, reserved := reservedKeyHeader(keys.Header); reserved {
			k.on(p.field("header"), "%q cannot carry a key: %s", keys.Header, reason)
		}
	}
	k.queryName(p.field("query"), keys.Query)
}

func (k *checker) hiddenHeaders(p *path, names []string) {
	seen := map[string]bool{}
	for i, name := range names {
		lower := strings.ToLower(name)
		q := p.item(i)
		switch {
		case strings.HasPrefix(name, ":"):
			k.on(q, "%q is part of every answer and cannot be hidden", name)
			continue
		case !k.headerName(q, name):
			continue
		case slices.Contains(unhideable, lower) || strings.HasPrefix(lower, "x-tollgate-"):
			k.on(q, "%q cannot be hidden: the gateway or the connection needs it", name)
		default:
			k.once(q, name, lower, seen)
		}
		names[i] = lower
	}
}

func (k *checker) cors(p *path, c *CORS) {
	if len(c.AllowOrigins) == 0 {
		k.on(p.field("allow_origins"), `must name at least one origin, or "*"`)
	}
	seen := map[string]bool{}
	for i, origin := range c.AllowOrigins {
		q := p.field("allow_origins").item(i)
		switch {
		case !k.once(q, origin, origin, seen):
		case origin == "*" && len(c.AllowOrigins) > 1:
			k.on(q, `"*" allows every origin; it must stand alone`)
		case origin != "*" && !validOrigin(origin):
			k.on(q, `must be "*" or scheme://host or scheme://host:port in lower case, as a browser sends it: no path, no default port, like https://portal.example.com`)
		}
	}
	for field, names := range map[string][]string{"allow_headers": c.AllowHeaders, "expose_headers": c.ExposeHeaders} {
		for i, name := range names {
			if name != "*" {
				k.headerName(p.field(field).item(i), name)
			}
		}
	}
	if c.MaxAge < 0 || c.MaxAge > Duration(maxCORSAge) || c.MaxAge%Duration(time.Second) != 0 {
		k.on(p.field("max_age"), "must be whole seconds from 0s to 24h")
	}
}

// validOrigin says whether a browser could send origin (RFC 6454 section 6.2).
func validOrigin(origin string) bool {
	m := originPattern.FindStringSubmatch(origin)
	if m == nil || origin != strings.ToLower(origin) {
		return false
	}
	scheme, host, port := origin[:strings.Index(origin, ":")], m[1], m[2]
	if strings.HasPrefix(host, "[") {
		address, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil || !address.Is6() {
			return false
		}
	} else if _, err := netip.ParseAddr(host); err != nil && !validHostName(host) {
		return false
	}
	return port == "" || validPort(port) && port != defaultPort(scheme)
}
