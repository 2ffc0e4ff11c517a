package harness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Leaks looks for secrets where none may be (invariant I4): in every file of the gateway's
// folder (logs, access log, database, routes, clusters, Envoy's configuration), in Envoy's
// config dump, statistics and clusters, and in what reached the backend but for its
// Authorization header. It looks for the text, for its base64 and its percent-encoding,
// whatever the case of letters. The answer names the places, and a secret by its number.
func (g *Gateway) Leaks(secrets ...string) []string {
	g.t.Helper()
	var places []string
	look := func(place string, content []byte) {
		lower := bytes.ToLower(content)
		for i, secret := range secrets {
			if secret == "" {
				g.t.Fatalf("secret %d is empty", i)
			}
			for _, form := range forms(secret) {
				if bytes.Contains(lower, []byte(form)) {
					places = append(places, place+" has secret "+string(rune('0'+i%10)))
					break
				}
			}
		}
	}
	err := filepath.WalkDir(g.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // renamed into its place meanwhile
		}
		if err == nil {
			look(strings.TrimPrefix(path, g.Dir+"/"), content)
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	for _, page := range []string{"/config_dump?include_eds", "/stats", "/clusters", "/server_info"} {
		look("Envoy's "+page, []byte(g.Admin(page).Body))
	}
	for _, r := range g.Backend.Requests() {
		r.Header.Del("Authorization")
		var b strings.Builder
		b.WriteString(r.Method + " " + r.Host + r.Path + "?" + r.Query + "\n")
		_ = r.Header.Write(&b) // a Builder takes everything
		look("the backend's request "+r.Route, []byte(b.String()))
	}
	slices.Sort(places)
	return slices.Compact(places)
}

// forms are the spellings to look for, in lower case.
func forms(secret string) []string {
	list := []string{strings.ToLower(secret), strings.ToLower(url.QueryEscape(secret))}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
		// Inside a longer text the first and last digits depend on the neighbours.
		for offset := range 3 {
			encoded := e.EncodeToString([]byte(strings.Repeat("\x00", offset) + secret))
			if from, to := offset+1, len(encoded)-4; to-from >= 12 {
				list = append(list, strings.ToLower(encoded[from:to]))
			}
		}
	}
	return list
}
