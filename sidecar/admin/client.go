package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// ErrNobody says that no sidecar answers at a server's address.
var ErrNobody = errors.New("no sidecar answers")

const (
	// maxReply bounds what Call reads: a catalog of MaxSize and what is around it.
	maxReply = 64 << 20
	// callWait is how long a call takes at most, unless Options say otherwise.
	callWait = 30 * time.Second
)

// Options say how to reach a server.
type Options struct {
	// Token is sent as a bearer token; empty on a Unix socket, where the user is known.
	Token string
	// CA is a PEM file with the certificates to trust; the system's unless given.
	CA string
	// Timeout is how long a Call takes at most; 30 s unless given. A Stream has none.
	Timeout time.Duration
}

// Client asks a sidecar's admin API.
type Client struct {
	server  string // for people
	base    string
	token   string
	timeout time.Duration
	http    http.Client
}

// NewClient makes a Client for a server: unix:PATH, or a URL with http or https. It fails
// with a server that is neither, and a CA that cannot be read.
func NewClient(server string, o Options) (*Client, error) {
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		c := NewSocketClient(path, o.Timeout)
		c.token = o.Token
		return c, nil
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("a server is unix:PATH, http://HOST:PORT or https://HOST:PORT")
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	if o.CA != "" {
		if transport.TLSClientConfig.RootCAs, err = readCA(o.CA); err != nil {
			return nil, err
		}
	}
	c := newClient(server, strings.TrimSuffix(u.String(), "/"), o.Timeout, transport)
	c.token = o.Token
	return c, nil
}

// NewSocketClient makes a Client for the Unix socket at path. A call takes at most timeout,
// 30 s where it is 0.
func NewSocketClient(path string, timeout time.Duration) *Client {
	return newClient(path, "http://sidecar", timeout, &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	})
}

func newClient(server, base string, timeout time.Duration, t *http.Transport) *Client {
	if timeout == 0 {
		timeout = callWait
	}
	return &Client{server: server, base: base, timeout: timeout, http: http.Client{
		Transport: t,
		// A token goes to the server that it is for, and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func readCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("reading the certificates to trust: %s has none", file)
	}
	return pool, nil
}

// Request is a call of the admin API.
type Request struct {
	Method string // GET unless given; POST with a Body
	Path   string // see Path
	Query  url.Values
	// Body is sent as JSON, []byte as it is. nil: none.
	Body any
	// ContentType is of a []byte; application/json unless given.
	ContentType string
	Accept      string // application/json unless given
	// Match is the revision that the object must have; 0: any.
	Match uint64
	// CreateOnly: a PUT that must create.
	CreateOnly bool
	// IdempotencyKey lets a POST that creates be sent again.
	IdempotencyKey string
}

// Path is a path of the admin API: /v1 and these segments, escaped.
func Path(segments ...string) string {
	path := "/v1"
	for _, s := range segments {
		if strings.Trim(s, ".") == "" { // "." and ".." mean something else in a path
			s = strings.ReplaceAll(s, ".", "%2E")
		} else {
			s = url.PathEscape(s)
		}
		path += "/" + s
	}
	return path
}

// Call asks, and reads the answer's JSON into a Reply; a []byte gets it as it is, and a
// struct{} nothing. Its errors are a *Problem, ErrNobody wrapped, or what went wrong on the
// way; none holds the token.
func Call[Reply any](ctx context.Context, c *Client, r Request) (reply Reply, header http.Header, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, header, err := c.Stream(ctx, r)
	if err != nil {
		return reply, header, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxReply+1))
	if err == nil && len(text) > maxReply {
		err = fmt.Errorf("it has more than %d MiB", maxReply>>20)
	}
	if err == nil {
		switch into := any(&reply).(type) {
		case *[]byte:
			*into = text
		case *struct{}:
		default:
			err = json.Unmarshal(text, into)
		}
	}
	if err != nil {
		return reply, header, fmt.Errorf("asking the sidecar at %s: reading its answer: %w", c.server, err)
	}
	return reply, header, nil
}

// Stream is Call for an answer that the caller reads, and closes.
func (c *Client) Stream(ctx context.Context, r Request) (io.ReadCloser, http.Header, error) {
	request, err := c.request(ctx, r)
	if err != nil {
		return nil, nil, fmt.Errorf("asking the sidecar: %w", err)
	}
	response, err := c.http.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, nil, fmt.Errorf("%w at %s", ErrNobody, c.server)
	case err != nil:
		return nil, nil, fmt.Errorf("asking the sidecar at %s: %w", c.server, errors.Unwrap(err))
	case response.StatusCode >= 200 && response.StatusCode < 300:
		return response.Body, response.Header, nil
	}
	defer response.Body.Close()
	p := new(Problem)
	if err := json.NewDecoder(io.LimitReader(response.Body, maxReply)).Decode(p); err != nil || p.Detail == "" {
		return nil, response.Header, fmt.Errorf("asking the sidecar at %s: it answered %s", c.server, response.Status)
	}
	return nil, response.Header, p
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	text, raw := r.Body.([]byte)
	kind := r.ContentType
	if !raw && r.Body != nil {
		var err error
		if text, err = json.Marshal(r.Body); err != nil {
			return nil, err
		}
		kind = ""
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
		if r.Body != nil {
			method = http.MethodPost
		}
	}
	target := c.base + r.Path
	if len(r.Query) > 0 {
		target += "?" + r.Query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	if r.Body != nil {
		set("Content-Type", cmp.Or(kind, "application/json"))
	}
	set("Accept", cmp.Or(r.Accept, "application/json"))
	set("Idempotency-Key", r.IdempotencyKey)
	if r.Match != 0 {
		set("If-Match", etag(r.Match))
	}
	if r.CreateOnly {
		set("If-None-Match", "*")
	}
	if c.token != "" {
		set("Authorization", "Bearer "+c.token)
	}
	return request, nil
}

// Limits returns the counters of a subscription, by its name or id, or of all for "".
func (c *Client) Limits(ctx context.Context, subscription string) (Limits, error) {
	return call[Limits](ctx, c, Request{Path: PathLimits, Query: query(subscription)})
}

// Adjustments returns what was changed, newest first.
func (c *Client) Adjustments(ctx context.Context, subscription string) (Adjustments, error) {
	return call[Adjustments](ctx, c, Request{Path: PathAdjustments, Query: query(subscription)})
}

// Events returns which limits reached which part of their amount, newest first.
func (c *Client) Events(ctx context.Context, subscription string) (Events, error) {
	return call[Events](ctx, c, Request{Path: PathEvents, Query: query(subscription)})
}

// Reset resets counters and returns what that did.
func (c *Client) Reset(ctx context.Context, r Reset) (Adjustments, error) {
	return call[Adjustments](ctx, c, Request{Path: PathReset, Body: r})
}

// Raise raises a quota and returns what that did.
func (c *Client) Raise(ctx context.Context, r Raise) (Adjustments, error) {
	return call[Adjustments](ctx, c, Request{Path: PathRaise, Body: r})
}

func query(subscription string) url.Values {
	if subscription == "" {
		return nil
	}
	return url.Values{"subscription": {subscription}}
}

func call[Reply any](ctx context.Context, c *Client, r Request) (Reply, error) {
	reply, _, err := Call[Reply](ctx, c, r)
	return reply, err
}
