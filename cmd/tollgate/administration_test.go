package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
	"github.com/tollgate/tollgate/internal/apikey"
	"github.com/tollgate/tollgate/sidecar/admin"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/socket"
)

// administered is a sidecar with an admin address, on an empty store.
type administered struct {
	dir     string
	address string
	told    []string // tokens
	stop    func() error
}

func administer(t *testing.T, dir string, a administrationFlags) (*administered, error) {
	t.Helper()
	port, err := process.Port("127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	one := &administered{dir: dir, address: fmt.Sprintf("127.0.0.1:%d", port)}
	a.adminAddress, a.tell = one.address, func(token string) { one.told = append(one.told, token) }
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- serve(ctx, serveConfig{
			administrationFlags: a, store: filepath.Join(dir, "s.db"), socket: filepath.Join(dir, "s.sock"), admin: filepath.Join(dir, "a.sock"),
			gateway: "g", maxStale: time.Minute, log: slog.New(slog.DiscardHandler), ready: func(summary string) { ready <- summary },
		})
	}()
	one.stop = func() error { cancel(); return <-done }
	select {
	case <-ready:
		return one, nil
	case err := <-done:
		cancel()
		return nil, err
	}
}

// socketDir is a folder whose path is short enough for a socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// certify writes a certificate for 127.0.0.1 that vouches for itself, and its key.
func certify(t *testing.T, cert, key string, serial int64) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "tollgate"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	text, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: text}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func asks(t *testing.T, server, token, ca string) error {
	t.Helper()
	c, err := admin.NewClient(server, admin.Options{Token: token, CA: ca, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = admin.Call[admin.List[admin.Token]](t.Context(), c, admin.Request{Path: admin.Path("tokens")})
	return err
}

func TestTheFirstTokenIsPrintedOnce(t *testing.T) {
	dir := socketDir(t)
	one, err := administer(t, dir, administrationFlags{})
	if err != nil {
		t.Fatal(err)
	}
	if len(one.told) != 1 || !apikey.TokenWellFormed(one.told[0]) {
		t.Fatalf("told %d tokens", len(one.told))
	}
	if err := asks(t, "http://"+one.address, one.told[0], ""); err != nil {
		t.Errorf("with the token: %v", err)
	}
	var p *admin.Problem
	if err := asks(t, "http://"+one.address, "", ""); !errors.As(err, &p) || p.Status != 401 {
		t.Errorf("without one: %v", err)
	}
	if err := asks(t, "unix:"+filepath.Join(dir, "a.sock"), "", ""); err != nil {
		t.Errorf("at the socket: %v", err)
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	again, err := administer(t, dir, administrationFlags{})
	if err != nil {
		t.Fatal(err)
	}
	if len(again.told) != 0 {
		t.Error("a second start tells another token")
	}
	if err := asks(t, "http://"+again.address, one.told[0], ""); err != nil {
		t.Errorf("with the token, after a start: %v", err)
	}
	if err := again.stop(); err != nil {
		t.Error(err)
	}
}

func TestTheFirstTokenInAFile(t *testing.T) {
	dir := socketDir(t)
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := administer(t, dir, administrationFlags{firstToken: file}); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), "making the first token") {
		t.Fatalf("over a file: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for start := range 2 { // the second finds the file, and a token
		one, err := administer(t, dir, administrationFlags{firstToken: file})
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if err := asks(t, "http://"+one.address, strings.TrimSpace(string(text)), ""); err != nil || len(one.told) != 0 {
			t.Errorf("start %d: %v, told %d", start, err, len(one.told))
		}
		if err := one.stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestTheAdminAddressWithTLS(t *testing.T) {
	dir := socketDir(t)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, cert, key, 1)
	one, err := administer(t, dir, administrationFlags{adminCert: cert, adminKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := one.stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := asks(t, "https://"+one.address, one.told[0], cert); err != nil {
		t.Errorf("with its certificate: %v", err)
	}
	if err := asks(t, "https://"+one.address, one.told[0], ""); err == nil {
		t.Error("a certificate that nobody vouches for is trusted")
	}
	if err := asks(t, "http://"+one.address, one.told[0], ""); err == nil {
		t.Error("it is served in clear as well")
	}
	if c, err := tls.Dial("tcp", one.address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	// Half of a change keeps the old one; the whole is taken without a start.
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial := serial(t, one.address); serial != 1 {
		t.Errorf("with half of a change: certificate %d", serial)
	}
	certify(t, cert, key, 2)
	for deadline := time.Now().Add(10 * time.Second); serial(t, one.address) != 2; {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not served")
		}
	}
}

func serial(t *testing.T, address string) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestAdminAddressesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		flags administrationFlags
		want  string
	}{
		"no TLS":       {administrationFlags{adminAddress: ":0"}, "loopback"},
		"all of IPv4":  {administrationFlags{adminAddress: "0.0.0.0:0"}, "tokens would go in clear"},
		"no address":   {administrationFlags{firstToken: "x"}, "go with --admin-address"},
		"no key":       {administrationFlags{adminAddress: "127.0.0.1:0", adminCert: "x"}, "go together"},
		"no such file": {administrationFlags{adminAddress: "127.0.0.1:0", adminCert: filepath.Join(dir, "c"), adminKey: filepath.Join(dir, "k")}, "reading the certificate"},
		"no port":      {administrationFlags{adminAddress: "127.0.0.1"}, "--admin-address"},
	} {
		err := tc.flags.checkAdministration()
		if err == nil {
			l, listening := tc.flags.listenAdministration()
			if l != nil {
				l.Close()
			}
			err = listening
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0", "[::1]:0"} {
		a := administrationFlags{adminAddress: address}
		l, err := a.listenAdministration()
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		l.Close()
	}
}

// What administrators read is read over connections of its own: filters need the others.
func TestAdministratorsReadBesideFilters(t *testing.T) {
	dir := socketDir(t)
	s, err := newSidecar(t.Context(), serveConfig{store: filepath.Join(dir, "s.db"), maxStale: time.Minute, gateway: "g",
		busy: 20 * time.Millisecond, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	l, err := socket.Listen(filepath.Join(dir, "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.administration.Serve(ctx, l) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	leave := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 { // all that SQLite has
		taken := make(chan struct{})
		readers.Go(func() {
			if err := s.database.View(ctx, "reading", func(*database.Tx) error { close(taken); <-leave; return nil }); err != nil {
				t.Error(err)
			}
		})
		<-taken
	}
	client := admin.NewSocketClient(filepath.Join(dir, "a.sock"), time.Minute)
	for _, path := range []string{"catalog", "usage", "audit", "apis"} {
		if _, _, err := admin.Call[[]byte](ctx, client, admin.Request{Path: admin.Path(path)}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, _, err := admin.Call[[]byte](ctx, client, admin.Request{Path: admin.Path("organization")}); err == nil {
		t.Error("there were more connections: this shows nothing")
	}
	close(leave)
	readers.Wait()
}
