package catalog

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of a catalog file, for editors. It refuses
// nothing that Parse accepts; what it cannot say (references, unique names, addresses) only
// Parse checks.
//
//go:embed schema.json
var Schema []byte
