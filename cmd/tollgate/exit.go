package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

// The exit statuses of every command; `tollgate diff` has its own.
const (
	exitOK          = 0
	exitFailed      = 1 // refused, or failed on the way
	exitUsage       = 2 // called wrongly; nothing was asked
	exitNotFound    = 3
	exitConflict    = 4 // 409 and 412: exists, managed elsewhere, in use, changed meanwhile
	exitForbidden   = 5 // 401 and 403
	exitUnreachable = 6 // no sidecar answers
)

const exitCodes = `The exit status of a command:

  0  done
  1  refused, or failed on the way
  2  called wrongly: an unknown command or flag, a missing argument, a value that cannot be
  3  there is none of that name
  4  a conflict: it exists already, something else manages it or needs it, its state does
     not allow it, or it was changed meanwhile
  5  not allowed: no token, one that is not known or has expired, or a role that is not enough
  6  no sidecar answers

tollgate diff ends with 0 where nothing would change, with 1 where something would, and with
2 after every error.`

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit status of a command says", Long: exitCodes}
}

// misuse is a mistake in how a command was called.
type misuse struct{ error }

func (m misuse) Unwrap() error { return m.error }

func misusef(format string, args ...any) error { return misuse{fmt.Errorf(format, args...)} }

// seeHelp is an error that names where to read on.
func seeHelp(c *cobra.Command, format string, args ...any) error {
	return fmt.Errorf("%s (see %s --help)", fmt.Sprintf(format, args...), c.CommandPath())
}

// exit is an error with an exit status of its own.
type exit struct {
	status int
	error
}

func (e exit) Unwrap() error { return e.error }

// errReported ends a command whose findings are printed already.
var errReported = errors.New("reported")

// report prints err, one line per mistake, and returns the exit status.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errReported) {
		for _, line := range lines(err) {
			fmt.Fprintln(w, "tollgate:", line)
		}
	}
	return exitStatus(err)
}

// lines are what to print of an error: what was refused has a line for each field that is
// wrong.
func lines(err error) []string {
	var p *admin.Problem
	switch {
	case errors.Is(err, admin.ErrNobody):
		return []string{err.Error() + ": start it with `tollgate serve`, or say with --server where it is"}
	case !errors.As(err, &p) || len(p.Errors) == 0:
		return []string{err.Error()}
	}
	before, _, _ := strings.Cut(err.Error(), p.Error()) // what was wrapped around it
	list := make([]string, len(p.Errors))
	for i, e := range p.Errors {
		list[i] = before + e.Message
		if e.Field != "" {
			list[i] = before + e.Field + ": " + e.Message
		}
	}
	return list
}

func exitStatus(err error) int {
	var own exit
	var wrong misuse
	var p *admin.Problem
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.As(err, &wrong):
		return exitUsage
	case unreachable(err):
		return exitUnreachable
	case !errors.As(err, &p):
		return exitFailed
	}
	switch p.Status {
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitForbidden
	}
	return exitFailed
}

// takes checks a command's arguments, by what its help calls them: "NAME" must be there,
// "[NAME]" may, and "NAME..." may stand there several times.
func takes(names ...string) cobra.PositionalArgs {
	least, most := 0, len(names)
	for _, name := range names {
		if !strings.HasPrefix(name, "[") {
			least++
		}
		if strings.Contains(name, "...") {
			most = math.MaxInt
		}
	}
	return func(c *cobra.Command, args []string) error {
		switch {
		case most == 0 && len(args) > 0:
			return seeHelp(c, "%s takes no arguments, and got %q", c.CommandPath(), args[0])
		case len(args) < least, len(args) > most:
			return seeHelp(c, "%s takes %s, and got %s", c.CommandPath(), strings.Join(names, " "), counted(len(args), "argument"))
		}
		for i, a := range args {
			if a == "" {
				return seeHelp(c, "argument %d of %s is empty", i+1, c.CommandPath())
			}
		}
		return nil
	}
}

// counted is "no arguments", "1 argument", "2 arguments".
func counted(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// file is a command's only argument.
func file(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return seeHelp(c, "%s takes one argument, %s", c.CommandPath(), what)
		}
		return nil
	}
}
