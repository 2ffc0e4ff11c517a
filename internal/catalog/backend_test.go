package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/internal/catalog"
)

// withBackend is a catalog whose API "A" has the backend at url, on line 3.
func withBackend(url string) []byte {
	return fmt.Appendf(nil, "organization: {name: Demo, administrator: a@b}\napis:\n"+
		"  - {name: A, suffix: a, operations: [{name: R, method: GET, template: /}], backend: {url: %q}}\n", url)
}

func TestParseRefusesBackendsThatNobodyHandsOut(t *testing.T) {
	for _, host := range []string{
		"localhost", "LocalHost", "a.b.localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "localhost6", "localhost6.localdomain6",
		"metadata", "metadata.google.internal", "Metadata.Google.Internal", "metadata.goog", "metadata.tencentyun.com", "instance-data", "instance-data.ec2.internal",
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "169.254.0.1", "169.254.169.254", "224.0.0.1", "239.255.255.250", "255.255.255.255",
		"100.100.100.200", "168.63.129.16", "192.0.0.192",
		"[::]", "[::1]", "[fe80::1]", "[febf::1]", "[ff02::1]", "[fd00:ec2::254]", "[fd20:ce::254]",
		"[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
	} {
		t.Run(host, func(t *testing.T) {
			_, mistakes := catalog.Parse("f", withBackend("http://"+host+":8080/x"), catalog.Options{})
			if len(mistakes) != 1 || mistakes[0].Line != 3 || mistakes[0].Field != "apis[0].backend.url" ||
				!strings.Contains(mistakes[0].Message, "is refused unless") {
				t.Fatalf("mistakes: %v", mistakes)
			}
			for _, allow := range []string{host, strings.ToUpper(host), host + ":8080"} {
				c, mistakes := catalog.Parse("f", withBackend("http://"+host+":8080/x"), catalog.Options{AllowBackends: []string{"other", allow}})
				if c == nil {
					t.Errorf("refused although %s is allowed: %v", allow, mistakes)
				}
			}
			if _, mistakes := catalog.Parse("f", withBackend("http://"+host+":8080"), catalog.Options{AllowBackends: []string{host + ":8081", "other"}}); len(mistakes) != 1 {
				t.Errorf("another port of %s being allowed: %v", host, mistakes)
			}
		})
	}
}

// These spellings are refused whatever is allowed.
func TestParseRefusesOddSpellings(t *testing.T) {
	allow := catalog.Options{AllowBackends: []string{"127.0.0.1", "localhost", "::1"}}
	for _, host := range []string{
		"2130706433", "0x7f000001", "0x7F.0.0.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "127.0.0.1.", "1.2.3.4.5", "256.1.1.1", "127.0.0.01", "a.0x",
		"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:8.8.8.8]", "[fe80::1%25lo]", "[127.0.0.1]", "[localhost]", "[]", "[v1.x]", "localhost.", "ⓛocalhost", "１２７.0.0.1", "127。0。0。1",
		"-a.example", "a-.example", "a..example", "*.example", "a example", "a%2eexample", "a,b", "a;b", strings.Repeat("a", 64) + ".example",
	} {
		t.Run(host, func(t *testing.T) {
			c, mistakes := catalog.Parse("f", withBackend("http://"+host), allow)
			if c != nil || len(mistakes) != 1 || mistakes[0].Field != "apis[0].backend.url" {
				t.Errorf("read as %v with %v", c, mistakes)
			}
		})
	}
}

func TestParseCanonicalisesBackends(t *testing.T) {
	for url, want := range map[string]string{
		"https://b.example":                   "https://b.example",
		"https://b.example/":                  "https://b.example",
		"HTTPS://B.Example:443/Path/":         "https://b.example/Path",
		"http://b.example:443":                "http://b.example:443",
		"http://b.example:80":                 "http://b.example",
		"https://b.example:80/a;v=1/b":        "https://b.example:80/a;v=1/b",
		"http://10.1.2.3:8080":                "http://10.1.2.3:8080",
		"http://[FD12:0:0::1]:80/":            "http://[fd12::1]",
		"http://xn--bcher-kva.example":        "http://xn--bcher-kva.example",
		"http://azureml_emulator:9000":        "http://azureml_emulator:9000",
		"http://169.254.example":              "http://169.254.example",
		"http://metadata.google.internal.org": "http://metadata.google.internal.org",
	} {
		t.Run(url, func(t *testing.T) {
			c, mistakes := catalog.Parse("f", withBackend(url), catalog.Options{})
			if mistakes != nil {
				t.Fatalf("mistakes: %v", mistakes)
			}
			if got := c.APIs[0].Backend.URL; got != want {
				t.Errorf("URL %q, want %q", got, want)
			}
		})
	}
}

