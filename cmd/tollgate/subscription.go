package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/sidecar/admin"
)

func subscriptionCommand() *cobra.Command {
	c := family("subscription", "Subscribe developers, and decide on their subscriptions",
		`A subscription is a developer's right to use a product, an API or all APIs. It is submitted
where its product requires approval, and active else; suspended, its keys do not work until it
is resumed; rejected and cancelled are final.`,
		subscriptionCreateCommand(),
		actCommand("approve", "Let submitted subscriptions become active", "approved"),
		actCommand("reject", "Refuse submitted subscriptions, for good", "rejected"),
		actCommand("suspend", "Stop active subscriptions' keys, until they are resumed", "suspended"),
		actCommand("resume", "Let suspended subscriptions be active again", "resumed"),
		actCommand("cancel", "End subscriptions, for good", "cancelled"),
		subscriptionSetCommand())
	c.Aliases = []string{"sub"}
	return c
}

func subscriptionCreateCommand() *cobra.Command {
	var conn connection
	var out output
	var asked admin.NewSubscription
	var expires string
	var attributes []string
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Subscribe a developer to a product, an API or all APIs",
		Example: `  tollgate subscription create ada-starter --developer ada@example.org --product Starter
  tollgate subscription create probe --developer ops@example.org --all-apis --expires 30d`,
		Args: takes("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			asked.Name = args[0]
			scopes := 0
			for _, given := range []bool{asked.Product != "", asked.API != "", asked.AllAPIs} {
				if given {
					scopes++
				}
			}
			switch {
			case asked.Developer == "":
				return misuse{seeHelp(c, "--developer EMAIL says whose subscription it is")}
			case scopes != 1:
				return misuse{seeHelp(c, "give one of --product, --api and --all-apis")}
			}
			if err := out.check(); err != nil {
				return err
			}
			var err error
			if expires != "" {
				if asked.ExpiresAt, err = moment("--expires", expires); err != nil {
					return err
				}
			}
			if asked.Attributes, err = pairs(attributes); err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			item, _, err := admin.Call[json.RawMessage](c.Context(), client, admin.Request{Path: admin.Path("subscriptions"), Body: asked})
			if err != nil {
				return err
			}
			return printSubscription(c, &out, item, "created")
		},
	}
	f := c.Flags()
	f.StringVar(&asked.Developer, "developer", "", "e-mail address of the developer it belongs to")
	f.StringVar(&asked.Product, "product", "", "the product that it opens")
	f.StringVar(&asked.API, "api", "", "the API that it opens")
	f.BoolVar(&asked.AllAPIs, "all-apis", false, "it opens every API")
	f.StringVar(&expires, "expires", "", "when its keys stop working: "+momentHelp)
	f.StringArrayVar(&attributes, "attribute", nil, "NAME=VALUE, a text that policies can read; repeatable")
	completeNames(c, &conn, "developer", "developer")
	completeNames(c, &conn, "product", "product")
	completeNames(c, &conn, "api", "api")
	out.register(c, formatTable, formatJSON, formatYAML, formatName)
	conn.register(f)
	return c
}

// printSubscription prints what was done to a subscription, and the state it is in now.
func printSubscription(c *cobra.Command, out *output, item json.RawMessage, did string) error {
	if done, err := out.encode(c.OutOrStdout(), item); done {
		return err
	}
	var s admin.Subscription
	if err := json.Unmarshal(item, &s); err != nil {
		return fmt.Errorf("reading the sidecar's answer: %w", err)
	}
	text := reference("subscription", s.Name)
	if out.format != formatName {
		text += " " + did
		if s.State != did {
			text += " (" + s.State + ")"
		}
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), text)
	return err
}

