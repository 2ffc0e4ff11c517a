package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"
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
	// Decision, Policy and Rules are empty where the filter denied without asking a
	// policy; Policy and Rules also when the decision is not on record.
	Decision string `json:"decision,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Rules    []Rule `json:"rules,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// Log reads a store's record of denials, also while a sidecar has the store open.
type Log struct{ db *sql.DB }

// OpenLog opens the record of denials of the store at path for reading. Nothing is created.
func OpenLog(path string) (*Log, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	f, err := os.Open(path) // SQLite's own message does not name the file
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	db, err := open(path, 2*time.Second, url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)"}})
	if err != nil {
		return nil, fmt.Errorf("opening store %s: %w", path, err)
	}
	return &Log{db}, nil
}

// Close gives the record up.
func (l *Log) Close() error { return l.db.Close() }

// Explain returns why the request with this x-request-id was denied, or the requests that
// the decision with this id denied, newest first and at most 20. ErrUnknown when there is
// none.
func (l *Log) Explain(ctx context.Context, id string) ([]Explanation, error) {
	found, err := explain(ctx, l.db, `
		SELECT n.call, n.time, n.status, n.reason, COALESCE(d.api, n.api), n.operation, n.subscription, COALESCE(s.name, ''), n.decision,
		       COALESCE(d.policy, ''), COALESCE(d.reasons, '[]'), COALESCE(d.rules, '[]'), COALESCE(d.detail, '')
		  FROM denial n LEFT JOIN decision d ON d.id = n.decision AND n.decision <> '' LEFT JOIN subscription s ON s.id = n.subscription
		 WHERE n.call = ? OR (n.decision = ? AND n.decision <> '') ORDER BY n.seq DESC LIMIT ?`, id)
	if err != nil || len(found) > 0 {
		return found, err
	}
	// The filter has not reported it yet, or was gone before it could.
	found, err = explain(ctx, l.db, `
		SELECT d.call, d.time, d.status, '', d.api, d.operation, d.subscription, COALESCE(s.name, ''), d.id, d.policy, d.reasons, d.rules, d.detail
		  FROM decision d LEFT JOIN subscription s ON s.id = d.subscription
		 WHERE d.call = ? OR d.id = ? ORDER BY d.seq DESC LIMIT ?`, id)
	if err == nil && len(found) == 0 {
		return nil, ErrUnknown
	}
	return found, err
}

func explain(ctx context.Context, db *sql.DB, query, id string) ([]Explanation, error) {
	rows, err := db.QueryContext(ctx, query, id, id, maxExplanations)
	if err != nil {
		return nil, fmt.Errorf("explaining: %w", err)
	}
	defer rows.Close()
	var found []Explanation
	for rows.Next() {
		var e Explanation
		var millis int64
		var reason, reasons, rules string
		if err := rows.Scan(&e.Request, &millis, &e.Status, &reason, &e.API, &e.Operation, &e.Subscription, &e.SubscriptionName,
			&e.Decision, &e.Policy, &reasons, &rules, &e.Detail); err != nil {
			return nil, fmt.Errorf("explaining: %w", err)
		}
		e.Time = time.UnixMilli(millis).UTC()
		if err := errors.Join(json.Unmarshal([]byte(reasons), &e.Reasons), json.Unmarshal([]byte(rules), &e.Rules)); err != nil {
			return nil, fmt.Errorf("explaining: %w", err)
		}
		if len(e.Reasons) == 0 && reason != "" {
			e.Reasons = []string{reason}
		}
		found = append(found, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("explaining: %w", err)
	}
	return found, nil
}
