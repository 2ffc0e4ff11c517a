package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tollgate/tollgate/sidecar/database"
)

// maxExplanations bounds what Explain returns: a client may repeat a request id.
const maxExplanations = 20

// ErrUnknown says that the store knows no denial by that id.
var ErrUnknown = errors.New("no denial with this request or decision id is on record")

// Explanation is why one request was denied.
type Explanation struct {
	Request          string    `json:"request"` // its x-request-id
	Time             time.Time `json:"time"`
	Status           int       `json:"status"`
	Reasons          []string  `json:"reasons"`
	API              string    `json:"api,omitempty"`
	Operation        string    `json:"operation,omitempty"`
	Subscription     uint32    `json:"subscription,omitempty"` // 0: no key, or an unknown one
	SubscriptionName string    `json:"subscription_name,omitempty"`
	Limit            string    `json:"limit,omitempty"` // the name of the limit that was exhausted
	// Decision, Policy and Rules are empty where the filter denied without asking a
	// policy; Policy and Rules also when the decision is not on record.
	Decision string `json:"decision,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Rules    []Rule `json:"rules,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// Log reads a store's record of denials, also while sidecars have the store open.
type Log struct{ db *database.DB }

// OpenLog opens the record of denials in the store at source, as in database.Config, for
// reading. Nothing is created.
func OpenLog(ctx context.Context, source string) (*Log, error) {
	db, err := database.Open(ctx, database.Config{Source: source, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	return &Log{db}, nil
}

// String names the store for people.
func (l *Log) String() string { return l.db.String() }

// Close gives the record up.
func (l *Log) Close() error { return l.db.Close() }

// Explain returns why the request with this x-request-id was denied, or the requests that
// the decision with this id denied, newest first and at most 20. ErrUnknown when there is
// none.
func (l *Log) Explain(ctx context.Context, id string) ([]Explanation, error) {
	var found []Explanation
	err := l.db.View(ctx, "explaining", func(tx *database.Tx) (err error) {
		found, err = explain(ctx, tx, reported, id)
		if err != nil || len(found) > 0 {
			return err
		}
		// The filter has not reported it yet, or was gone before it could.
		found, err = explain(ctx, tx, recorded, id)
		return err
	})
	if err == nil && len(found) == 0 {
		return nil, ErrUnknown
	}
	return found, err
}

// Both read denials by the id of a request or a decision, given twice, and a number of rows.
const (
	reported = `
		SELECT n.call, n.time, n.status, n.reason, n.limit_name, COALESCE(d.api, n.api), n.operation, n.subscription, COALESCE(s.name, ''),
		       n.decision, COALESCE(d.policy, ''), COALESCE(d.reasons, '[]'), COALESCE(d.rules, '[]'), COALESCE(d.detail, '')
		  FROM denial n LEFT JOIN decision d ON d.id = n.decision AND n.decision <> '' LEFT JOIN subscription s ON s.id = n.subscription
		 WHERE n.call = ? OR (n.decision = ? AND n.decision <> '') ORDER BY n.seq DESC LIMIT ?`
	recorded = `
		SELECT d.call, d.time, d.status, '', '', d.api, d.operation, d.subscription, COALESCE(s.name, ''),
		       d.id, d.policy, d.reasons, d.rules, d.detail
		  FROM decision d LEFT JOIN subscription s ON s.id = d.subscription
		 WHERE d.call = ? OR d.id = ? ORDER BY d.seq DESC LIMIT ?`
)

func explain(ctx context.Context, tx *database.Tx, query, id string) ([]Explanation, error) {
	id = shown(id)
	rows, err := tx.Query(ctx, query, id, id, maxExplanations)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []Explanation
	for rows.Next() {
		var e Explanation
		var millis int64
		var reason, reasons, rules string
		if err := rows.Scan(&e.Request, &millis, &e.Status, &reason, &e.Limit, &e.API, &e.Operation, &e.Subscription, &e.SubscriptionName,
			&e.Decision, &e.Policy, &reasons, &rules, &e.Detail); err != nil {
			return nil, err
		}
		e.Time = time.UnixMilli(millis).UTC()
		if err := errors.Join(json.Unmarshal([]byte(reasons), &e.Reasons), json.Unmarshal([]byte(rules), &e.Rules)); err != nil {
			return nil, err
		}
		if len(e.Reasons) == 0 && reason != "" {
			e.Reasons = []string{reason}
		}
		found = append(found, e)
	}
	return found, rows.Err()
}
