package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/tollgate/tollgate/sidecar/admin"
)

// administrationFlags say where the admin API is, beside its socket.
type administrationFlags struct {
	adminAddress        string                  // empty: the socket alone
	adminCert, adminKey string                  // PEM files; empty: no TLS, and only on a loopback address
	firstToken          string                  // file for the first token; empty: standard output
	tell                func(firstToken string) // instead of standard output
}

func (a *administrationFlags) register(f *pflag.FlagSet) {
	f.StringVar(&a.adminAddress, "admin-address", "", "address of the admin API over TCP, like 127.0.0.1:9443, for those with a token; empty: the socket alone")
	f.StringVar(&a.adminCert, "admin-cert", "", "PEM file with the certificate of --admin-address, and those that vouch for it; read again when it changes")
	f.StringVar(&a.adminKey, "admin-key", "", "PEM file with the key of --admin-cert")
	f.StringVar(&a.firstToken, "first-token", "", "file to make for the first token, which is printed otherwise")
}

// checkAdministration says which flags do not go together.
func (a *administrationFlags) checkAdministration() error {
	switch {
	case a.adminAddress == "" && (a.adminCert != "" || a.adminKey != "" || a.firstToken != ""):
		return errors.New("--admin-cert, --admin-key and --first-token go with --admin-address")
	case (a.adminCert == "") != (a.adminKey == ""):
		return errors.New("--admin-cert and --admin-key go together")
	}
	return nil
}

// readingBusy is how long what administrators read waits for a connection.
const readingBusy = 5 * time.Second

// openAdministration makes what serves the admin API. What administrators read much of has
// connections of its own, so that filters never wait for it.
func (s *sidecar) openAdministration(ctx context.Context) error {
	err := s.checkAdministration()
	if err != nil {
		return err
	}
	if s.reading, err = s.database.Again(ctx, readingBusy); err != nil {
		return err
	}
	s.administration = admin.New(admin.Config{Ledger: s.ledger, Store: s.store, Database: s.database,
		Reader: s.store.Through(s.reading), Reading: s.reading, Catalog: s.options, Log: s.log})
	return nil
}

// listenAdministration opens the admin address, with TLS where there is a certificate. It
// returns nil where there is no address.
func (a *administrationFlags) listenAdministration() (net.Listener, error) {
	if a.adminAddress == "" {
		return nil, nil
	}
	var certificate *certificate
	if a.adminCert != "" {
		certificate = newCertificate(a.adminCert, a.adminKey)
		if _, err := certificate.current(nil); err != nil {
			return nil, fmt.Errorf("%w (--admin-cert, --admin-key)", err)
		}
	}
	l, err := listen(a.adminAddress)
	if err != nil {
		return nil, fmt.Errorf("%w (--admin-address)", err)
	}
	if certificate != nil {
		return tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: certificate.current}), nil
	}
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("--admin-address %s can be reached from other machines, to which tokens would go in clear: give it --admin-cert and --admin-key, or a loopback address", a.adminAddress),
			l.Close())
	}
	return l, nil
}

// lookAtCertificate is how often the files of a certificate are looked at, while somebody
// connects.
const lookAtCertificate = time.Second

// certificate is a pair of files that may change.
type certificate struct {
	cert, key string

	mu     sync.Mutex
	looked time.Time
	seen   [2]fileState
	pair   *tls.Certificate
}

type fileState struct {
	modified time.Time
	size     int64
}

func newCertificate(cert, key string) *certificate { return &certificate{cert: cert, key: key} }

// current is the pair that the files hold, or the last good one while they hold none: one of
// them may have been written already, and the other not yet.
func (c *certificate) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair != nil && time.Since(c.looked) < lookAtCertificate {
		return c.pair, nil
	}
	c.looked = time.Now()
	err := c.read()
	if c.pair == nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return c.pair, nil
}

// read reads the files where they are not those that were read.
func (c *certificate) read() error {
	var seen [2]fileState
	for i, name := range []string{c.cert, c.key} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		seen[i] = fileState{info.ModTime(), info.Size()}
	}
	if c.pair != nil && seen == c.seen {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.pair, c.seen = &pair, seen
	return nil
}

// issueFirstToken makes the first token of the admin API where it is served over TCP and
// never had one. The token is printed once, or written to a file that must not exist.
func (s *sidecar) issueFirstToken(ctx context.Context) (err error) {
	if s.adminAddress == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("making the first token of the admin API: %w", err)
		}
	}()
	if s.firstToken == "" {
		clear, made, err := s.store.FirstToken(ctx)
		if !made || err != nil {
			return err
		}
		if s.tell != nil {
			s.tell(clear)
			return nil
		}
		_, err = fmt.Println("tollgate: an administrator's token for the admin API, which is not shown again:", clear)
		return err
	}
	tokens, err := s.store.Tokens(ctx)
	if err != nil || len(tokens) > 0 {
		return err
	}
	// The file first: a token that cannot be written would be lost.
	file, err := os.OpenFile(s.firstToken, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	clear, made, err := s.store.FirstToken(ctx)
	if err == nil && made {
		_, err = file.WriteString(clear + "\n")
	}
	if err = errors.Join(err, file.Close()); err != nil || !made {
		err = errors.Join(err, os.Remove(s.firstToken))
	}
	return err
}
