package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/admin"
)

var slots = []string{"primary", "secondary"}

func keyCommand() *cobra.Command {
	return family("key", "Show, replace and revoke the keys of subscriptions",
		`A subscription has two keys, primary and secondary, so that one works while the other is
replaced. A key is shown once, when it is made; only its digest is stored. Nothing but keys is
printed on standard output.`,
		keyShowCommand(), keyRegenerateCommand(), keyRotateCommand(), keyRevokeCommand())
}

func keyShowCommand() *cobra.Command {
	var conn connection
	var out output
	var slot string
	var takeOver bool
	c := &cobra.Command{
		Use:   "show-once NAME",
		Short: "Make a new subscription's keys, and print them: this once",
		Long: `Makes both keys of a subscription and prints them, or the one of --slot alone. It works once:
afterwards a key can be replaced, and not be read.`,
		Example: `  tollgate key show-once ada-starter
  KEY=$(tollgate key show-once ada-starter --slot primary)`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeArgument(&conn, "subscription", false),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkSlot(slot, true); err != nil {
				return err
			}
			if err := out.check(); err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			keys, _, err := admin.Call[admin.Issued](c.Context(), client, admin.Request{
				Method: http.MethodPost, Path: admin.Path("subscriptions", args[0], "keys", "show-once"), Query: takeOverQuery(takeOver)})
			if err != nil {
				return err
			}
			return printIssued(c, &out, keys, slot)
		},
	}
	slotFlag(c, &slot, "", "print the key of this slot alone: primary or secondary")
	takeOverFlag(c, &takeOver)
	out.register(c, formatTable, formatJSON, formatYAML, formatName)
	conn.register(c.Flags())
	return c
}

// printIssued prints both keys, or the one of a slot alone.
func printIssued(c *cobra.Command, out *output, keys admin.Issued, slot string) error {
	w := c.OutOrStdout()
	clear := map[string]string{"primary": keys.Primary, "secondary": keys.Secondary}
	if slot != "" {
		other := slots[1-slices.Index(slots, slot)]
		if clear[other] != "" {
			fmt.Fprintf(c.ErrOrStderr(), "The %s key was made as well and is not shown: regenerate it when it is needed.\n", other)
		}
		if clear[slot] == "" {
			return fmt.Errorf("the %s key is that of a catalog file, which alone knows it", slot)
		}
		return printKey(c, out, admin.IssuedKey{Slot: slot, Key: clear[slot]})
	}
	if done, err := out.encode(w, keys); done {
		return err
	}
	var rows [][]string
	for _, slot := range slots {
		if clear[slot] == "" { // a catalog file's, which alone knows it
			continue
		}
		if rows = append(rows, []string{slot, clear[slot]}); out.format == formatName {
			fmt.Fprintln(w, clear[slot])
		}
	}
	if out.format == formatName {
		return nil
	}
	return table(w, []string{"SLOT", "KEY"}, rows)
}

// printKey prints a key alone, for KEY=$(tollgate key ...).
func printKey(c *cobra.Command, out *output, key admin.IssuedKey) error {
	if done, err := out.encode(c.OutOrStdout(), key); done {
		return err
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), key.Key)
	return err
}

// replacing is a key that replaces another.
type replacing struct {
	conn      connection
	out       output
	slot      string
	grace     string
	fromStdin bool
	file      string
	takeOver  bool
}

func keyRegenerateCommand() *cobra.Command {
	var r replacing
	c := r.command(&cobra.Command{
		Use:   "regenerate NAME",
		Short: "Replace a key at once, and print the new one",
		Long: `Replaces the key of a slot. The old one is refused from then on, within a second, unless
--grace lets it work on for a while. The new key is made at random, or is your own, of at
least 32 characters, which is never an argument, where ` + "`ps`" + ` and the shell's history show it.`,
		Example: `  tollgate key regenerate ada-starter --slot secondary
  tollgate key regenerate ada-starter --slot primary --value-file key.txt`,
	})
	slotFlag(c, &r.slot, "", "which key: primary or secondary")
	c.Flags().StringVar(&r.grace, "grace", "", "how long the old key works on, like 24h or 7d; not at all unless given")
	return c
}

