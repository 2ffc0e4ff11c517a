package azurite

import (
	"os"
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel end the child when the thread that started it is gone (prctl(2), PR_SET_PDEATHSIG), and
// keeps a terminal's Ctrl-C from it, which is for the parent to act upon.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// stop asks p to leave, so that it can write its metadata.
func stop(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
