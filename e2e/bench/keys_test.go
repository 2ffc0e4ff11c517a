package main

import (
	"strconv"
	"strings"
	"testing"
)

// TestKeys measures few subscriptions with a handful of requests: every answer is what it
// should be, and each figure is there.
func TestKeys(t *testing.T) {
	var out strings.Builder
	if err := runKeys(t.Context(), &out, keysConfig{root: clone(), sizes: []int{40, 8000}, workers: 2, requests: 20, rounds: 1, revokes: 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keys_subscriptions", "keys_worker_mib", "keys_sidecar_seconds", "keys_ready_seconds", "keys_lookup_over_smallest",
		"keys_unknown_over_smallest", "keys_revoke_ms"} {
		_, after, found := strings.Cut(out.String(), "\n"+name+"=")
		value, _, _ := strings.Cut(after, "\n")
		if number, err := strconv.ParseFloat(value, 64); !found || err != nil || number <= 0 {
			t.Errorf("the line %s=%s: %v", name, value, err)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
