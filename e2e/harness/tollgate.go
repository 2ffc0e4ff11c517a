package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Tollgate runs the command line against the gateway's sidecar, as its administrator, and
// returns what it printed, without the line's end. The test fails when the command does.
func (g *Gateway) Tollgate(args ...string) string {
	g.t.Helper()
	out, err := g.TryTollgate(args...)
	if err != nil {
		g.t.Fatalf("tollgate %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// TryTollgate returns the command's error, with what it said.
func (g *Gateway) TryTollgate(args ...string) (string, error) {
	command := exec.CommandContext(g.t.Context(), Binary(g.t), args...)
	command.Env = append(os.Environ(), "TOLLGATE_SERVER=unix:"+g.path("admin-api.sock"))
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return string(out), fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
