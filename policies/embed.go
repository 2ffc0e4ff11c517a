// Package policies holds the Rego that every gateway starts with: the decision, who may
// call (access), what is counted (quota) and which headers change (headers). Paths are
// packages: tollgate/access/access.rego is package tollgate.access.
//
// It is data for sidecar/policy; it decides nothing itself.
package policies

import "embed"

// FS holds the modules below tollgate, their tests beside them, and schemas/input.json,
// the JSON Schema of what a policy reads as input.
//
//go:embed tollgate schemas
var FS embed.FS

// InputSchema is the path of the schema of input inside FS.
const InputSchema = "schemas/input.json"