func keyRotateCommand() *cobra.Command {
	var r replacing
	c := r.command(&cobra.Command{
		Use:   "rotate NAME",
		Short: "Replace a key, and let the old one work on for a while",
		Long: `Replaces the key of a slot and prints the new one, while the old one works on until the grace
is over: time to take the new one into use.`,
		Example: "  tollgate key rotate ada-starter --grace 24h",
	})
	slotFlag(c, &r.slot, "primary", "which key: primary or secondary")
	c.Flags().StringVar(&r.grace, "grace", "24h", "how long the old key works on, like 24h or 7d")
	return c
}

func (r *replacing) command(c *cobra.Command) *cobra.Command {
	c.Args = takes("NAME")
	c.ValidArgsFunction = completeArgument(&r.conn, "subscription", false)
	c.RunE = func(c *cobra.Command, args []string) error {
		asked, err := r.asked(c)
		if err != nil {
			return err
		}
		client, err := r.conn.client(adminTimeout)
		if err != nil {
			return err
		}
		key, _, err := admin.Call[admin.IssuedKey](c.Context(), client, admin.Request{
			Path: admin.Path("subscriptions", args[0], "keys", r.slot, "regenerate"), Query: takeOverQuery(r.takeOver), Body: asked})
		if err != nil {
			return err
		}
		return printKey(c, &r.out, key)
	}
	f := c.Flags()
	f.BoolVar(&r.fromStdin, "value-stdin", false, "the new key is what standard input has, on one line")
	f.StringVar(&r.file, "value-file", "", "the new key is what this file has, on one line")
	takeOverFlag(c, &r.takeOver)
	r.out.register(c, formatTable, formatJSON, formatYAML, formatName)
	r.conn.register(f)
	return c
}

// asked checks the flags and reads the key that is to be set, if any.
func (r *replacing) asked(c *cobra.Command) (asked admin.Regenerate, err error) {
	if err := checkSlot(r.slot, false); err != nil {
		return asked, err
	}
	if err := r.out.check(); err != nil {
		return asked, err
	}
	if r.grace != "" {
		length, err := catalog.ParseDuration(r.grace)
		if err != nil || length < 0 {
			return asked, misusef("--grace is a length of time like 24h or 7d, not %q", r.grace)
		}
		asked.Grace = r.grace
	}
	switch {
	case r.fromStdin && r.file != "":
		return asked, misusef("--value-stdin and --value-file are two keys: give one of them")
	case r.fromStdin:
		asked.Value, err = oneLine(c, "-")
	case r.file != "":
		asked.Value, err = oneLine(c, r.file)
	}
	return asked, err
}

// oneLine is the only line of a file, without its end. Its errors do not repeat it.
func oneLine(c *cobra.Command, file string) (string, error) {
	text, err := readInput(c, file)
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case line == "":
		return "", fmt.Errorf("%s is empty: it must hold the new key", shownFile(file))
	case strings.ContainsAny(line, "\r\n"):
		return "", fmt.Errorf("%s has several lines: it must hold the new key alone", shownFile(file))
	}
	return line, nil
}

func keyRevokeCommand() *cobra.Command {
	var conn connection
	var slot string
	var takeOver bool
	c := &cobra.Command{
		Use:   "revoke NAME",
		Short: "End a key, without another in its place",
		Long: `Ends the keys of a slot, one that works on by a grace too. Calls with them are refused within a
second.`,
		Example:           "  tollgate key revoke ada-starter --slot secondary",
		Args:              takes("NAME"),
		ValidArgsFunction: completeArgument(&conn, "subscription", false),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkSlot(slot, false); err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			_, _, err = admin.Call[struct{}](c.Context(), client, admin.Request{
				Method: http.MethodDelete, Path: admin.Path("subscriptions", args[0], "keys", slot), Query: takeOverQuery(takeOver)})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "key/%s/%s revoked\n", args[0], slot)
			return err
		},
	}
	slotFlag(c, &slot, "", "which key: primary or secondary")
	takeOverFlag(c, &takeOver)
	conn.register(c.Flags())
	return c
}

func slotFlag(c *cobra.Command, slot *string, value, help string) {
	c.Flags().StringVar(slot, "slot", value, help)
	complete(c, "slot", slots...)
}

func checkSlot(slot string, optional bool) error {
	switch {
	case slot == "" && !optional:
		return misusef("--slot says which key: primary or secondary")
	case slot != "" && !slices.Contains(slots, slot):
		return misusef("--slot is primary or secondary, not %q", slot)
	}
	return nil
}
