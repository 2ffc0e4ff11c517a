package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// A backup that is cut off leaves nothing behind, and what was there as it was.
func TestABackupIsWholeOrNotThere(t *testing.T) {
	cut := errors.New("cut off")
	file := filepath.Join(t.TempDir(), "one.backup")
	for _, was := range []string{"", "the one before"} {
		if was != "" {
			if err := os.WriteFile(file, []byte(was), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := keep(file, io.MultiReader(strings.NewReader("the beginning"), iotest.ErrReader(cut))); !errors.Is(err, cut) {
			t.Errorf("keeping ends with %v", err)
		}
		text, err := os.ReadFile(file)
		if string(text) != was || was == "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file has %q (%v), want %q", text, err, was)
		}
		if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) > 1 || was == "" && len(left) > 0 {
			t.Errorf("left behind: %v (%v)", left, err)
		}
	}
	n, err := keep(file, strings.NewReader("whole"))
	info, statErr := os.Stat(file)
	if err != nil || statErr != nil || n != 5 || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, %v: %v, %v", n, info.Mode(), err, statErr)
	}
}
