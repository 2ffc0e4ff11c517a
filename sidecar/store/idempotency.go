package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// How long the store knows a creation that may be sent again.
const (
	// KeepAnswers is how long an answer is given again.
	KeepAnswers = 24 * time.Hour
	// KeepReservation is how long who came first may take to answer. After it the same
	// request runs again.
	KeepReservation = time.Minute
	// MaxIdempotencyKey is the length of the longest idempotency key, in bytes.
	MaxIdempotencyKey = 255
)

// Answer is what a creation was answered.
type Answer struct {
	Status int
	Body   []byte // text; holds no secret
}

// statusDone is the status of a request that changed something and was not answered yet.
const statusDone = 1

// Once says whether an actor's request runs: answer is nil, and Answered or Unanswered ends
// it; or it is the answer that the same request got before. request is a digest of all of it.
// A change with Write.Once notes in its transaction that the request is done.
//
// A *StateError with code idempotency_key_reused says that another request has come with the
// key, one with idempotency_key_busy that the same runs at this moment, and one with
// idempotency_answer_lost that the same is done and its answer was not kept. An *InvalidError is
// about the field Idempotency-Key: 1 to MaxIdempotencyKey printable characters of ASCII.
func (s *Store) Once(ctx context.Context, actor, key string, request [32]byte) (answer *Answer, err error) {
	if !validIdempotencyKey(key) {
		return nil, mistaken("Idempotency-Key", "must be 1 to %d printable ASCII characters", MaxIdempotencyKey)
	}
	o := once{dialect: s.db.Dialect(), actor: shown(actor), key: key, request: request[:]}
	err = s.db.Transact(ctx, "looking for an earlier answer", func(tx *database.Tx) (err error) {
		answer, err = o.run(ctx, tx, s.now())
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func validIdempotencyKey(key string) bool {
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return key != "" && len(key) <= MaxIdempotencyKey
}

var (
	errReused = &StateError{Code: "idempotency_key_reused", Text: "another request has come with this Idempotency-Key: take a new one for each thing that is to be made"}
	errBusy   = &StateError{Code: "idempotency_key_busy", Text: "the request that came first with this Idempotency-Key is still running: try again in a moment"}
	errLost   = &StateError{Code: "idempotency_answer_lost", Text: "it was done, but its answer was lost: look for what it made"}
)

// once is a request that is to run once.
type once struct {
	dialect    database.Dialect
	actor, key string
	request    []byte
}

func (o *once) run(ctx context.Context, tx *database.Tx, now time.Time) (*Answer, error) {
	// Who is second waits here for the first, and then inserts nothing.
	done, err := tx.Exec(ctx, `INSERT INTO idempotency (actor, key, request, status, answer, created) VALUES (?, ?, ?, 0, '', ?) ON CONFLICT DO NOTHING`,
		o.actor, o.key, o.request, now.UnixMilli())
	if err != nil {
		return nil, err
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return nil, err
	}
	var request []byte
	var answer Answer
	var text string
	var created int64
	err = tx.QueryRow(ctx, `SELECT request, status, answer, created FROM idempotency WHERE actor = ? AND key = ?`+o.dialect.ForUpdate(), o.actor, o.key).
		Scan(&request, &answer.Status, &text, &created)
	age := now.Sub(time.UnixMilli(created))
	again := bytes.Equal(request, o.request)
	switch {
	case errors.Is(err, sql.ErrNoRows): // the first has just given it up
		return nil, errBusy
	case err != nil:
		return nil, err
	case age >= KeepAnswers, again && answer.Status == 0 && age >= KeepReservation:
		_, err := tx.Exec(ctx, `UPDATE idempotency SET request = ?, status = 0, answer = '', created = ? WHERE actor = ? AND key = ?`,
			o.request, now.UnixMilli(), o.actor, o.key)
		return nil, err
	case !again:
		return nil, errReused
	case answer.Status == 0:
		return nil, errBusy
	case answer.Status == statusDone:
		return nil, errLost
	}
	answer.Body = []byte(text)
	return &answer, nil
}

// Answered keeps the answer of a request for which Once returned none.
func (s *Store) Answered(ctx context.Context, actor, key string, a Answer) error {
	return s.db.Transact(ctx, "keeping an answer", func(tx *database.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE idempotency SET status = ?, answer = ? WHERE actor = ? AND key = ? AND status IN (0, ?)`,
			a.Status, shown(string(a.Body)), shown(actor), shown(key), statusDone)
		return err
	})
}

// Unanswered gives the key back of a request that changed nothing and may be tried again at
// once.
func (s *Store) Unanswered(ctx context.Context, actor, key string) error {
	return s.db.Transact(ctx, "giving up an answer", func(tx *database.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM idempotency WHERE actor = ? AND key = ? AND status = 0`, shown(actor), shown(key))
		return err
	})
}

// DropOldAnswers forgets answers older than KeepAnswers.
func (s *Store) DropOldAnswers(ctx context.Context) error {
	return s.db.Transact(ctx, "dropping old answers", func(tx *database.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM idempotency WHERE created <= ?`, s.now().Add(-KeepAnswers).UnixMilli())
		return err
	})
}
