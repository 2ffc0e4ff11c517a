package azurite

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent has the kernel end the child when the thread that started it is gone (prctl(2), PR_SET_PDEATHSIG), and
// keeps a terminal's Ctrl-C from it, which is for the parent to act upon.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// stop asks p to leave, so that it can write its metadata.
func stop(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// stoppable reports whether the process handles SIGTERM (the SigCgt mask of proc(5)). A process that cannot be read is taken to.
func stoppable(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		if mask, ok := strings.CutPrefix(lines.Text(), "SigCgt:"); ok {
			caught, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			return err != nil || caught&(1<<(syscall.SIGTERM-1)) != 0
		}
	}
	return true
}
