package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/tollgate/tollgate/sidecar/socket"
)

// listeners are where a sidecar is asked; all but filters may be nil.
type listeners struct{ filters, admin, administration, metrics net.Listener }

// listen opens them all, or none.
func (c serveConfig) listen() (l listeners, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
			l = listeners{}
		}
	}()
	if l.filters, err = socket.Listen(c.socket); err != nil {
		return l, err
	}
	if c.admin != "" {
		if l.admin, err = socket.Listen(c.admin); err != nil {
			return l, fmt.Errorf("%w (--admin; empty: none)", err)
		}
	}
	if l.administration, err = c.listenAdministration(); err != nil {
		return l, err
	}
	if c.metrics != "" {
		l.metrics, err = listen(c.metrics)
	}
	return l, err
}

func (l listeners) close() error {
	var errs []error
	for _, one := range []net.Listener{l.filters, l.admin, l.administration, l.metrics} {
		if one != nil {
			errs = append(errs, one.Close())
		}
	}
	return errors.Join(errs...)
}
