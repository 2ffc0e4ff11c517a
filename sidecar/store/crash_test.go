package store_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/sidecar/store"
)

// crashing names the store on which this test binary, run again, works until it is killed.
const crashing = "TOLLGATE_TEST_CRASHING_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashing); path != "" {
		fmt.Fprintln(os.Stderr, work(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// work swaps two keys and records a job in each round, and prints what was acknowledged.
func work(path string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		return err
	}
	fmt.Println("opened")
	for i := 0; ; i++ {
		c := demo()
		if i%2 == 1 {
			c.Subscriptions[0].PrimaryKey, c.Subscriptions[1].PrimaryKey = c.Subscriptions[1].PrimaryKey, c.Subscriptions[0].PrimaryKey
		}
		if _, err := s.Apply(ctx, c, keys); err != nil {
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
		fmt.Println(r.Number, job)
	}
}

func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	var number uint64
	for round := range 5 {
		acknowledged := crash(t, path, 3+4*round)
		s, err := store.Open(t.Context(), path, store.Options{})
		if err != nil {
			t.Fatalf("round %d: reopening: %v", round, err)
		}
		for _, line := range acknowledged {
			n, job, _ := strings.Cut(line, " ")
			got, err := strconv.ParseUint(n, 10, 64)
			if err != nil || got <= number {
				t.Fatalf("round %d: revision %q after %d: not beyond it", round, n, number)
			}
			number = got
			if owner, _, err := s.Owner(t.Context(), "https://b", submit("", 0, job).Resource); owner != 1 || err != nil {
				t.Errorf("round %d: acknowledged job %s: owner %d, %v, want 1", round, job, owner, err)
			}
		}
		subs := subscriptions(t, s)
		if len(subs) != 2 || len(subs["alice"].Keys) != 2 || len(subs["bob"].Keys) != 1 || subs["alice"].ID != 1 {
			t.Errorf("round %d: half a catalog: %v", round, subs)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// crash runs work in a process of its own, kills it with SIGKILL once it has acknowledged
// so many rounds, and returns all that it acknowledged.
func crash(t *testing.T, path string, rounds int) (acknowledged []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashing+"="+path)
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
