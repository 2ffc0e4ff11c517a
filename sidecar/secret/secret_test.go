package secret_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/internal/catalog"
	"github.com/tollgate/tollgate/sidecar/secret"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain": "s3cret", "line": "s3cret\n", "windows": "s3cret\r\n", "lines": "s3cret\ns3cret\n", "empty": "\n",
		"long": strings.Repeat("s", secret.MaxLength) + "\n", "longer": strings.Repeat("s", secret.MaxLength+1), "space": " s3cret",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	environment := map[string]string{"SET": "s3cret", "EMPTY": "", "UTF8": "s3crét", "BREAK": "s3cret\nX: y"}
	r := secret.Reader{Dir: dir, LookupEnv: func(name string) (string, bool) { v, ok := environment[name]; return v, ok }}
	for name, tc := range map[string]struct {
		ref  catalog.Secret
		want string
		err  string
	}{
		"env":                   {catalog.Secret{Env: "SET"}, "s3cret", ""},
		"env not set":           {catalog.Secret{Env: "NOT_SET"}, "", "environment variable NOT_SET is not set"},
		"env empty":             {catalog.Secret{Env: "EMPTY"}, "", "environment variable EMPTY is empty"},
		"env not ASCII":         {catalog.Secret{Env: "UTF8"}, "", "environment variable UTF8 holds a byte that is not printable ASCII, at position 5"},
		"env with a line break": {catalog.Secret{Env: "BREAK"}, "", "environment variable BREAK holds a byte"},
		"file":                  {catalog.Secret{File: "plain"}, "s3cret", ""},
		"file, absolute":        {catalog.Secret{File: filepath.Join(dir, "plain")}, "s3cret", ""},
		"file with a line end":  {catalog.Secret{File: "line"}, "s3cret", ""},
		"file from Windows":     {catalog.Secret{File: "windows"}, "s3cret", ""},
		"file of two lines":     {catalog.Secret{File: "lines"}, "", "lines holds a byte"},
		"file empty":            {catalog.Secret{File: "empty"}, "", "empty is empty"},
		"file of most bytes":    {catalog.Secret{File: "long"}, strings.Repeat("s", secret.MaxLength), ""},
		"file of more bytes":    {catalog.Secret{File: "longer"}, "", "longer holds more than 4096 bytes"},
		"file with a space":     {catalog.Secret{File: "space"}, "", "begins or ends with a space"},
		"file missing":          {catalog.Secret{File: "nowhere"}, "", "nowhere: no such file"},
		"only a digest":         {catalog.Secret{SHA256: "ab"}, "", "only a digest is given"},
		"nothing":               {catalog.Secret{}, "", "neither env nor file is given"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.Read(tc.ref)
			if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("Read = %q, %v, want %q and an error with %q", got, err, tc.want, tc.err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}
