// Package secret reads what a catalog.Secret points to: an environment variable or a file.
// Its errors name the place, never the content.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tollgate/tollgate/internal/catalog"
)

// MaxLength is the longest secret in bytes. A secret goes into a header's value.
const MaxLength = 4096

// Reader reads secrets.
type Reader struct {
	// Dir is where relative file names start: the catalog file's folder.
	Dir string
	// LookupEnv is os.LookupEnv unless given.
	LookupEnv func(name string) (string, bool)
}

// Read returns the secret at s: printable ASCII, 1 to MaxLength bytes. One line ending at
// the end of a file is not part of it.
func (r Reader) Read(s catalog.Secret) (string, error) {
	switch {
	case s.Env != "":
		return r.env(s.Env)
	case s.File != "":
		return r.file(s.File)
	case s.SHA256 != "":
		return "", errors.New("only a digest is given where the secret itself is needed: use env or file")
	default:
		return "", errors.New("neither env nor file is given")
	}
}

func (r Reader) env(name string) (string, error) {
	lookup := r.LookupEnv
	if lookup == nil {
		lookup = os.LookupEnv
	}
	value, ok := lookup(name)
	switch {
	case !ok:
		return "", fmt.Errorf("environment variable %s is not set", name)
	case value == "":
		return "", fmt.Errorf("environment variable %s is empty", name)
	}
	if err := check(value); err != nil {
		return "", fmt.Errorf("environment variable %s %w", name, err)
	}
	return value, nil
}

func (r Reader) file(name string) (string, error) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.Dir, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err // names the file
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxLength+3))
	if err != nil {
		return "", fmt.Errorf("file %s: %w", path, err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("file %s is empty", path)
	}
	if err := check(value); err != nil {
		return "", fmt.Errorf("file %s %w", path, err)
	}
	return value, nil
}

func check(value string) error {
	if len(value) > MaxLength {
		return fmt.Errorf("holds more than %d bytes", MaxLength)
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			return fmt.Errorf("holds a byte that is not printable ASCII, at position %d", i+1)
		}
	}
	if strings.TrimSpace(value) != value {
		return errors.New("begins or ends with a space")
	}
	return nil
}
