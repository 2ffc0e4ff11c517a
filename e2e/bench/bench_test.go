package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// This package is main, and its rig runs this very program as the server for ext_authz.
func TestMain(m *testing.M) {
	serveIfTold()
	os.Exit(m.Run())
}

// TestRun measures every variant with a handful of requests. How fast they were is nobody's
// business here; that they were all let through, and that the cold ones asked, run checks.
func TestRun(t *testing.T) {
	var out strings.Builder
	c := config{root: clone(), variants: variants, rounds: 2, slice: time.Minute, requests: 16, warmup: 16, connections: 2,
		grants: 100 * time.Millisecond, pace: pace{perSecond: 100, time: 200 * time.Millisecond}}
	if err := run(t.Context(), &out, c); err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(out.String(), "warm_added_over_bare=")
	values := map[string]float64{}
	for line := range strings.Lines("warm_added_over_bare=" + lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Errorf("the line %q is no name=value", line)
		}
		values[name] = number
	}
	for _, name := range []string{"warm_added_over_bare", "extauthz_added_over_warm_added", "cold_added_over_extauthz_added", "calls_per_1000", "module_bytes",
		"ratelimit_added_over_limits_added", "limits_calls_per_1000", "limits_added_over_warm_added", "grants_per_s"} {
		if _, ok := values[name]; !ok {
			t.Errorf("there is no line %s=", name)
		}
	}
	if values["module_bytes"] <= 0 || values["calls_per_1000"] != 0 {
		t.Errorf("%v bytes of module and %v calls with a warm cache, want some and none", values["module_bytes"], values["calls_per_1000"])
	}
	if values["grants_per_s"] <= 0 {
		t.Errorf("the ledger granted %v leases per second", values["grants_per_s"])
	}
	for _, name := range []string{cold, extAuthz, ratelimit} {
		row := regexp.MustCompile(`(?m)^ +` + name + ` .* (\S+)$`).FindStringSubmatch(out.String())
		if row == nil || row[1] != "1000.00" {
			t.Errorf("the row of %s is %q, want it to end with 1000.00 calls", name, row)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
