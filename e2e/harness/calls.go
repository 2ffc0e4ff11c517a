package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Call is one request to the gateway.
type Call struct {
	Method string // GET unless given
	Path   string // with the query, below the gateway's URL, as it is sent
	Host   string // unless the gateway's own
	Key    string // in KeyHeader; empty: none
	Header http.Header
	Body   string
}

// Response is what came back.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Do makes a call on a connection of its own and fails the test when there is no answer.
func (g *Gateway) Do(c Call) Response {
	g.t.Helper()
	r, err := g.Try(g.t.Context(), c)
	if err != nil {
		g.t.Fatalf("%s %s: %v", c.Method, c.Path, err)
	}
	return r
}

// Execute calls the demo's experiment with a key.
func (g *Gateway) Execute(key string) Response {
	g.t.Helper()
	return g.Do(ExecuteCall(key))
}

// ExecuteCall is a call of the demo's experiment.
func ExecuteCall(key string) Call {
	return Call{Method: "POST", Path: ExecutePath, Key: key, Body: GoodDay, Header: http.Header{"Content-Type": {"application/json"}}}
}

// Try makes a call and returns the error of one without an answer. Safe to use from several
// goroutines.
func (g *Gateway) Try(ctx context.Context, c Call) (Response, error) {
	request, err := http.NewRequestWithContext(ctx, c.Method, g.URL+c.Path, strings.NewReader(c.Body))
	if err != nil {
		return Response{}, err
	}
	for name, values := range c.Header {
		request.Header[name] = values
	}
	if c.Key != "" {
		request.Header.Set(KeyHeader, c.Key)
	}
	if c.Host != "" {
		request.Host = c.Host
	}
	response, err := g.client().Do(request)
	if err != nil {
		return Response{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return Response{Status: response.StatusCode, Header: response.Header, Body: string(body)}, err
}

// Raw sends bytes as they are on a connection of its own, and returns the first answer, as
// it came: whole, or what there is of it when Envoy closes the connection or within is over.
func (g *Gateway) Raw(within time.Duration, request string) string {
	g.t.Helper()
	connection, err := net.DialTimeout("tcp", g.address(), 5*time.Second)
	if err != nil {
		g.t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(within)); err != nil {
		g.t.Fatal(err)
	}
	if _, err := io.WriteString(connection, request); err != nil {
		return "" // refused before it was all sent
	}
	var seen bytes.Buffer
	// Envoy keeps a refused connection open for a while: the answer's own end counts.
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(connection, &seen)), nil)
	if err == nil {
		_, _ = io.Copy(io.Discard, response.Body) // what there is of it has been seen
		response.Body.Close()
	}
	return seen.String()
}

// Eventually polls until condition holds, and fails the test when it does not within that
// time. It is the only way to wait for something that has no event to wait for.
func (g *Gateway) Eventually(within time.Duration, what string, condition func() bool) {
	g.t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			g.t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

// Access is a line of the access log. Fields that envoy.yaml leaves out when empty are "".
type Access struct {
	RequestID    string `json:"request_id"`
	Method       string `json:"method"`
	Status       int    `json:"status"`
	Cluster      string `json:"upstream_cluster"`
	Flags        string `json:"flags"`
	Details      string `json:"details"`
	API          string `json:"api"`
	Operation    string `json:"operation"`
	Subscription string `json:"subscription"`
	Decision     string `json:"decision"`
	Reason       string `json:"reason"`
}

// AccessLog is what Envoy has logged so far, without asking for readiness, which has no API
// and no reason.
func (g *Gateway) AccessLog() []Access {
	g.t.Helper()
	text, err := os.ReadFile(g.path("access.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	var lines []Access
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		var a Access
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			g.t.Fatalf("access log: %v in %q", err, line)
		}
		lines = append(lines, a)
	}
	return lines
}

// AwaitAccess waits for the access log's line of a request.
func (g *Gateway) AwaitAccess(requestID string) Access {
	g.t.Helper()
	var found Access
	g.Eventually(10*time.Second, "the access log has request "+requestID, func() bool {
		for _, line := range g.AccessLog() {
			if line.RequestID == requestID && requestID != "" {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// Admin asks Envoy's administration interface.
func (g *Gateway) Admin(path string) Response {
	g.t.Helper()
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", g.path("admin.sock"))
		},
	}}
	response, err := client.Get("http://admin" + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return Response{Status: response.StatusCode, Header: response.Header, Body: string(body)}
}

// SidecarLog is what all runs of the sidecar have logged so far.
func (g *Gateway) SidecarLog() string {
	g.t.Helper()
	var all strings.Builder
	logs, err := filepath.Glob(g.path("sidecar.*.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err != nil {
			g.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
