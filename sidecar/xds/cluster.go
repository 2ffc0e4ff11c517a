package xds

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dnscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tollgate/tollgate/internal/catalog"
)

const (
	connectTimeout = 5 * time.Second
	// Below what cloud load balancers allow (4 minutes), so that we close first and no
	// request meets a connection that is going away.
	upstreamIdle = 60 * time.Second
	bufferLimit  = 1 << 20 // bytes per connection
	// envoyMax is what Envoy takes for a breaker that is not set.
	envoyMax = 1024
)

// ClusterName is the name of an API's cluster: "api.SUFFIX", and "api.SUFFIX@HOST" where
// the API serves certain hosts, for another one may have its suffix on others. The prefix
// keeps it apart from SidecarCluster.
func ClusterName(api catalog.API) string {
	name := "api." + api.Suffix
	if len(api.Hosts) > 0 {
		name += "@" + api.Hosts[0]
	}
	return name
}

// backend is where an API's requests go, taken apart.
type backend struct {
	tls    bool
	host   string // without a port and without brackets
	port   uint32
	ip     netip.Addr // valid when host is a literal address
	header string     // the Host header: with the port unless it is the scheme's own
	path   string     // prefix without a trailing slash; "" for none
}

// newBackend reads a URL that the catalog's check has let through, and checks what it
// relies on again.
func newBackend(raw string) (backend, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return backend{}, errors.New("the backend's URL must be http or https with a host")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return backend{}, errors.New("the backend's URL must not carry a user, a query or a fragment")
	}
	b := backend{tls: u.Scheme == "https", host: strings.ToLower(u.Hostname()), port: 80, header: strings.ToLower(u.Host)}
	if b.tls {
		b.port = 443
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return backend{}, fmt.Errorf("port %s is not in 1 to 65535", p)
		}
		if uint32(n) == b.port {
			b.header = strings.TrimSuffix(b.header, ":"+p)
		}
		b.port = uint32(n)
	}
	b.ip, _ = netip.ParseAddr(b.host)
	b.path = strings.TrimRight(u.EscapedPath(), "/")
	return b, nil
}

func newCluster(api catalog.API, o Options) (*clusterv3.Cluster, error) {
	b, err := newBackend(api.Backend.URL)
	if err != nil {
		return nil, err
	}
	options, err := upstreamHTTP()
	if err != nil {
		return nil, err
	}
	name := ClusterName(api)
	c := &clusterv3.Cluster{
		Name:                          name,
		ConnectTimeout:                durationpb.New(connectTimeout),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		LoadAssignment:                assignment(name, b),
		CircuitBreakers:               breakers(api.Backend),
		OutlierDetection:              outliers(),
		TypedExtensionProtocolOptions: options,
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	if !b.ip.IsValid() {
		// Each address that DNS gives is a host of its own, so that one that refuses
		// connections can be left out.
		dns, err := pack(&dnsv3.DnsCluster{RespectDnsTtl: true, DnsLookupFamily: dnscommonv3.DnsLookupFamily_V4_PREFERRED})
		if err != nil {
			return nil, err
		}
		c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{
			ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "envoy.clusters.dns", TypedConfig: dns},
		}
	}
	if b.tls {
		if c.TransportSocket, err = clientTLS(b, o); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func assignment(name string, b backend) *endpointv3.ClusterLoadAssignment {
	address := &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       b.host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: b.port},
	}}}
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		}}}},
	}
}

// breakers takes what the catalog sets. max_requests counts with HTTP/1.1 too, so it must
// not undercut the others.
func breakers(b catalog.Backend) *clusterv3.CircuitBreakers {
	t := &clusterv3.CircuitBreakers_Thresholds{TrackRemaining: true}
	connections, pending := envoyMax, envoyMax
	if b.MaxConnections > 0 {
		connections = b.MaxConnections
		t.MaxConnections = wrapperspb.UInt32(uint32(connections)) //nolint:gosec // at most 1,000,000, says the catalog
	}
	if b.MaxPending > 0 {
		pending = b.MaxPending
		t.MaxPendingRequests = wrapperspb.UInt32(uint32(pending)) //nolint:gosec // the same
	}
	t.MaxRequests = wrapperspb.UInt32(uint32(connections) + uint32(pending)) //nolint:gosec // the same
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
}

// outliers leaves a host out for connections that fail, never for answers: classic AzureML
// throttles with 503, and that is the endpoint's state and not the host's.
func outliers() *clusterv3.OutlierDetection {
	off := wrapperspb.UInt32(0)
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors:         true,
		ConsecutiveLocalOriginFailure:          wrapperspb.UInt32(5),
		EnforcingConsecutiveLocalOriginFailure: wrapperspb.UInt32(100),
		EnforcingConsecutive_5Xx:               off,
		EnforcingConsecutiveGatewayFailure:     off,
		EnforcingSuccessRate:                   off,
		EnforcingLocalOriginSuccessRate:        off,
		BaseEjectionTime:                       durationpb.New(30 * time.Second),
		MaxEjectionPercent:                     wrapperspb.UInt32(50),
	}
}

func upstreamHTTP() (map[string]*anypb.Any, error) {
	options := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(upstreamIdle)},
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		},
	}
	packed, err := pack(options)
	if err != nil {
		return nil, err
	}
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed}, nil
}

// clientTLS checks the backend's certificate against the trust bundle and its name. Envoy
// checks neither unless told to.
func clientTLS(b backend, o Options) (*corev3.TransportSocket, error) {
	bundle := o.TrustBundle
	if bundle == "" {
		var err error
		if bundle, err = SystemTrustBundle(); err != nil {
			return nil, err
		}
	}
	kind, sni := tlsv3.SubjectAltNameMatcher_DNS, b.host
	if b.ip.IsValid() {
		kind, sni = tlsv3.SubjectAltNameMatcher_IP_ADDRESS, "" // RFC 6066 section 3: no addresses
	}
	context := &tlsv3.UpstreamTlsContext{
		Sni: sni,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams: &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
			ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{
				ValidationContext: &tlsv3.CertificateValidationContext{
					TrustedCa: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: bundle}},
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
						SanType: kind,
						Matcher: exact(b.host),
					}},
				},
			},
		},
	}
	packed, err := pack(context)
	if err != nil {
		return nil, err
	}
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: packed},
	}, nil
}

// SystemTrustBundle is the PEM file in $SSL_CERT_FILE, else the first that exists of where
// systems keep theirs. Envoy has no default of its own.
func SystemTrustBundle() (string, error) {
	candidates := []string{
		os.Getenv("SSL_CERT_FILE"),
		"/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",             // openSUSE
		"/etc/ssl/cert.pem",                  // macOS, BSD
	}
	for _, file := range candidates {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err == nil {
			return file, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("looking for trusted certificates: %w", err)
		}
	}
	return "", errors.New("no file of trusted certificates found: an https backend needs one, name it in $SSL_CERT_FILE")
}

func exact(s string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}}
}

// pack validates and wraps an extension's configuration.
func pack(m proto.Message) (*anypb.Any, error) {
	if err := validate(m); err != nil {
		return nil, err
	}
	packed := &anypb.Any{}
	return packed, anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true})
}
