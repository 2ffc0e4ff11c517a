//go:build linux

package process_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tollgate/tollgate/cmd/process"
)

// TestMain is also the parent that TestChildrenDieWithUs kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PROCESS_TEST_PARENT"); dir != "" {
		p, err := process.Start(process.Program{Name: "child", Path: "/bin/sleep", Args: []string{"1000"}, Log: filepath.Join(dir, "log")})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.PID())
		select {}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, script string) *process.Process {
	t.Helper()
	p, err := process.Start(process.Program{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// runs says whether a process runs; one that has ended and not been waited for does not.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func log(t *testing.T, p *process.Process) string {
	t.Helper()
	text, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	p := start(t, `sleep 1000 & echo $!; trap 'echo stopped; exit 3' TERM; wait`)
	eventually(t, "the script says its child's id", func() bool { return strings.Contains(log(t, p), "\n") })
	child, err := strconv.Atoi(strings.TrimSpace(log(t, p)))
	if err != nil {
		t.Fatal(err)
	}
	p.Stop(20 * time.Second)
	if !strings.Contains(log(t, p), "stopped") {
		t.Error("the program was not asked to end")
	}
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || exit.ExitCode() != 3 {
		t.Errorf("Err = %v, want exit status 3", p.Err())
	}
	eventually(t, "the script's child is gone", func() bool { return !runs(child) })
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	p := start(t, `trap '' TERM; echo ready; while :; do sleep 0.01; done`)
	eventually(t, "the trap is set", func() bool { return strings.Contains(log(t, p), "ready") })
	if p.Err() != nil {
		t.Errorf("Err = %v while it runs", p.Err())
	}
	p.Stop(10 * time.Millisecond)
	if runs(p.PID()) {
		t.Error("it still runs")
	}
	p.Stop(time.Second) // twice is fine
}

func TestChildrenDieWithUs(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(program)
	parent.Env = append(os.Environ(), "PROCESS_TEST_PARENT="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !runs(child) {
		t.Fatal("the child does not run")
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	eventually(t, "the child of a killed parent is gone", func() bool { return !runs(child) })
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	_, err := process.Start(process.Program{Name: "Envoy", Path: "/none", Log: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "starting Envoy") {
		t.Errorf("Start = %v", err)
	}
}

func TestPort(t *testing.T) {
	free, err := process.Port("127.0.0.1", 0)
	if err != nil || free == 0 {
		t.Fatalf("Port = %d, %v", free, err)
	}
	if again, err := process.Port("127.0.0.1", free); err != nil || again != free {
		t.Errorf("Port(%d) = %d, %v: it was not given back", free, again, err)
	}
}

func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	release, err := process.Lock(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := process.Lock(file); !errors.Is(err, process.ErrLocked) {
		t.Errorf("a second Lock = %v, want ErrLocked", err)
	}
	release()
	again, err := process.Lock(file)
	if err != nil {
		t.Fatalf("Lock after release: %v", err)
	}
	again()
}

func TestLastLine(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"empty":       {"", ""},
		"last":        {"one\ntwo\n", "two"},
		"blank lines": {"one\n\n \n", "one"},
		"long":        {strings.Repeat("x", 1000), strings.Repeat("x", 300) + "..."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := process.LastLine(file); got != test.want {
				t.Errorf("LastLine = %q, want %q", got, test.want)
			}
		})
	}
}
