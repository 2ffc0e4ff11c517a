package policy

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
)

// forbidden are builtins that a policy may not call at all: they reach out of the
// process, show its environment, or make each answer a throw of dice.
var forbidden = []string{
	"http.send",
	"net.lookup_ip_addr",
	"opa.runtime",
	"rand.intn",
	"uuid.rfc4122",
}

// readsClock are builtins that depend on the time without OPA marking them as
// nondeterministic (OPA v1.22.2: they verify certificates against the wall clock).
var readsClock = []string{
	"crypto.x509.parse_and_verify_certificates",
	"crypto.x509.parse_and_verify_certificates_with_options",
}

// capabilities is what policies may use: this OPA's builtins without the forbidden ones,
// and no host to fetch a schema from.
var capabilities = sync.OnceValue(func() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool {
		return slices.Contains(forbidden, b.Name)
	})
	c.AllowNet = []string{}
	return c
})

// capabilitiesText is capabilities for a hash.
var capabilitiesText = sync.OnceValues(func() ([]byte, error) { return json.Marshal(capabilities()) })

// unrepeatable says whether calling the builtin name twice with the same arguments may
// give two results. Builtins that OPA does not know are taken for such.
func unrepeatable(name string) bool {
	if slices.Contains(readsClock, name) || slices.Contains(forbidden, name) {
		return true
	}
	// DefaultBuiltins is what OPA ships; ast.Builtins also holds what a program registered.
	i := slices.IndexFunc(ast.DefaultBuiltins[:], func(b *ast.Builtin) bool { return b.Name == name })
	return i < 0 || ast.DefaultBuiltins[i].Nondeterministic
}
