package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// ErrNobody says that no sidecar answers at a socket.
var ErrNobody = errors.New("no sidecar answers")

// maxReply bounds what a client reads.
const maxReply = 16 << 20

// Client asks the sidecar whose administration is at a socket.
type Client struct {
	path string
	http http.Client
}

// NewClient makes a Client for the socket at path. A call takes at most timeout.
func NewClient(path string, timeout time.Duration) *Client {
	return &Client{path: path, http: http.Client{Timeout: timeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}}
}

// Limits returns the counters of a subscription, by its name or id, or of all for "".
func (c *Client) Limits(ctx context.Context, subscription string) (Limits, error) {
	return call[Limits](ctx, c, PathLimits+query(subscription), nil)
}

// Adjustments returns what was changed, newest first.
func (c *Client) Adjustments(ctx context.Context, subscription string) (Adjustments, error) {
	return call[Adjustments](ctx, c, PathAdjustments+query(subscription), nil)
}

// Events returns which limits reached which part of their amount, newest first.
func (c *Client) Events(ctx context.Context, subscription string) (Events, error) {
	return call[Events](ctx, c, PathEvents+query(subscription), nil)
}

// Reset resets counters and returns what that did.
func (c *Client) Reset(ctx context.Context, r Reset) (Adjustments, error) {
	return call[Adjustments](ctx, c, PathReset, r)
}

// Raise raises a quota and returns what that did.
func (c *Client) Raise(ctx context.Context, r Raise) (Adjustments, error) {
	return call[Adjustments](ctx, c, PathRaise, r)
}

func query(subscription string) string {
	if subscription == "" {
		return ""
	}
	return "?" + url.Values{"subscription": {subscription}}.Encode()
}

// call sends message, or GETs where there is none. Its errors are a *Problem, ErrNobody
// wrapped, or what went wrong on the way.
func call[Reply any](ctx context.Context, c *Client, path string, message any) (Reply, error) {
	var reply Reply
	method, body := http.MethodGet, io.Reader(nil)
	if message != nil {
		text, err := json.Marshal(message)
		if err != nil {
			return reply, fmt.Errorf("asking the sidecar: %w", err)
		}
		method, body = http.MethodPost, bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://sidecar"+path, body)
	if err != nil {
		return reply, fmt.Errorf("asking the sidecar: %w", err)
	}
	response, err := c.http.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return reply, fmt.Errorf("%w at %s", ErrNobody, c.path)
	case err != nil:
		return reply, fmt.Errorf("asking the sidecar at %s: %w", c.path, errors.Unwrap(err))
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(response.Body, maxReply))
	if response.StatusCode != http.StatusOK {
		p := new(Problem)
		if err := decoder.Decode(p); err != nil || p.Detail == "" {
			return reply, fmt.Errorf("asking the sidecar at %s: it answered %s", c.path, response.Status)
		}
		return reply, p
	}
	if err := decoder.Decode(&reply); err != nil {
		return reply, fmt.Errorf("asking the sidecar at %s: reading its answer: %w", c.path, err)
	}
	return reply, nil
}
