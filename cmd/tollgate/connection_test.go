package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tollgate/tollgate/sidecar/admin"
)

func TestConnectionOverTLS(t *testing.T) {
	var sent string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{"items": []}`))
	}))
	defer server.Close()
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	for file, text := range map[string][]byte{
		ca:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		token: []byte("tga_of_the_file\n"),
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(tokenVariable, "tga_of_the_variable")
	for name, c := range map[string]struct {
		conn connection
		sent string
		fail bool
	}{
		"the token of the variable":       {connection{server: server.URL, ca: ca}, "Bearer tga_of_the_variable", false},
		"the token of a file comes first": {connection{server: server.URL, ca: ca, tokenFile: token}, "Bearer tga_of_the_file", false},
		"a certificate that nobody knows": {connection{server: server.URL, tokenFile: token}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			sent = ""
			client, err := c.conn.client(10 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			_, err = pages[admin.Token](t.Context(), client, admin.Path("tokens"), nil, 0)
			if (err != nil) != c.fail || sent != c.sent {
				t.Errorf("sent %q, %v; want %q", sent, err, c.sent)
			}
		})
	}
}

// A token goes neither to other machines in clear, nor to a socket, where it is not needed.
func TestTokens(t *testing.T) {
	t.Setenv(tokenVariable, "tga_of_the_variable")
	for server, want := range map[string]string{
		"unix:a.sock": "", "http://127.0.0.1:9443": "tga_of_the_variable", "http://localhost:9443": "tga_of_the_variable", "http://[::1]:9443": "tga_of_the_variable",
		"https://gateway.example.org": "tga_of_the_variable", "http://gateway.example.org": "refused", "http://192.0.2.1:80": "refused", "HTTP://gateway.example.org": "refused",
		"http://localhost.example.org": "refused", "http://127.0.0.1.example.org": "refused",
	} {
		got, err := (&connection{}).token(server)
		if err != nil {
			got = "refused"
		}
		if got != want {
			t.Errorf("to %s goes %q, want %q", server, got, want)
		}
	}
}
