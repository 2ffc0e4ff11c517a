//go:build !linux

package azurite

import (
	"os"
	"os/exec"
)

// dieWithParent does nothing here: the child lives on if this process is killed.
func dieWithParent(*exec.Cmd) {}

func stop(p *os.Process) error { return p.Kill() }
