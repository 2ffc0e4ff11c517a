package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tollgate/tollgate/internal/wire"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print what this program was built from",
		Args:  takes(),
		Run: func(c *cobra.Command, _ []string) {
			fmt.Fprintf(c.OutOrStdout(), "tollgate %s, wire version %d, %s %s/%s\n", build(), wire.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}

// build is the module's version, or the commit.
func build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ", changed"
		}
	}
	if commit == "" {
		return info.Main.Version
	}
	return info.Main.Version + " (" + commit[:min(12, len(commit))] + dirty + ")"
}
