// Command strip takes exports out of a WebAssembly module: strip IN OUT NAME...
//
// Envoy calls each callback that a module exports, at about 5 us a call whatever it does.
// The SDK exports all of them; those that the filter leaves empty cost time and do nothing
// (RATIONALE.md, "Why are exports taken out of the module?"). A NAME that is not exported
// is an error: the list in the Makefile is then out of date.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
)

const (
	headerSize      = 8 // magic and version
	exportSectionID = 7
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: strip IN OUT NAME...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "strip:", err)
		os.Exit(1)
	}
}

func run(in, out string, names []string) error {
	module, err := os.ReadFile(in)
	if err != nil {
		return fmt.Errorf("reading the module: %w", err)
	}
	stripped, err := strip(module, names)
	if err != nil {
		return fmt.Errorf("stripping %s: %w", in, err)
	}
	return os.WriteFile(out, stripped, 0o644)
}

var errModule = errors.New("not a WebAssembly module")

// strip copies a module section by section (WebAssembly core specification, 5.5).
func strip(module []byte, names []string) ([]byte, error) {
	if len(module) < headerSize || string(module[:4]) != "\x00asm" {
		return nil, errModule
	}
	out := slices.Clone(module[:headerSize])
	for rest := module[headerSize:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errModule
		}
		section := rest[1+n : 1+n+int(size)]
		rest = rest[1+n+int(size):]
		if id == exportSectionID {
			kept, err := stripExports(section, names)
			if err != nil {
				return nil, err
			}
			section = kept
		}
		out = append(out, id)
		out = append(binary.AppendUvarint(out, uint64(len(section))), section...)
	}
	return out, nil
}

func stripExports(section []byte, names []string) ([]byte, error) {
	count, n := binary.Uvarint(section)
	if n <= 0 {
		return nil, errModule
	}
	missing := slices.Clone(names)
	var entries []byte
	kept := uint64(0)
	for rest := section[n:]; count > 0; count-- {
		name, size, ok := export(rest)
		if !ok {
			return nil, errModule
		}
		if slices.Contains(names, name) {
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == name })
		} else {
			entries = append(entries, rest[:size]...)
			kept++
		}
		rest = rest[size:]
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no such exports: %q", missing)
	}
	return append(binary.AppendUvarint(nil, kept), entries...), nil
}

// export reads one entry: a name, a kind byte and an index.
func export(b []byte) (name string, size int, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length+1 > uint64(len(b)-n) {
		return "", 0, false
	}
	end := n + int(length)
	_, m := binary.Uvarint(b[end+1:])
	return string(b[n:end]), end + 1 + m, m > 0
}
