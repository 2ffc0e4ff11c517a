package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoEnvoy means that there is no Envoy at any of the places where FindEnvoy looks.
var ErrNoEnvoy = errors.New("no Envoy found")

// FindEnvoy returns the path of an Envoy of the given version ("1.40.0"): the one that
// named names, else the first of that version of candidates. A name without a slash is looked
// up in $PATH. A named one that is missing or of another version is an error, and others are
// passed over.
func FindEnvoy(ctx context.Context, version, named string, candidates ...string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("looking for the Envoy that was named: %w", err)
		}
		if err := checkVersion(ctx, path, version); err != nil {
			return "", err
		}
		return filepath.Abs(path)
	}
	reasons := []error{ErrNoEnvoy}
	for _, candidate := range candidates {
		path, err := exec.LookPath(candidate)
		if err != nil {
			continue
		}
		if err := checkVersion(ctx, path, version); err != nil {
			reasons = append(reasons, err)
			continue
		}
		return filepath.Abs(path)
	}
	return "", errors.Join(reasons...)
}

// checkVersion runs the binary: "envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL".
func checkVersion(ctx context.Context, path, version string) error {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return fmt.Errorf("asking %s for its version: %w", path, err)
	}
	_, rest, _ := strings.Cut(string(out), "version: ")
	parts := strings.Split(strings.TrimSpace(rest), "/")
	if len(parts) < 2 {
		return fmt.Errorf("%s does not say which version of Envoy it is", path)
	}
	if parts[1] != version {
		return fmt.Errorf("%s is Envoy %s, and this release is tested with %s", path, parts[1], version)
	}
	return nil
}

// ReadVersion reads the file .envoy-version.
func ReadVersion(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading which Envoy to run: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
