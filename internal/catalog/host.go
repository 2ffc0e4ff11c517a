package catalog

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// numeric is a last label that makes resolvers read a host as an IPv4 address in one of
// its old spellings (127.1, 0x7f000001, 0177.0.0.1, 2130706433), see the WHATWG URL
// standard's "ends in a number".
var numeric = regexp.MustCompile(`^(?:[0-9]+|0x[0-9a-f]*)$`)

// readHost returns a backend's host in its only spelling, or says what is wrong with it.
// host is in lower case; bracketed says that it stood in brackets.
func readHost(host string, bracketed bool) (canonical, fault string) {
	address, err := netip.ParseAddr(host)
	switch labels := strings.Split(host, "."); {
	case err == nil && address.Is4() != bracketed && address.Zone() == "" && !address.Is4In6():
		return address.String(), ""
	case err == nil && address.Is4In6():
		return "", "must not write an IPv4 address as IPv6; write " + address.Unmap().String()
	case bracketed || err == nil:
		return "", "must have an IPv6 address in brackets, without a zone, and nothing else in brackets"
	case numeric.MatchString(labels[len(labels)-1]):
		return "", "must write an IPv4 address as four decimal numbers, like 192.0.2.1"
	case strings.HasSuffix(host, "."):
		return "", "must have a host without a dot at its end"
	case !validHostName(host):
		return "", "must have a host of letters, digits, hyphens and dots (punycode for others)"
	}
	return host, ""
}

// validHostName says whether host is a DNS name in lower case that no resolver reads as
// an address. Underscores are taken: container networks have them.
func validHostName(host string) bool {
	return len(host) <= maxHost && hostPattern.MatchString(host) && !numeric.MatchString(host[strings.LastIndex(host, ".")+1:])
}

// refusedNames are hosts that lead to this machine or to a cloud's metadata service.
var refusedNames = map[string]string{
	"localhost.localdomain":    "this machine",
	"localhost6":               "this machine",
	"localhost6.localdomain6":  "this machine",
	"ip6-localhost":            "this machine",
	"ip6-loopback":             "this machine",
	"metadata":                 "a metadata service",
	"metadata.goog":            "a metadata service",
	"metadata.google.internal": "a metadata service",
	"metadata.tencentyun.com":  "a metadata service",
	"instance-data":            "a metadata service",
}

// refusedPrefixes are ranges that no backend is in, besides those that netip knows.
var refusedPrefixes = []struct {
	prefix netip.Prefix
	reason string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an address of this network (RFC 1122)"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "a metadata service (AWS)"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "a metadata service (Google Cloud)"},
	{netip.MustParsePrefix("100.100.100.200/32"), "a metadata service (Alibaba Cloud)"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a metadata service (Azure)"},
	{netip.MustParsePrefix("192.0.0.192/32"), "a metadata service (Oracle Cloud)"},
}

// tunnels are IPv6 ranges that carry an IPv4 address from the named byte on.
var tunnels = []struct {
	prefix netip.Prefix
	offset int
}{
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible, RFC 4291
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated, RFC 2765
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64, RFC 6052
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},  // local NAT64, RFC 8215
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4, RFC 3056
}

// refusedHost says whether a host, as readHost returns it, is one that nobody hands out:
// this machine, link-local, multicast or a metadata service. Names are not resolved: a
// name that leads to such an address is not seen here. Private ranges are fine.
func refusedHost(host string) (reason string, refused bool) {
	if reason, ok := refusedNames[host]; ok {
		return reason, true
	}
	labels := strings.Split(host, ".")
	switch {
	case labels[len(labels)-1] == "localhost":
		return "this machine", true
	case strings.HasPrefix(host, "instance-data.") && labels[len(labels)-1] == "internal":
		return "a metadata service", true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return "", false
	}
	return refusedAddress(address)
}

func refusedAddress(a netip.Addr) (reason string, refused bool) {
	switch {
	case a.IsLoopback():
		return "a loopback address", true
	case a.IsUnspecified():
		return "the unspecified address", true
	case a.IsLinkLocalUnicast():
		return "a link-local address, where metadata services are", true
	case a.IsMulticast():
		return "a multicast address", true
	}
	for _, r := range refusedPrefixes {
		if r.prefix.Contains(a) {
			return r.reason, true
		}
	}
	for _, tunnel := range tunnels {
		if bytes := a.AsSlice(); tunnel.prefix.Contains(a) {
			inner, _ := netip.AddrFromSlice(slices.Clone(bytes[tunnel.offset : tunnel.offset+4]))
			reason, refused = refusedAddress(inner)
			return reason + " within IPv6", refused
		}
	}
	return "", false
}
