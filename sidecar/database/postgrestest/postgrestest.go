// Package postgrestest runs a real PostgreSQL for tests. It listens on a Unix socket alone,
// in a folder of its own under /tmp, wants a password, and has fsync on. A PostgreSQL that is
// missing fails the test.
//
// The programs are those in $POSTGRES_BIN, on PATH, or in .tools/postgres of this module,
// which `make postgres` fills.
package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a step of a server may take, on a machine that is busy.
const patience = time.Minute

// socketRoot holds the servers' folders: the path of a socket has at most 107 bytes, and
// another user than root has to reach it.
const socketRoot = "/tmp"

// Server is a running PostgreSQL. Its methods report what fails to the test that it was
// started for, and may be called from any goroutine.
type Server struct {
	// URL leads to the database that is there from the start, as the superuser.
	URL string

	t        testing.TB
	dir      string
	programs programs
	mu       sync.Mutex
	run      *run // nil while it does not run
	made     int  // databases
}

// Start starts a server, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := create()
	if err != nil {
		t.Fatal(err)
	}
	s.t = t
	t.Cleanup(s.remove)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared returns the one server of this test binary, whose TestMain calls Main. Tests take a
// Database of it each, and leave it running.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		if shared.server, shared.err = create(); shared.err == nil {
			shared.err = shared.server.start()
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Main runs the tests of a binary and removes the server that they shared. It returns what
// TestMain exits with.
func Main(m *testing.M) int {
	defer func() {
		if shared.server != nil {
			shared.server.remove()
		}
	}()
	return m.Run()
}

// Database creates an empty database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.made++
	name := fmt.Sprintf("test_%d", s.made)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// Kill ends all processes of the server with SIGKILL, as when the machine loses its power;
// what the kernel was given stays.
func (s *Server) Kill() { s.end(func(r *run) error { return r.kill() }) }

// Stop shuts the server down: connections are ended, nothing is lost.
func (s *Server) Stop() { s.end(func(r *run) error { return r.stop(syscall.SIGINT) }) }

// Restart starts a server that was killed or stopped, with the same data and URL; one that
// runs is stopped before.
func (s *Server) Restart() {
	s.Stop()
	if err := s.start(); err != nil {
		s.report(err)
	}
}

// Freeze stops all processes of the server as they are: it keeps its connections and answers
// nothing until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		s.report(errors.New("the server does not run"))
		return
	}
	if err := s.run.signalAll(signal); err != nil {
		s.report(err)
	}
}

func (s *Server) end(how func(*run) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return
	}
	if err := how(s.run); err != nil {
		s.report(err)
	}
	s.run = nil
}

func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	s.run, err = s.programs.start(s.dir)
	return err
}

func (s *Server) remove() {
	s.Kill()
	if err := os.RemoveAll(s.dir); err != nil {
		s.report(err)
	}
}

func (s *Server) report(err error) {
	if s.t == nil { // shared: whoever uses it sees what follows
		fmt.Fprintln(os.Stderr, "postgrestest:", err)
		return
	}
	s.t.Helper()
	s.t.Errorf("postgrestest: %v", err)
}

// create makes a server's folder and its data, and starts nothing.
func create() (_ *Server, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("preparing PostgreSQL: %w", err)
		}
	}()
	programs, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(socketRoot, "tollgate-pg-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if programs, err = programs.reachable(dir); err != nil {
		return nil, err
	}
	password := rand.Text()
	if err := programs.initialize(dir, password); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/postgres",
		RawQuery: url.Values{"host": {dir}, "port": {port}}.Encode()}
	return &Server{URL: u.String(), dir: dir, programs: programs}, nil
}

// root is the folder of the enclosing Go module.
func root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("there is no go.mod above the working folder")
		}
		dir = parent
	}
}