func TestParseOverridesBackends(t *testing.T) {
	const head = "f:3:92: apis[0].backend.url: "
	for name, test := range map[string]struct {
		file    string
		options catalog.Options
		url     string
		want    []string
	}{
		"given": {
			file:    "https://b.example",
			options: catalog.Options{BackendOverrides: map[string]string{"A": "HTTP://10.0.0.1:80/x/"}},
			url:     "http://10.0.0.1/x",
		},
		"refused": {
			file:    "https://b.example",
			options: catalog.Options{BackendOverrides: map[string]string{"A": "http://127.0.0.1:9000"}},
			want:    []string{head + "the URL given in its place: 127.0.0.1 is a loopback address; a backend there is refused unless 127.0.0.1:9000 is allowed by name"},
		},
		"allowed": {
			file:    "https://b.example",
			options: catalog.Options{BackendOverrides: map[string]string{"A": "http://127.0.0.1:9000"}, AllowBackends: []string{"127.0.0.1:9000"}},
			url:     "http://127.0.0.1:9000",
		},
		"malformed": {
			file:    "https://b.example",
			options: catalog.Options{BackendOverrides: map[string]string{"A": "localhost:9000"}},
			want:    []string{head + "the URL given in its place: must begin with https:// or http://"},
		},
		"of a refused backend": {
			file:    "http://localhost:9000",
			options: catalog.Options{BackendOverrides: map[string]string{"A": "https://b.example"}},
			url:     "https://b.example",
		},
		"of a malformed backend": {
			file:    "b.example",
			options: catalog.Options{BackendOverrides: map[string]string{"A": "https://b.example"}},
			want:    []string{head + "must begin with https:// or http://"},
		},
		"of an unknown API": {
			file:    "https://b.example",
			options: catalog.Options{BackendOverrides: map[string]string{"B": "https://b.example", "Other": "https://b.example"}},
			want: []string{
				`f:3:3: apis: a backend is given in place of that of API "B", which is not in the file; did you mean "A"?`,
				`f:3:3: apis: a backend is given in place of that of API "Other", which is not in the file; known are A`,
			},
		},
		"allowed entries that are none": {
			file:    "https://b.example",
			options: catalog.Options{AllowBackends: []string{"", "http://localhost", "localhost:", "localhost:x", "127.1", "[::1", "[::1]9000"}},
			want: []string{
				`f:1:1: allowed backend "" must be a host or host:port, like localhost:9000`,
				`f:1:1: allowed backend "127.1" must be a host or host:port, like localhost:9000`,
				`f:1:1: allowed backend "[::1" must be a host or host:port, like localhost:9000`,
				`f:1:1: allowed backend "[::1]9000" must be a host or host:port, like localhost:9000`,
				`f:1:1: allowed backend "http://localhost" must be a host or host:port, like localhost:9000`,
				`f:1:1: allowed backend "localhost:" must be a host or host:port, like localhost:9000`,
				`f:1:1: allowed backend "localhost:x" must be a host or host:port, like localhost:9000`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, mistakes := catalog.Parse("f", withBackend(test.file), test.options)
			if diff := cmp.Diff(test.want, texts(mistakes)); diff != "" {
				t.Fatalf("mistakes (-want +got):\n%s", diff)
			}
			if c == nil {
				return
			}
			if c.APIs[0].Backend.URL != test.file {
				t.Errorf("Parse gives the URL %q, want the file's %q", c.APIs[0].Backend.URL, test.file)
			}
			c.Override(test.options.BackendOverrides)
			if c.APIs[0].Backend.URL != test.url {
				t.Errorf("URL %q, want %q", c.APIs[0].Backend.URL, test.url)
			}
		})
	}
}
