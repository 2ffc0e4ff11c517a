package ledger_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tollgate/tollgate/internal/wire"
	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/database/postgrestest"
	"github.com/tollgate/tollgate/sidecar/ledger"
)

// crashing names the database on which this test binary, run again, takes until it is killed.
const crashing = "TOLLGATE_TEST_CRASHING_LEDGER"

func main(m *testing.M) {
	if path := os.Getenv(crashing); path != "" {
		fmt.Fprintln(os.Stderr, work(path))
		os.Exit(1)
	}
	os.Exit(postgrestest.Main(m))
}

// work has eight workers take and settle, and prints what was acknowledged: a unit that was
// granted as "granted", one that was given back as "back".
func work(path string) error {
	ctx := context.Background()
	db, err := database.Open(ctx, database.Config{Source: path})
	if err != nil {
		return err
	}
	l, err := ledger.Open(ctx, db, quiet())
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() { failed <- l.Run(ctx) }()
	fmt.Println("opened")
	var out sync.Mutex
	for w := range 8 {
		go func() {
			worker := fmt.Sprintf("p%dw%d", os.Getpid(), w)
			for id := uint64(1); ; id++ {
				grants, err := l.Take(ctx, waiting(worker, id, quotaOf(1<<40)))
				if err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println("granted")
				out.Unlock()
				if id%3 != 0 {
					continue
				}
				refund := wire.Settlement{Take: id, Counter: grants[0].Leases[0].Counter}
				out.Lock()
				fmt.Println("returning")
				out.Unlock()
				if _, err := l.Take(ctx, ledger.Batch{Worker: worker, Settlements: []wire.Settlement{refund}}); err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println("back")
				out.Unlock()
			}
		}()
	}
	return <-failed
}

func TestWhatWasGrantedSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	var granted, returning, back int64
	for round := range 4 {
		for _, line := range crash(t, path, 40+60*round) {
			switch line {
			case "granted":
				granted++
			case "returning":
				returning++
			case "back":
				back++
			}
		}
		db, err := database.Open(t.Context(), database.Config{Source: path})
		if err != nil {
			t.Fatal(err)
		}
		l := openLedger(t, db, quiet())
		list, err := l.Counters(t.Context(), ledger.Filter{All: true})
		if err != nil || len(list) != 1 {
			t.Fatalf("round %d: counters %+v, %v", round, list, err)
		}
		// What was under way when it died may be on record or not: 8 takes a round.
		has, least, most := list[0].Used+list[0].Leased, granted-returning, granted-back+int64(8*(round+1))
		if has < least || has > most {
			t.Errorf("round %d: %d units are out, want %d to %d", round, has, least, most)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// crash runs work in a process of its own, kills it with SIGKILL once it has said so many
// lines, and returns all that it said.
func crash(t *testing.T, path string, lines int) (said []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashing+"="+path)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	if !scanner.Scan() || scanner.Text() != "opened" {
		t.Fatalf("the worker did not open the ledger: %q %s", scanner.Text(), complaint.String())
	}
	for scanner.Scan() { // to the end: what stood in the pipe when it died counts as well
		said = append(said, scanner.Text())
		if len(said) == lines {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait() // killed
	if len(said) < lines {
		t.Fatalf("the worker ended by itself after %d lines: %s", len(said), complaint.String())
	}
	return said
}
