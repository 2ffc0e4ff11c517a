// Package openapi makes an API of the catalog out of an OpenAPI document (2.0, 3.0 or 3.1),
// and a document out of an API. It fetches nothing: a document stands for itself.
//
// What a document says and the catalog has no field for goes into the API's and the
// operations' definitions, so that Export gives all of it back. What the gateway does not do
// is a Gap, never silence. See docs/openapi.md for what a round trip keeps.
package openapi

import (
	"errors"
	"fmt"
)

// MaxSize is the size in bytes of the largest document that Import reads.
const MaxSize = 4 << 20

// ErrDocument is wrapped when a document cannot be imported, as it is no OpenAPI or because of
// something in it.
var ErrDocument = errors.New("this document cannot be imported")

// Options are what the caller adds to a document.
type Options struct {
	// Name is the API's name; info.title unless given.
	Name string
	// Suffix is the API's first path segment; made of the name unless given.
	Suffix string
	// Backend is the URL to which the requests go; the first absolute server of the
	// document unless given.
	Backend string
	// Bare leaves out what the catalog has no field for: schemas, responses and so on.
	Bare bool
}

// Severity says how much a Gap matters.
type Severity string

// The severities.
const (
	// Lost: clients of the document cannot do something through the gateway.
	Lost Severity = "lost"
	// Changed: something works, but otherwise than the document says.
	Changed Severity = "changed"
	// Kept: the gateway does not look at it. It is kept for people and their tools, and
	// Export writes it again.
	Kept Severity = "kept"
)

// Gap is something in a document that an API of the catalog does not do.
type Gap struct {
	Pointer  string   `json:"pointer" yaml:"pointer"` // RFC 6901, within the document that was given
	Reason   string   `json:"reason" yaml:"reason"`
	Severity Severity `json:"severity" yaml:"severity"`
}

func (g Gap) String() string {
	pointer := g.Pointer
	if pointer == "" {
		pointer = "(document)"
	}
	return fmt.Sprintf("%s: %s (%s)", pointer, g.Reason, g.Severity)
}

// Format is how a document is written.
type Format string

// The formats.
const (
	JSON Format = "json"
	YAML Format = "yaml"
)

// ExportOptions are what an exported document says besides the API.
type ExportOptions struct {
	// Gateway is the URL by which clients reach the gateway, without the API's suffix:
	// https://gateway.example.com. Empty: the document has a relative URL.
	Gateway string
	// Format is JSON unless given.
	Format Format
	// Full adds what is no business of clients, so that Import makes the same API of the
	// document: the backend and where its key is (never the key), limits, the original
	// servers. It stands under x-tollgate.
	Full bool
}
