package store_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/store"
)

// crashing names the store on which this test binary, run again, works until it is killed.
const crashing = "TOLLGATE_TEST_CRASHING_STORE"

func TestMain(m *testing.M) {
	if at := os.Getenv(crashing); at != "" {
		fmt.Fprintln(os.Stderr, workOn(at))
		os.Exit(1)
	}
	os.Exit(postgrestest.Main(m))
}

func workOn(at string) error {
	ctx := context.Background()
	db, err := database.Open(ctx, database.Config{Source: at})
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, db, store.Options{})
	if err != nil {
		return err
	}
	fmt.Println("opened")
	return work(ctx, s, func(line string) { fmt.Println(line) })
}

// work swaps two keys and records a job in each round, and tells what was acknowledged.
func work(ctx context.Context, s *store.Store, tell func(string)) error {
	for i := 0; ; i++ {
		c := demo()
		if i%2 == 1 {
			c.Subscriptions[0].PrimaryKey, c.Subscriptions[1].PrimaryKey = c.Subscriptions[1].PrimaryKey, c.Subscriptions[0].PrimaryKey
		}
		if _, err := s.Apply(ctx, file(c)); err != nil {
			return err
		}
		r, err := s.Revise(ctx, sha256.Sum256([]byte(fmt.Sprint(os.Getpid(), i))))
		if err != nil {
			return err
		}
		job := fmt.Sprintf("%d-%d", os.Getpid(), i)
		if err := s.Own(ctx, submit("c"+job, 1, job)); err != nil {
			return err
		}
		tell(fmt.Sprint(r.Number, " ", job))
	}
}

func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		at := source(t)
		var number uint64
		for round := range 5 {
			acknowledged := crash(t, at, 3+4*round)
			s, end := connect(t, at, store.Options{})
			number = acknowledge(t, s, acknowledged, number)
			end()
		}
	})
}

// acknowledge checks that a store has what it acknowledged, after the revision number, and a
// whole catalog. It returns the last revision.
func acknowledge(t *testing.T, s *store.Store, acknowledged []string, number uint64) uint64 {
	t.Helper()
	for _, line := range acknowledged {
		n, job, _ := strings.Cut(line, " ")
		got, err := strconv.ParseUint(n, 10, 64)
		if err != nil || got <= number {
			t.Fatalf("revision %q after %d: not beyond it", n, number)
		}
		number = got
		if owner, _, err := s.Owner(t.Context(), "https://b", submit("", 0, job).Resource); owner != 1 || err != nil {
			t.Errorf("acknowledged job %s: owner %d, %v, want 1", job, owner, err)
		}
	}
	subs := subscriptions(t, s)
	if len(subs) != 2 || len(subs["alice"].Keys) != 2 || len(subs["bob"].Keys) != 1 || subs["alice"].ID != 1 {
		t.Errorf("half a catalog: %v", subs)
	}
	return number
}

// crash runs workOn in a process of its own, kills it with SIGKILL once it has acknowledged
// so many rounds, and returns all that it acknowledged.
func crash(t *testing.T, at string, rounds int) (acknowledged []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashing+"="+at)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "opened" {
		t.Fatalf("the worker did not open the store: %q", lines.Text())
	}
	for lines.Scan() { // to the end: what stood in the pipe when it died counts as well
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) == rounds {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait() // killed
	if len(acknowledged) < rounds {
		t.Fatalf("the worker ended by itself after %d rounds", len(acknowledged))
	}
	return acknowledged
}
