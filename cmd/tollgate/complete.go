package main

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout bounds what a completion waits for a sidecar.
const completionTimeout = 2 * time.Second

// complete has a flag completed with fixed words.
func complete(c *cobra.Command, flag string, words ...string) {
	// It fails for a flag that there is not, or twice for one: a test completes every flag.
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeNames has a flag completed with the names of a kind that the sidecar has.
func completeNames(c *cobra.Command, conn *connection, flag, of string) {
	_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		k, _ := findKind(of)
		return names(c, conn, &target{kind: k}), cobra.ShellCompDirectiveNoFileComp
	})
}

// completeTarget completes KIND and then NAME; several names where many is set.
func completeTarget(conn *connection, many bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return kindNames(), cobra.ShellCompDirectiveNoFileComp
		}
		k, err := findKind(args[0])
		if err != nil || k.name == "organization" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		t := target{kind: k, names: args[1:]}
		if k.name == "operation" {
			if len(args) == 1 {
				return names(c, conn, &target{kind: &kinds[1]}), cobra.ShellCompDirectiveNoFileComp
			}
			t.api, t.names = args[1], args[2:]
		}
		if len(t.names) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return without(names(c, conn, &t), t.names), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeArgument completes the first argument, or all where many is set, with names of a
// kind.
func completeArgument(conn *connection, of string, many bool) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		k, _ := findKind(of)
		return without(names(c, conn, &target{kind: k}), args), cobra.ShellCompDirectiveNoFileComp
	}
}

// names are those that the sidecar has, one page of them; none where it does not answer.
func names(c *cobra.Command, conn *connection, t *target) []cobra.Completion {
	client, err := conn.client(completionTimeout)
	if err != nil {
		return nil
	}
	items, err := pages[json.RawMessage](c.Context(), client, t.list(), nil, pageSize)
	if err != nil {
		return nil
	}
	var list []cobra.Completion
	for _, item := range items {
		if name, err := nameOf(item); err == nil {
			list = append(list, name)
		}
	}
	return list
}

func without(names []cobra.Completion, given []string) []cobra.Completion {
	taken := map[string]bool{}
	for _, g := range given {
		taken[g] = true
	}
	var left []cobra.Completion
	for _, n := range names {
		if !taken[n] {
			left = append(left, n)
		}
	}
	return left
}
