package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tollgate/tollgate/sidecar/admin"
)

func TestExitStatusAndLines(t *testing.T) {
	mistakes := &admin.Problem{Status: 422, Detail: "name: is missing (and 1 more mistakes)", Errors: []admin.FieldError{
		{Field: "apis[1]", Message: `there is no API "Deom"; did you mean "Demo"?`}, {Message: "is not much"}}}
	for name, c := range map[string]struct {
		err    error
		status int
		lines  string
	}{
		"nothing":            {nil, 0, ""},
		"failed":             {errors.New("disk full"), 1, "tollgate: disk full\n"},
		"misuse":             {misusef("what is %q", "x"), 2, "tollgate: what is \"x\"\n"},
		"wrapped":            {fmt.Errorf("reading: %w", misusef("no")), 2, "tollgate: reading: no\n"},
		"not found":          {&admin.Problem{Status: 404, Detail: "there is none"}, 3, "tollgate: there is none\n"},
		"conflict":           {&admin.Problem{Status: 409, Detail: "taken"}, 4, "tollgate: taken\n"},
		"moved":              {fmt.Errorf("x.yaml:3: %w", &admin.Problem{Status: 412, Detail: "moved"}), 4, "tollgate: x.yaml:3: moved\n"},
		"no token":           {&admin.Problem{Status: 401, Detail: "no token"}, 5, "tollgate: no token\n"},
		"forbidden":          {&admin.Problem{Status: 403, Detail: "no right"}, 5, "tollgate: no right\n"},
		"refused":            {&admin.Problem{Status: 400, Detail: "bad"}, 1, "tollgate: bad\n"},
		"unavailable":        {&admin.Problem{Status: 503, Detail: "later"}, 1, "tollgate: later\n"},
		"no sidecar":         {fmt.Errorf("%w at a.sock", admin.ErrNobody), 6, "tollgate: no sidecar answers at a.sock: start it with `tollgate serve`, or say with --server where it is\n"},
		"no such host":       {fmt.Errorf("asking: %w", &net.DNSError{Err: "no such host", Name: "nowhere"}), 6, "tollgate: asking: lookup nowhere: no such host\n"},
		"no connection":      {fmt.Errorf("asking: %w", &net.OpError{Op: "dial", Err: errors.New("timeout")}), 6, "tollgate: asking: dial: timeout\n"},
		"connection cut off": {fmt.Errorf("asking: %w", &net.OpError{Op: "read", Err: errors.New("reset")}), 1, "tollgate: asking: read: reset\n"},
		"reported":           {errReported, 1, ""},
		"own status":         {exit{2, fmt.Errorf("%w at a.sock", admin.ErrNobody)}, 2, "tollgate: no sidecar answers at a.sock: start it with `tollgate serve`, or say with --server where it is\n"},
		"mistakes": {mistakes, 1,
			"tollgate: apis[1]: there is no API \"Deom\"; did you mean \"Demo\"?\ntollgate: is not much\n"},
		"mistakes in a document": {fmt.Errorf("x.yaml:3: %w", mistakes), 1,
			"tollgate: x.yaml:3: apis[1]: there is no API \"Deom\"; did you mean \"Demo\"?\ntollgate: x.yaml:3: is not much\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if status := report(&b, c.err); status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if d := cmp.Diff(c.lines, b.String()); d != "" {
				t.Errorf("lines (-want +got):\n%s", d)
			}
		})
	}
}

// Every command says what it takes, refuses more, and has its flags described and completed.
func TestCommandsAreWhole(t *testing.T) {
	paths := map[string]bool{"store": true, "token-file": true, "ca": true, "filename": true, "value-file": true, "help": true, "admin": true, "server": true}
	// Commands without names that a sidecar knows complete files.
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, below := range c.Commands() {
			walk(below)
		}
		if !c.Runnable() || c.Name() == "help" || c.Parent() != nil && c.Parent().Name() == "completion" {
			return
		}
		if c.Short == "" {
			t.Errorf("%s has no summary", c.CommandPath())
		}
		if !slices.Contains([]string{"serve", "up", "emulate"}, c.Name()) && c.Args == nil {
			t.Errorf("%s does not check its arguments", c.CommandPath())
		}
		if !c.Flags().HasFlags() || c.Flags().Lookup("server") == nil {
			return
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s has no description", c.CommandPath(), f.Name)
			}
			if _, ok := c.GetFlagCompletionFunc(f.Name); f.Value.Type() == "string" && !ok && !paths[f.Name] && !freeText[f.Name] {
				t.Errorf("%s: --%s is not completed", c.CommandPath(), f.Name)
			}
		})
	}
	walk(rootCommand())
}

// freeText are flags whose values nobody knows beforehand.
var freeText = map[string]bool{"expires": true, "note": true, "grace": true, "since": true, "until": true, "head": true, "source": true, "name": true, "kind": true,
	"actor": true, "action": true, "suffix": true, "backend": true, "gateway": true, "revision": true, "limit": true, "key": true}

// docs/cli.md has every command, and says of exit statuses what the help says.
func TestCommandsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(text)), " ")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, below := range c.Commands() {
			walk(below)
		}
		if c.Name() == "help" || c.HasSubCommands() || c.Parent() == nil {
			return
		}
		path := strings.TrimPrefix(c.CommandPath(), "tollgate ")
		if !strings.Contains(page, "`"+path+" ") && !strings.Contains(page, "tollgate "+path+" ") && !strings.Contains(page, "`tollgate "+path+"`") && !strings.Contains(page, "tollgate help "+path) {
			t.Errorf("docs/cli.md does not have %s", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if c.Flags().Lookup("server") != nil && f.Name != "help" && !strings.Contains(page, "--"+f.Name) && !strings.Contains(page, "`"+f.Name+"`") && f.Shorthand == "" {
				t.Errorf("docs/cli.md does not have --%s of %s", f.Name, c.CommandPath())
			}
		})
	}
	walk(rootCommand())
	help := strings.Join(strings.Fields(exitCodes), " ")
	for status := range exitUnreachable + 1 {
		_, meaning, _ := strings.Cut(help, fmt.Sprintf(" %d ", status))
		meaning, _, _ = strings.Cut(meaning, fmt.Sprintf(" %d ", status+1))
		meaning, _, _ = strings.Cut(meaning, " tollgate diff")
		if !strings.Contains(page, fmt.Sprintf("| %d | %s |", status, meaning)) {
			t.Errorf("docs/cli.md does not say that %d is: %s", status, meaning)
		}
	}
}
