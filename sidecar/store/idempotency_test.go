package store_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/sidecar/database"
	"github.com/tollgate/tollgate/sidecar/store"
)

// code is the code of a *StateError, or the error's text.
func code(err error) string {
	var state *store.StateError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &state):
		return state.Code
	}
	return err.Error()
}

func TestARequestRunsOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s := opened(t, source(t), store.Options{Now: clock.Now})
		one, other := sha256.Sum256([]byte("one")), sha256.Sum256([]byte("other"))
		answer := store.Answer{Status: 201, Body: []byte(`{"name":"日本"}`)}
		once := func(actor, key string, request [32]byte, want string) {
			t.Helper()
			got, err := s.Once(t.Context(), actor, key, request)
			said := code(err)
			if got != nil {
				said = "answer"
				if diff := cmp.Diff(&answer, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			}
			if said != want {
				t.Errorf("once(%s, %s) = %q, want %q", actor, key, said, want)
			}
		}
		answered := func(actor, key string) {
			t.Helper()
			if err := s.Answered(t.Context(), actor, key, answer); err != nil {
				t.Fatal(err)
			}
		}
		once("a", "k", one, "") // runs
		once("a", "k", one, "idempotency_key_busy")
		once("a", "k", other, "idempotency_key_reused")
		once("b", "k", other, "") // another's key is another key
		once("a", "l", other, "")
		answered("a", "k")
		once("a", "k", one, "answer")
		once("a", "k", other, "idempotency_key_reused")
		once("b", "k", other, "idempotency_key_busy")
		if err := s.Answered(t.Context(), "a", "k", store.Answer{Status: 500}); err != nil { // too late
			t.Fatal(err)
		}
		once("a", "k", one, "answer")

		clock.pass(time.Minute - time.Millisecond)
		once("a", "l", other, "idempotency_key_busy")
		clock.pass(time.Millisecond)
		once("a", "l", one, "idempotency_key_reused")
		once("a", "l", other, "") // whoever had it did not answer
		once("a", "l", other, "idempotency_key_busy")
		once("a", "k", one, "answer")

		if err := s.Unanswered(t.Context(), "a", "l"); err != nil {
			t.Fatal(err)
		}
		once("a", "l", one, "")
		if err := s.Unanswered(t.Context(), "a", "k"); err != nil { // it was answered: it stays
			t.Fatal(err)
		}
		once("a", "k", one, "answer")

		clock.pass(24*time.Hour - time.Minute - time.Millisecond)
		once("a", "k", one, "answer")
		clock.pass(time.Millisecond)
		once("a", "k", other, "") // a day later it is a new key
		answered("a", "k")
		once("a", "k", other, "answer")
	})
}

func TestOldAnswersAreDropped(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		clock := handAt(noon)
		s, db := withAudit(t, source(t), store.Options{Now: clock.Now})
		for _, key := range []string{"a", "b", "c"} {
			if _, err := s.Once(t.Context(), "x", key, [32]byte{}); err != nil {
				t.Fatal(err)
			}
			clock.pass(time.Hour)
		}
		for _, step := range []struct {
			pass time.Duration
			left int
		}{{21*time.Hour - time.Millisecond, 3}, {time.Millisecond, 2}, {0, 2}, {2 * time.Hour, 0}} {
			clock.pass(step.pass)
			if err := s.DropOldAnswers(t.Context()); err != nil {
				t.Fatal(err)
			}
			var left int
			if err := db.View(t.Context(), "counting", func(tx *database.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM idempotency`).Scan(&left)
			}); err != nil || left != step.left {
				t.Errorf("%v: %d left, %v, want %d", clock.Now(), left, err, step.left)
			}
		}
	})
}

func TestIdempotencyKeysArePrintable(t *testing.T) {
	inBoth(t, func(t *testing.T, source source) {
		s := fresh(t, source)
		for _, key := range []string{"", "a\x00", "a\n", "é", "a\x7f", strings.Repeat("k", 256)} {
			var wrong *store.InvalidError
			if _, err := s.Once(t.Context(), "x", key, [32]byte{}); !errors.As(err, &wrong) || wrong.Mistakes[0].Field != "Idempotency-Key" {
				t.Errorf("%q: %v", key, err)
			}
		}
		for _, key := range []string{" ", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`, strings.Repeat("k", 255)} {
			if answer, err := s.Once(t.Context(), "x\x00\xff", key, [32]byte{}); answer != nil || err != nil {
				t.Errorf("%q: %v, %v", key, answer, err)
			}
		}
	})
}

// Of the same request, sent to several sidecars at once, one runs: also where an earlier one
// was never answered.
func TestOfTheSameRequestsOneRuns(t *testing.T) {
	clock := handAt(noon)
	all := sidecars(t, 4, store.Options{Now: clock.Now})
	for round := range 20 {
		var ran atomic.Int32
		together(all, func(_ int, s *store.Store) {
			answer, err := s.Once(t.Context(), "x", "k", [32]byte{})
			switch {
			case err == nil && answer == nil:
				ran.Add(1)
			case code(err) != "idempotency_key_busy":
				t.Errorf("%v, %v", answer, err)
			}
		})
		if n := ran.Load(); n != 1 {
			t.Errorf("round %d: %d ran, want 1", round, n)
		}
		clock.pass(time.Minute)
	}
}
