// Package process runs the programs that belong together in such a way that none is left
// behind: each has a process group of its own, which is stopped as a whole, and on Linux
// each dies with us even when we are killed.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Program says what to run.
type Program struct {
	Name string // for messages
	Path string
	Args []string
	Dir  string   // empty: ours
	Env  []string // the whole environment; nil: ours
	// Log is the file that gets standard output and standard error; it is emptied first.
	Log string
}

// Process is a program that was started.
type Process struct {
	Program
	command *exec.Cmd
	done    chan struct{}
	err     error // valid once done is closed
}

// Start starts a program. Its standard input is empty.
func Start(p Program) (*Process, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	defer log.Close() // the child has its own
	command := exec.Command(p.Path, p.Args...)
	command.Dir, command.Env = p.Dir, p.Env
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = attributes()
	if err := startOnOneThread(command); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	process := &Process{Program: p, command: command, done: make(chan struct{})}
	go func() {
		process.err = command.Wait()
		close(process.done)
	}()
	return process, nil
}

// PID is the id of the process and of its group.
func (p *Process) PID() int { return p.command.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; nil for a clean exit or while it runs.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Signal sends a signal to the process alone. A process that has ended is no error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.command.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", p.Name, err)
	}
	return nil
}

// Stop asks the process group to end, kills what is left of it after grace, and returns
// when the process has ended. A process that has ended before is no error.
func (p *Process) Stop(grace time.Duration) {
	_ = syscall.Kill(-p.PID(), syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	p.Kill()
}

// Kill ends the process group at once and returns when the process has ended.
func (p *Process) Kill() {
	// What the process left behind in its group goes too; an empty group is an error that
	// says just that.
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
}

// starter runs on one thread for as long as we live, because the kernel ends a child with
// the *thread* that started it (prctl(2), PR_SET_PDEATHSIG), and Go's threads may end.
var starter = sync.OnceValue(func() chan func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
})

func startOnOneThread(command *exec.Cmd) error {
	result := make(chan error)
	starter() <- func() { result <- command.Start() }
	return <-result
}
