//go:build !tollgate_faults

package filter

import "github.com/tollgate/tollgate/internal/gate"

// provoke does nothing outside of tests, see fault.go.
func provoke(*gate.Head) {}
