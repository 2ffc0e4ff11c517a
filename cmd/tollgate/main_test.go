package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

// This package is main: what it wires is tested from inside, what it prints by scripts.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tollgate": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(3 * time.Minute), // a command that should fail may run instead
		Setup: func(e *testscript.Env) error {
			short, err := os.MkdirTemp("", "tg") // $WORK is too long a path for a socket
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(short) })
			e.Setenv("RUN", short)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"answers": answers, "occupy": occupy, "denials": denials, "terminate": terminate, "calls": calls, "explained": explained,
			"exits": exits, "port": port,
		},
	})
}

// answers waits until something listens: answers NETWORK ADDRESS.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if c, err := net.Dial(args[0], args[1]); err == nil {
			c.Close()
			return
		}
	}
	ts.Fatalf("nothing listens at %s", args[1])
}

// exits runs a program that must end with this status: exits STATUS PROGRAM ARGUMENT...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("running %s: %v", args[1], err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("it ended with %d, not %d", got, want)
	}
}

// port sets an environment variable to a loopback address at which nobody listened a moment
// ago: port VARIABLE.
func port(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

// terminate sends SIGTERM to what runs in the background.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

// occupy listens until the script ends, and sets an environment variable to the address:
// occupy NETWORK ADDRESS VARIABLE.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen(args[0], args[1])
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[2], l.Addr().String())
}

// denials makes a store with a denial of each kind: denials FILE.
func denials(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	at := time.UnixMilli(1_900_000_000_123)
	db, err := database.Open(ctx, database.Config{Source: path})
	ts.Check(err)
	defer db.Close()
	s, err := store.Open(ctx, db, store.Options{Now: func() time.Time { return at }})
	ts.Check(err)
	ts.Check(s.Record(ctx, []store.Decision{{ID: "d1", Call: "call-policy", Time: at, Status: 404, Reasons: []string{"job_not_found"}, Subscription: 7,
		API: "Demo", Operation: "Status", Policy: "p1",
		Rules: []store.Rule{{Path: "data.tollgate.access.deny", File: "policies/access.rego", Line: 12, Reason: "job_not_found", Title: "Somebody else's"}}}}))
	_, err = s.TakeUsage(ctx, wire.UsageReport{VM: "a", Sequence: 1, Denials: []wire.Denial{
		{Call: "call-filter", TimeMillis: at.UnixMilli(), Status: 401, Reason: "key_unknown", API: "demo"},
		{Call: "call-cached", TimeMillis: at.UnixMilli(), Status: 404, Reason: "job_not_found", Decision: "d1", Subscription: 7, API: "demo", Operation: "Status"},
		{Call: "call-limited", TimeMillis: at.UnixMilli(), Status: 429, Reason: "rate_limited", Decision: "d9", Subscription: 7, API: "demo", Operation: "Status", Limit: "minute"},
		{Call: "call-pruned", TimeMillis: at.UnixMilli(), Status: 404, Reason: "job_not_found", Decision: "d0"},
	}})
	ts.Check(err)
}

// calls does what a filter does for calls of one subscription, which are spent at once and
// have the ids call-1 and so on: calls SOCKET SUBSCRIPTION GRANTED REFUSED.
func calls(ts *testscript.TestScript, neg bool, args []string) {
	f := filter{socket: args[0]}
	id, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	granted, err := strconv.Atoi(args[2])
	ts.Check(err)
	refused, err := strconv.Atoi(args[3])
	ts.Check(err)
	for i := range granted + refused {
		a, err := f.call(uint32(id), i+1)
		ts.Check(err)
		if (a.Exhausted == nil) != (i < granted) || len(a.Limits) == 0 {
			ts.Fatalf("call %d: %+v", i+1, a)
		}
	}
}

// explained waits until a denial is on record: explained ID STORE.
func explained(ts *testscript.TestScript, neg bool, args []string) {
	log, err := store.OpenLog(context.Background(), ts.MkAbs(args[1]))
	ts.Check(err)
	defer log.Close()
	for deadline := time.Now().Add(20 * time.Second); ; {
		_, err := log.Explain(context.Background(), args[0])
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrUnknown) || time.Now().After(deadline) {
			ts.Fatalf("%s: %v", args[0], err)
		}
	}
}

func TestEveryReasonHasASentence(t *testing.T) {
	for reason, s := range reasons {
		if s == "" || s[len(s)-1] != '.' {
			t.Errorf("%s: %q is no sentence", reason, s)
		}
	}
	for _, reason := range []string{"job_not_found", "job_id_unreadable", "model_not_recorded"} {
		if sentence(reason) == "" {
			t.Errorf("%s has no sentence", reason)
		}
	}
	if s := sentence("an_authors_own"); s != "" {
		t.Errorf("an author's reason has one of ours: %s", s)
	}
}
