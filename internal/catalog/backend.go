package catalog

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// backendAddress is a backend's URL, checked and in its canonical form.
type backendAddress struct {
	url        string // scheme and host in lower case, no default port, no slash at the end
	host, port string // host without brackets; port never empty
}

// readBackend reads a backend's URL, or says what is wrong with it. The fault never
// repeats the URL: what is wrong may be a password in it.
func readBackend(raw string) (b backendAddress, fault string) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return b, "must be an http or https URL, like https://backend.example.com"
	case err != nil || len(raw) > maxValue || strings.ContainsAny(raw, " \\"):
		return b, "is no URL; write one like https://backend.example.com/path"
	case u.Scheme != "http" && u.Scheme != "https":
		return b, "must begin with https:// or http://"
	case u.Host == "" || u.Opaque != "":
		return b, "must name a host, like https://backend.example.com"
	case u.User != nil:
		return b, "must have no user and password; write authorization: inject and a key"
	case strings.Contains(raw, "?"):
		return b, "must have no query: operations and clients bring their own"
	case strings.Contains(raw, "#"):
		return b, "must have no fragment"
	}
	host, fault := readHost(strings.ToLower(u.Hostname()), strings.HasPrefix(u.Host, "["))
	if fault != "" {
		return b, fault
	}
	port := u.Port()
	if strings.HasSuffix(u.Host, ":") || port != "" && !validPort(port) {
		return b, "must have a port from 1 to 65535, or none"
	}
	prefix := strings.TrimSuffix(u.EscapedPath(), "/")
	if prefix != "" {
		for _, segment := range strings.Split(prefix[1:], "/") {
			if fault := literalFault(segment); fault != "" {
				return b, "has a path that " + fault
			}
		}
	}
	b = backendAddress{host: host, port: port}
	authority := bracketed(host)
	if port == "" || port == defaultPort(u.Scheme) {
		b.port = defaultPort(u.Scheme)
	} else {
		authority += ":" + port
	}
	b.url = u.Scheme + "://" + authority + prefix
	return b, ""
}

// backendURL checks where an API's requests go, or would with its override, and puts the
// canonical URL in its place.
func (k *checker) backendURL(p *path, a *API) {
	b, fault := readBackend(a.Backend.URL)
	if fault != "" {
		k.on(p, "%s", fault)
		return
	}
	subject, canonical := "", b.url
	if override, given := k.options.BackendOverrides[a.Name]; given {
		subject = "the URL given in its place: "
		if b, fault = readBackend(override); fault != "" {
			k.on(p, "%s%s", subject, fault)
			return
		}
	}
	if reason, refused := refusedHost(b.host); refused && !k.isAllowed(b) {
		k.on(p, "%s%s is %s; a backend there is refused unless %s:%s is allowed by name", subject, b.host, reason, bracketed(b.host), b.port)
		return
	}
	a.Backend.URL = canonical
}

// Override puts backend URLs in place of those of the APIs that it names. They are written in
// their canonical form; Parse has checked them as Options.BackendOverrides.
func (c *Catalog) Override(backends map[string]string) {
	for i := range c.APIs {
		if raw, given := backends[c.APIs[i].Name]; given {
			if b, fault := readBackend(raw); fault == "" {
				c.APIs[i].Backend.URL = b.url
			}
		}
	}
}

// overrides refuses an override of an API that the file does not have.
func (k *checker) overrides(list *path) {
	for _, name := range slices.Sorted(maps.Keys(k.options.BackendOverrides)) {
		if _, ok := k.apis.places[name]; !ok && !k.apis.partial && !k.options.Partial {
			k.on(list, "a backend is given in place of that of API %q, which is not in the file%s", name, hint(name, k.apis.names))
		}
	}
}

// allowed is an entry of Options.AllowBackends.
type allowed struct {
	host, port string // port empty: every port
}

// readAllowed reads the backends that are allowed by name.
func (k *checker) readAllowed() []allowed {
	var list []allowed
	for _, entry := range k.options.AllowBackends {
		a, ok := readAllowedEntry(strings.ToLower(entry))
		if !ok {
			k.on(nil, "allowed backend %q must be a host or host:port, like localhost:9000", entry)
			continue
		}
		list = append(list, a)
	}
	return list
}

func readAllowedEntry(entry string) (a allowed, ok bool) {
	host, port := entry, ""
	bracketed := strings.HasPrefix(entry, "[")
	if end := strings.LastIndex(entry, "]"); bracketed && end > 0 {
		host, port = entry[1:end], entry[end+1:]
	} else if strings.Count(entry, ":") == 1 {
		i := strings.Index(entry, ":")
		host, port = entry[:i], entry[i:]
	} else if strings.Contains(entry, ":") {
		bracketed = true // an IPv6 address without brackets, so without a port
	}
	host, fault := readHost(host, bracketed)
	if fault != "" || port != "" && (port[0] != ':' || !validPort(port[1:])) {
		return a, false
	}
	return allowed{host, strings.TrimPrefix(port, ":")}, true
}

func (k *checker) isAllowed(b backendAddress) bool {
	return slices.ContainsFunc(k.allowed, func(a allowed) bool {
		return a.host == b.host && (a.port == "" || a.port == b.port)
	})
}

// bracketed is a host as it stands in a URL.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// validPort says whether port is a decimal number from 1 to 65535 in its only spelling.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}
