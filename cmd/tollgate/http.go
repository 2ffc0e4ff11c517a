package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"
)

// drain is how long calls may take to end after a command was told to.
const drain = 1500 * time.Millisecond

// endpoint is a handler and where to listen for it; port 0 is a free one.
type endpoint struct {
	address string
	handler http.Handler
}

// serveAll serves the endpoints until ctx ends or one fails. ready gets the addresses as
// they came to be, in the same order.
func serveAll(ctx context.Context, endpoints []endpoint, ready func(addresses []string)) error {
	var listeners []net.Listener
	var addresses []string
	for _, e := range endpoints {
		l, err := listen(e.address)
		if err != nil {
			for _, open := range listeners {
				open.Close()
			}
			return err
		}
		listeners, addresses = append(listeners, l), append(addresses, l.Addr().String())
	}
	failed := make(chan error, len(endpoints))
	var servers []*http.Server
	for i, e := range endpoints {
		server := &http.Server{Handler: e.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
		servers = append(servers, server)
		go func() { failed <- server.Serve(listeners[i]) }()
	}
	ready(addresses)
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(ending) != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}

// listen says what to do about an address that is taken.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listening on %s: the address is in use: stop what uses it, or choose another", address)
	}
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}
