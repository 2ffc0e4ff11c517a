//go:build linux

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/e2e/harness"
)

// step is a block of commands of a guide, and what they are said to print.
type step struct{ commands, prints string }

// readGuide returns the blocks marked sh, each with the block marked text that follows it.
func readGuide(t *testing.T, file string) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(harness.Root(), file))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if block[1] == "sh" {
			steps = append(steps, step{commands: block[2]})
		} else {
			steps[len(steps)-1].prints = block[2]
		}
	}
	if len(steps) < 10 {
		t.Fatalf("%s has %d steps: this reads it wrongly", file, len(steps))
	}
	return steps
}

// docs/manage.md is followed word for word, by one shell, in a folder like a clone.
func TestTheGuideToManagementIsTrue(t *testing.T) {
	clone, err := os.MkdirTemp("", "tg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(clone) })
	if err := os.Symlink(filepath.Dir(harness.Binary(t)), filepath.Join(clone, "bin")); err != nil {
		t.Fatal(err)
	}
	gateway := up(t, filepath.Join(clone, ".tollgate", "empty"), nil, "--empty")
	gateway.await("Ready after")

	const next = "--- next step ---"
	steps := readGuide(t, "docs/manage.md")
	var script strings.Builder
	for _, s := range steps {
		script.WriteString(s.commands + "echo '" + next + "'\n")
	}
	shell := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail")
	shell.Dir, shell.Stdin = clone, strings.NewReader(script.String())
	var said bytes.Buffer
	shell.Stdout, shell.Stderr = &said, &said
	if err := shell.Run(); err != nil {
		t.Errorf("the shell ended: %v", err)
	}
	printed := strings.Split(said.String(), next+"\n")
	for i, s := range steps {
		if i >= len(printed) {
			t.Fatalf("not reached:\n%s", s.commands)
		}
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(s.prints), `\.\.\.`, `.*`) + "$"
		if s.prints != "" && !regexp.MustCompile(pattern).MatchString(printed[i]) {
			t.Errorf("%s\nprinted:\n%s\nand not:\n%s", s.commands, printed[i], s.prints)
		}
	}
}