// actCommand is a step in a subscription's life.
func actCommand(act, summary, did string) *cobra.Command {
	var conn connection
	var out output
	var note string
	var takeOver bool
	c := &cobra.Command{
		Use:               act + " NAME...",
		Short:             summary,
		Example:           "  tollgate subscription " + act + " ada-starter",
		Args:              takes("NAME", "[NAME...]"),
		ValidArgsFunction: completeArgument(&conn, "subscription", true),
		RunE: func(c *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			client, err := conn.client(adminTimeout)
			if err != nil {
				return err
			}
			for _, name := range args {
				item, _, err := admin.Call[json.RawMessage](c.Context(), client, admin.Request{
					Path: admin.Path("subscriptions", name, act), Query: takeOverQuery(takeOver), Body: admin.Act{Note: note}})
				if err != nil {
					return err
				}
				if err := printSubscription(c, &out, item, did); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&note, "note", "", "why, for the audit and the developer")
	takeOverFlag(c, &takeOver)
	out.register(c, formatTable, formatJSON, formatYAML, formatName)
	conn.register(c.Flags())
	return c
}

// setting is what `subscription set` changes.
type setting struct {
	expires       string
	noExpiry      bool
	attributes    []string
	without       []string
	takeOver      bool
	hasAttributes bool // attributes or without are given
}

func subscriptionSetCommand() *cobra.Command {
	var conn connection
	var out output
	var s setting
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Change a subscription's expiry and attributes",
		Example: `  tollgate subscription set ada-starter --expires 2027-12-31
  tollgate subscription set ada-starter --attribute tier=gold --remove-attribute trial`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeArgument(&conn, "subscription", false),
		RunE: func(c *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			s.hasAttributes = len(s.attributes)+len(s.without) > 0
			switch {
			case s.expires != "" && s.noExpiry:
				return misusef("--expires and --no-expiry are two changes: give one of them")
			case s.expires == "" && !s.noExpiry && !s.hasAttributes:
				return misuse{seeHelp(c, "say what to change: --expires, --no-expiry, --attribute or --remove-attribute")}
			}
			item, err := s.do(c, &conn, args[0])
			if err != nil {
				return err
			}
			return printSubscription(c, &out, item, "changed")
		},
	}
	f := c.Flags()
	f.StringVar(&s.expires, "expires", "", "when its keys stop working: "+momentHelp)
	f.BoolVar(&s.noExpiry, "no-expiry", false, "its keys never stop working by themselves")
	f.StringArrayVar(&s.attributes, "attribute", nil, "NAME=VALUE to add or change; repeatable")
	f.StringArrayVar(&s.without, "remove-attribute", nil, "NAME of one to remove; repeatable")
	takeOverFlag(c, &s.takeOver)
	out.register(c, formatTable, formatJSON, formatYAML, formatName)
	conn.register(f)
	return c
}

func (s *setting) do(c *cobra.Command, conn *connection, name string) (json.RawMessage, error) {
	change := admin.SubscriptionChange{NoExpiry: s.noExpiry}
	var err error
	if s.expires != "" {
		if change.ExpiresAt, err = moment("--expires", s.expires); err != nil {
			return nil, err
		}
	}
	added, err := pairs(s.attributes)
	if err != nil {
		return nil, err
	}
	client, err := conn.client(adminTimeout)
	if err != nil {
		return nil, err
	}
	r := admin.Request{Method: http.MethodPatch, Path: admin.Path("subscriptions", name), Query: takeOverQuery(s.takeOver)}
	if s.hasAttributes {
		now, _, err := admin.Call[admin.Subscription](c.Context(), client, admin.Request{Path: r.Path})
		if err != nil {
			return nil, err
		}
		r.Match = now.Revision // all attributes are replaced: nobody may change them meanwhile
		change.Attributes = map[string]string{}
		maps.Copy(change.Attributes, now.Spec.Attributes)
		for _, name := range s.without {
			delete(change.Attributes, name)
		}
		maps.Copy(change.Attributes, added)
	}
	r.Body = change
	item, _, err := admin.Call[json.RawMessage](c.Context(), client, r)
	return item, err
}

// pairs reads NAME=VALUE; nil of none.
func pairs(list []string) (map[string]string, error) {
	var read map[string]string
	for _, one := range list {
		name, value, ok := strings.Cut(one, "=")
		if !ok || name == "" {
			return nil, misusef("--attribute is NAME=VALUE, not %q", one)
		}
		if read == nil {
			read = map[string]string{}
		}
		read[name] = value
	}
	return read, nil
}
