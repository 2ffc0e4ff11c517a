package catalog

import (
	"regexp"
	"strings"
)

const (
	maxFile = 4096
	// emptyDigest is SHA-256 of nothing.
	emptyDigest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var (
	variable  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	hexDigest = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

// secret checks that a Secret says one place, and returns it as text that is the same
// for the same place. Messages never repeat what stands in a Secret.
func (k *checker) secret(p *path, s *Secret) (source string, ok bool) {
	given := 0
	for _, name := range []string{"env", "file", "sha256"} {
		if k.has(p.field(name)) {
			given++
		}
	}
	file := strings.TrimPrefix(s.File, "./")
	switch {
	case given != 1:
		k.on(p, "must say one place where the key is: {env: NAME} or {file: PATH}")
	case s.Env != "" && variable.MatchString(s.Env):
		return "env " + s.Env, true
	case file != "" && len(file) <= maxFile && !strings.ContainsFunc(file, escaped):
		return "file " + file, true
	case s.SHA256 != "" && hexDigest.MatchString(s.SHA256):
		return "sha256 " + strings.ToLower(s.SHA256), true
	case k.has(p.field("env")):
		k.on(p.field("env"), "must be the name of an environment variable: letters, digits and underscores, like AZUREML_API_KEY")
	case k.has(p.field("file")):
		k.on(p.field("file"), "must be the path of a file, relative to the catalog file")
	default:
		k.on(p.field("sha256"), "must be the SHA-256 digest of the key, 64 hexadecimal digits")
	}
	return "", false
}

// backendKey checks a key that the gateway sends, so that it must be known in clear.
func (k *checker) backendKey(p *path, s *Secret) {
	if s == nil {
		return
	}
	if s.SHA256 != "" {
		k.on(p, "the gateway sends this key, so its digest is not enough; write {env: NAME} or {file: PATH}")
		return
	}
	if source, ok := k.secret(p, s); ok {
		k.backendKeys[source] = p
	}
}

// consumerKey checks a subscription's key. A key names one subscription and slot, and a
// backend's own key is none to hand out.
func (k *checker) consumerKey(p *path, s *Secret) {
	if s == nil {
		return
	}
	source, ok := k.secret(p, s)
	if !ok {
		return
	}
	s.SHA256 = strings.ToLower(s.SHA256)
	first, twice := k.consumerKeys[source]
	backend, handedOut := k.backendKeys[source]
	switch {
	case s.SHA256 == emptyDigest:
		k.on(p.field("sha256"), "is the digest of an empty key")
	case handedOut:
		k.on(p, "is the same key as %s%s: a consumer would hold the backend's own key", backend, k.line(backend))
	case twice:
		k.on(p, "is the same key as %s%s: a key names one subscription", first, k.line(first))
	default:
		k.consumerKeys[source] = p
	}
}
