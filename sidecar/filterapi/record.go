package filterapi

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tollgate/tollgate/sidecar/policy"
	"github.com/tollgate/tollgate/sidecar/store"
)

const (
	// maxRecords bounds the denies that wait to be recorded. Beyond it they are counted
	// and not recorded: a flood of denies slows no answer down.
	maxRecords = 4096
	// recordBatch bounds the denies in one transaction, and so how long it takes.
	recordBatch = 64
	// recordTimeout bounds explaining and writing one batch.
	recordTimeout = 5 * time.Second
	// explainRate is how many denies a second are explained, explainBurst how many at once.
	explainRate  = 200
	explainBurst = 400
)

// record is a deny on its way to the store. Its input is explained and then dropped: no
// value of a request is recorded.
type record struct {
	decision store.Decision
	input    policy.Input
	final    bool // there is no rule to look for
}

// keep has a deny recorded soon: tollgate explain finds it some milliseconds after the
// answer, since every batch begins as soon as the one before is written.
func (s *Server) keep(r record) {
	select {
	case s.records <- r:
	default:
		s.metrics.unrecorded.Inc()
	}
}

// keepRecords writes records until ctx ends, and those that wait then; and it prunes.
func (s *Server) keepRecords(ctx context.Context) {
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			for len(s.records) > 0 {
				s.writeRecords(context.WithoutCancel(ctx), <-s.records)
			}
			return
		case first := <-s.records:
			s.writeRecords(context.WithoutCancel(ctx), first)
		case <-prune.C:
			if err := s.store.Prune(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("pruning the record of denials", "error", err)
			}
		}
	}
}

// writeRecords writes first and what else waits in one transaction.
func (s *Server) writeRecords(ctx context.Context, first record) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	batch := []store.Decision{s.explained(ctx, first)}
	for len(batch) < recordBatch && len(s.records) > 0 { // this goroutine alone receives
		batch = append(batch, s.explained(ctx, <-s.records))
	}
	err := s.store.Record(ctx, batch)
	if err != nil {
		s.metrics.unrecorded.Add(float64(len(batch)))
	}
	if changed := s.recordOutage.changed(s.now(), err); changed && err != nil {
		s.log.Error("recording denials failed: they are counted only, until the store can be written", "error", err)
	} else if changed {
		s.log.Info("denials are recorded again")
	}
}

// explained adds the rules that denied: to explain is to evaluate once more, so under a
// flood of denies only some of them are. Where the policy has moved since, its rules are
// others, and none are added.
func (s *Server) explained(ctx context.Context, r record) store.Decision {
	d := r.decision
	if r.final {
		return d
	}
	if !s.explaining.Allow() {
		d.Detail = "too many requests were denied at once to look for the rule"
		return d
	}
	rules, err := s.policy.Explain(ctx, r.input)
	switch {
	case errors.Is(err, policy.ErrStale):
		d.Detail = "the policy was replaced before the rule was looked for"
	case err != nil:
		s.log.Error("explaining a deny", "decision", d.ID, "error", err)
		d.Detail = "the policy could not be asked for the rule"
	}
	for _, rule := range rules {
		d.Rules = append(d.Rules, store.Rule{Path: rule.Path, File: rule.File, Line: rule.Line, Reason: rule.Reason, Title: rule.Title})
	}
	return d
}

// reasonCode is reason where it is a code: lower case letters, digits and "_", at most 64
// of them; no other text is recorded.
func reasonCode(reason string) string {
	if len(reason) > 64 {
		return "not_a_code"
	}
	for i := range len(reason) {
		if c := reason[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return "not_a_code"
		}
	}
	return reason
}

// clean is an id as it may be recorded: 1 to 256 printable characters, or empty.
func clean(id string) string {
	if !printable(id, maxID) {
		return ""
	}
	return id
}

// cut bounds a name that the filter took from its snapshot.
func cut(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), maxID)], "")
}
