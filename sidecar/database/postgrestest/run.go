package postgrestest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ready is what PostgreSQL logs once it answers.
const ready = "database system is ready to accept connections"

// run is one run of a server's processes.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed once the first process was waited for
}

// start starts a server in dir and waits until it answers.
func (p programs) start(dir string) (*run, error) {
	cmd := p.command(dir, "postgres", "-D", dataOf(dir), "-k", dir, "-p", port, "-c", "listen_addresses=", "-c", "max_connections=60",
		"-c", "shared_buffers=16MB", "-c", "logging_collector=off", "-c", "log_destination=stderr")
	r := &run{cmd: cmd, ended: make(chan struct{})}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = in
	started := make(chan error)
	go func() {
		// The kernel takes the death of the thread that started a process for that of
		// its parent: this one stays.
		runtime.LockOSThread()
		err := cmd.Start()
		in.Close()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it ends by a signal
			close(r.ended)
		}
	}()
	if err := <-started; err != nil {
		out.Close()
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	log := make(chan string, 1)
	go follow(out, log)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case lines := <-log:
		if lines == "" {
			return r, nil
		}
		return nil, errors.Join(fmt.Errorf("PostgreSQL ended: %s", lines), r.kill())
	case <-limit.C:
		return nil, errors.Join(errors.New("PostgreSQL does not become ready"), r.kill())
	}
}

// follow reads a server's log to its end. It says once whether the server became ready: an
// empty text, or all that was logged instead.
func follow(out io.ReadCloser, told chan<- string) {
	defer out.Close()
	var all strings.Builder
	waiting := true
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if !waiting {
			continue
		}
		fmt.Fprintln(&all, lines.Text())
		if strings.Contains(lines.Text(), ready) {
			waiting = false
			told <- ""
		}
	}
	if waiting {
		told <- all.String() + "(nothing more)"
	}
}

// stop sends the first process a signal and waits until all of them are gone.
func (r *run) stop(signal syscall.Signal) error {
	if err := r.signalAll(syscall.SIGCONT); err != nil { // or a frozen one would not hear
		return err
	}
	if err := r.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-r.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("PostgreSQL does not stop"), r.kill())
	}
}

// kill ends every process with SIGKILL. The first one is frozen before, so that it does not
// start others meanwhile.
func (r *run) kill() error {
	select {
	case <-r.ended:
		return nil // it ends after its children
	default:
	}
	if err := r.cmd.Process.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	pids, err := children(r.cmd.Process.Pid)
	for _, pid := range pids {
		err = errors.Join(err, signalTo(pid, syscall.SIGKILL))
	}
	if kill := r.cmd.Process.Kill(); !errors.Is(kill, os.ErrProcessDone) {
		err = errors.Join(err, kill)
	}
	<-r.ended
	for _, pid := range pids {
		err = errors.Join(err, gone(pid))
	}
	return err
}

func (r *run) signalAll(signal syscall.Signal) error {
	pids, err := children(r.cmd.Process.Pid)
	for _, pid := range append(pids, r.cmd.Process.Pid) {
		err = errors.Join(err, signalTo(pid, signal))
	}
	return err
}

func signalTo(pid int, signal syscall.Signal) error {
	if err := syscall.Kill(pid, signal); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// gone waits until a killed process has let go of the data: it may be within a write.
func gone(pid int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		state, _, err := status(pid)
		if err != nil || state == "Z" || state == "" {
			return nil
		}
	}
	return fmt.Errorf("process %d survives SIGKILL", pid)
}

// children are the processes that pid started.
func children(pid int) ([]int, error) {
	if !hasProc() {
		return childrenByPs(pid)
	}
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range entries {
		child, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if _, parent, err := status(child); err == nil && parent == pid { // an error: it has ended
			found = append(found, child)
		}
	}
	return found, nil
}

// status reads a process's state and parent from /proc (proc(5)). The state is empty where
// there is no /proc.
func status(pid int) (state string, parent int, err error) {
	if !hasProc() {
		return "", 0, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the name before may hold anything
	if len(fields) < 2 {
		return "", 0, errors.New("short stat")
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err
}

func hasProc() bool {
	_, err := os.Stat("/proc/self/stat")
	return err == nil
}

func childrenByPs(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var found []int
	for line := range strings.Lines(string(out)) {
		var child, parent int
		if _, err := fmt.Sscan(line, &child, &parent); err == nil && parent == pid {
			found = append(found, child)
		}
	}
	return found, nil
}
