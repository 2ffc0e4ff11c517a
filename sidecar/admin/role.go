package admin

import (
	"slices"

	"github.com/tollgate/tollgate/sidecar/store"
)

// Right is what a path needs of who calls it.
type Right string

// The rights.
const (
	RightRead       Right = "read"        // to look at what is managed
	RightWrite      Right = "write"       // to change it
	RightReadAudit  Right = "read_audit"  // to see who changed what
	RightReadTokens Right = "read_tokens" // to see which tokens there are
	RightTokens     Right = "tokens"      // to make and revoke tokens
	RightBackup     Right = "backup"      // to have a copy of everything
	RightSecrets    Right = "secrets"     // to say which secret a backend gets, and where that one is
)

// granted are the rights of each role.
var granted = map[string][]Right{
	store.RoleAdministrator: {RightRead, RightWrite, RightReadAudit, RightReadTokens, RightTokens, RightBackup, RightSecrets},
	store.RolePublisher:     {RightRead, RightWrite},
	store.RoleAuditor:       {RightRead, RightReadAudit, RightReadTokens},
	store.RoleReader:        {RightRead},
}

// May says whether a role has a right. A role that is unknown has none.
func May(role string, r Right) bool { return slices.Contains(granted[role], r) }
