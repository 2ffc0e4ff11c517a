package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// demoKeys are the secrets of one run's folder. They stay from run to run, so a command
// that was pasted once works again.
type demoKeys struct {
	Unlimited string `json:"unlimited"` // subscription keys
	Starter   string `json:"starter"`
	Backend   string `json:"backend"` // the AzureML service's own
	Storage   string `json:"storage"` // the storage account's, base64
}

// loadDemoKeys reads the keys, and makes those that are not there yet.
func loadDemoKeys(file string) (demoKeys, error) {
	var k demoKeys
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err == nil {
		if err := json.Unmarshal(text, &k); err != nil {
			return k, fmt.Errorf("%s is damaged, delete it: %w", file, err)
		}
	}
	before := k
	for _, key := range []*string{&k.Unlimited, &k.Starter, &k.Backend} {
		if *key == "" {
			*key = hex.EncodeToString(random(16))
		}
	}
	if k.Storage == "" {
		k.Storage = base64.StdEncoding.EncodeToString(random(64))
	}
	if k == before {
		return k, nil
	}
	if text, err = json.MarshalIndent(k, "", "  "); err != nil {
		return k, err
	}
	return k, writePrivate(file, append(text, '\n'))
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// writePrivate makes sure of the mode, also where the file was there before.
func writePrivate(file string, content []byte) error {
	temp := file + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(temp, content, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, file)
}

// shellQuote makes one word of s for any POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// writeEnv writes what a person or a script needs to use the demo.
func (d *demo) writeEnv() error {
	var b strings.Builder
	b.WriteString("# Written by `tollgate up`. Load it with: . " + shellQuote(d.layout.env) + "\n")
	values := [][2]string{{"GATEWAY", d.gateway()}, {"BACKEND", d.backend()}}
	if !d.empty {
		values = append(values, [2]string{"SUFFIX", demoSuffix}, [2]string{"KEY", d.keys.Unlimited}, [2]string{"STARTER_KEY", d.keys.Starter})
	}
	for _, v := range append(values, [][2]string{
		{"WORKSPACE", demoWorkspace},
		{"SERVICE", demoService},
		{"BLOB_CONNECTION", d.storageConnection()},
		{"BACKEND_KEY", d.keys.Backend},
	}...) {
		b.WriteString(v[0] + "=" + shellQuote(v[1]) + "\n")
	}
	b.WriteString("export TOLLGATE_SERVER=" + shellQuote("unix:"+d.layout.administration) + "\n")
	if err := writePrivate(d.layout.env, []byte(b.String())); err != nil {
		return fmt.Errorf("writing demo.env: %w", err)
	}
	return nil
}
