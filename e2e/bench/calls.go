package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/internal/wire"
)

// calls is how often the variant has asked someone so far: its sidecar or its server; 0 for
// a variant that has neither. What comes with the clock and keeps no request waiting is not
// counted: watches, and reports of usage, at most four a second of each worker.
func (l *lane) calls(ctx context.Context) (float64, error) {
	switch {
	case l.filtered:
		n, err := l.sidecarCalls(ctx)
		if err != nil {
			return 0, fmt.Errorf("reading the sidecar's metrics: %w", err)
		}
		return n, nil
	case l.server != nil:
		n, err := l.serverCalls(ctx)
		if err != nil {
			return 0, fmt.Errorf("reading Envoy's statistics: %w", err)
		}
		return n, nil
	}
	return 0, nil
}

var clockwork = []string{wire.PathWatch, wire.PathPages, wire.PathUsage}

func (l *lane) sidecarCalls(ctx context.Context) (total float64, err error) {
	found := false
	err = each(ctx, http.DefaultClient, "http://"+l.metrics+"/metrics", func(line string) error {
		labels, ok := strings.CutPrefix(line, "tollgate_filter_calls_total{")
		if !ok {
			return nil
		}
		found = true
		labels, value, _ := strings.Cut(labels, "} ")
		n, err := strconv.ParseFloat(value, 64)
		if err == nil && !slices.ContainsFunc(clockwork, func(path string) bool { return strings.Contains(labels, strconv.Quote(path)) }) {
			total += n
		}
		return err
	})
	if err == nil && !found {
		err = errors.New("they count no calls")
	}
	return total, err
}

func (l *lane) serverCalls(ctx context.Context) (total float64, err error) {
	admin := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.path("admin.sock"))
	}}}
	const name = "cluster." + serverCluster + ".upstream_rq_total"
	found := false
	err = each(ctx, admin, "http://envoy/stats?filter=^"+name+"$", func(line string) (err error) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			found = true
			total, err = strconv.ParseFloat(value, 64)
		}
		return err
	})
	if err == nil && !found {
		err = errors.New("they count no calls")
	}
	return total, err
}

// each reads a text line by line.
func each(ctx context.Context, client *http.Client, url string, read func(line string) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		return fmt.Errorf("answered %d: %s", response.StatusCode, text)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if err := read(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}
