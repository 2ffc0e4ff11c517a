//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tollgate/tollgate/e2e/harness"
)

// demo is a `tollgate up` under test.
type demo struct {
	t       *testing.T
	command *exec.Cmd
	out     *text
	done    chan struct{}
}

// text is what a program has printed so far.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *text) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *text) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// up starts `tollgate up` on a free port with its data in dir.
func up(t *testing.T, dir string, env []string, args ...string) *demo {
	t.Helper()
	d := &demo{t: t, out: &text{}, done: make(chan struct{})}
	d.command = exec.Command(harness.Binary(t), append([]string{"up", "--root", harness.Root(), "--dir", dir, "--port", "0"}, args...)...)
	d.command.Stdout, d.command.Stderr = d.out, d.out
	d.command.Env = append(os.Environ(), env...)
	d.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a terminal's foreground job
	if err := d.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.command.Wait(); close(d.done) }() // the state is looked at
	t.Cleanup(func() { _ = d.command.Process.Kill(); <-d.done })
	return d
}

func (d *demo) pid() int { return d.command.Process.Pid }

// await waits for a line with this in it.
func (d *demo) await(what string) string {
	d.t.Helper()
	line := ""
	d.eventually(2*time.Minute, "a line with "+what, func() bool {
		select {
		case <-d.done:
			d.t.Fatalf("`tollgate up` ended:\n%s", d.out)
		default:
		}
		for l := range strings.Lines(d.out.String()) {
			if strings.Contains(l, what) && strings.HasSuffix(l, "\n") {
				line = strings.TrimSpace(l)
				return true
			}
		}
		return false
	})
	return line
}

// ended waits for the end and returns the exit status and the last line.
func (d *demo) ended() (status int, last string) {
	d.t.Helper()
	d.eventually(time.Minute, "`tollgate up` ends", func() bool {
		select {
		case <-d.done:
			return true
		default:
			return false
		}
	})
	lines := strings.Split(strings.TrimSpace(d.out.String()), "\n")
	return d.command.ProcessState.ExitCode(), lines[len(lines)-1]
}

func (d *demo) eventually(within time.Duration, what string, condition func() bool) {
	d.t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			d.t.Fatalf("not within %s: %s\n%s", within, what, d.out)
		case <-tick.C:
		}
	}
}

// family lists the processes below pid that run, by id, with their command lines.
func family(t *testing.T, pid int) map[int]string {
	t.Helper()
	parents, commands := map[int]int{}, map[int]string{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if parent, ok := parentOf(id); ok {
			command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", id))
			parents[id], commands[id] = parent, strings.ReplaceAll(string(command), "\x00", " ")
		}
	}
	below := map[int]string{}
	for id := range parents {
		for p := id; p > 1; p = parents[p] {
			if p == pid && id != pid {
				below[id] = commands[id]
			}
		}
	}
	return below
}

// parentOf is false for a process that has ended.
func parentOf(pid int) (int, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	return parent, err == nil && fields[0] != "Z" && fields[0] != "X"
}

// gone waits until none of these processes is left.
func (d *demo) gone(processes map[int]string) {
	d.t.Helper()
	d.eventually(20*time.Second, fmt.Sprintf("none is left of %v", processes), func() bool {
		for id := range processes {
			if _, runs := parentOf(id); runs {
				return false
			}
		}
		return true
	})
}

// pasted runs a printed curl line in a shell where curl shows its arguments, and makes the
// call: a machine without curl tests it too.
func pasted(t *testing.T, line string) (int, string) {
	t.Helper()
	out, err := exec.Command("sh", "-c", `curl() { for a in "$@"; do printf '%s\0' "$a"; done; }; `+line).Output()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	args := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	url, body, header := "", "", http.Header{}
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-i":
		case "-H":
			i++
			name, value, _ := strings.Cut(args[i], ": ")
			header.Set(name, value)
		case "-d":
			i++
			body = args[i]
		default:
			url = args[i]
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// TestUp is what a new user does, and what goes wrong meanwhile.
func TestUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a demo") // a name that needs quoting
	d := up(t, dir, nil)
	curl := d.await("curl")
	status, body := pasted(t, curl)
	if status != http.StatusOK || !strings.Contains(body, `"1","1","2","2","0","2","0","1"`) {
		t.Errorf("%s\nanswers %d %s", curl, status, body)
	}
	key := demoEnv(t, dir)["KEY"]

	t.Run("a second one in the same folder", func(t *testing.T) {
		second := up(t, dir, nil)
		if status, last := second.ended(); status != 1 || !strings.Contains(last, "runs already") || !strings.Contains(last, "--dir") {
			t.Errorf("exit %d: %s", status, last)
		}
	})
	processes := family(t, d.pid())
	if len(processes) < 4 { // sidecar, backend, storage, Envoy
		t.Errorf("`tollgate up` runs %v", processes)
	}
	// A terminal's Ctrl-C goes to the whole foreground group.
	if err := syscall.Kill(-d.pid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status, last := d.ended(); status != 0 || last != "Stopping." {
		t.Errorf("after Ctrl-C: exit %d: %s", status, last)
	}
	d.gone(processes)

	t.Run("without Node.js, and Envoy dies", func(t *testing.T) {
		d := up(t, dir, []string{"PATH=" + t.TempDir(), "ENVOY=" + harness.Envoy(t)})
		d.await("batch jobs need Node.js")
		if status, body := pasted(t, d.await("curl")); status != http.StatusOK {
			t.Errorf("answer %d %s", status, body)
		}
		if again := demoEnv(t, dir)["KEY"]; again != key {
			t.Error("the key is another one: what was pasted before fails")
		}
		processes := family(t, d.pid())
		for id, command := range processes {
			if strings.Contains(command, "envoy.yaml") {
				if err := syscall.Kill(id, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		if status, last := d.ended(); status != 1 || !strings.Contains(last, "Envoy ended") || !strings.Contains(last, "envoy.log") {
			t.Errorf("exit %d: %s", status, last)
		}
		d.gone(processes)
	})
	t.Run("killed", func(t *testing.T) {
		d := up(t, dir, nil)
		d.await("curl")
		processes := family(t, d.pid())
		if err := d.command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		d.ended()
		d.gone(processes)
	})
}

// demoEnv loads demo.env with a shell.
func demoEnv(t *testing.T, dir string) map[string]string {
	t.Helper()
	file := filepath.Join(dir, "demo.env")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("demo.env has mode %o", info.Mode().Perm())
	}
	values := map[string]string{}
	for _, name := range []string{"GATEWAY", "SUFFIX", "KEY", "STARTER_KEY", "WORKSPACE", "SERVICE", "BLOB_CONNECTION", "BACKEND_KEY"} {
		out, err := exec.Command("/bin/sh", "-c", `. "$1"; printf %s "$`+name+`"`, "sh", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		values[name] = string(out)
		if len(out) == 0 && name != "BLOB_CONNECTION" {
			t.Errorf("demo.env has no %s", name)
		}
	}
	return values
}

// TestUpSaysWhatIsWrong: one line that says what to do, and exit status 1.
func TestUpSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	empty := t.TempDir()
	broken := filepath.Join(empty, "tollgate.yaml")
	if err := os.WriteFile(broken, []byte("organization: {name: demo}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		env  []string
		args []string
		want []string
	}{
		"port in use":     {args: []string{"--port", port}, want: []string{"port " + port, "is in use", "--port"}},
		"no filter":       {args: []string{"--plugin", filepath.Join(empty, "none.wasm")}, want: []string{"none.wasm is missing", "make build"}},
		"Envoy misnamed":  {env: []string{"ENVOY=" + filepath.Join(empty, "none")}, want: []string{"$ENVOY"}},
		"another program": {env: []string{"ENVOY=/bin/true"}, want: []string{"$ENVOY", "which version"}},
		"no clone":        {args: []string{"--root", empty}, want: []string{"no clone of tollgate"}},
		"broken catalog":  {args: []string{"--catalog", broken}, want: []string{"the sidecar ended", "sidecar.log"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := up(t, filepath.Join(t.TempDir(), "d"), append([]string{"ENVOY=" + harness.Envoy(t)}, test.env...), test.args...)
			status, last := d.ended()
			if status != 1 || !strings.HasPrefix(last, "tollgate: ") {
				t.Errorf("exit %d: %s", status, last)
			}
			for _, want := range test.want {
				if !strings.Contains(last, want) {
					t.Errorf("%q lacks %q", last, want)
				}
			}
			d.gone(family(t, d.pid()))
		})
	}
}

// TestUpStopsWhileItStarts: Ctrl-C before everything is ready.
func TestUpStopsWhileItStarts(t *testing.T) {
	d := up(t, filepath.Join(t.TempDir(), "d"), nil)
	d.await("compiles the filter")
	processes := family(t, d.pid())
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := d.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		t.Fatalf("it does not stop:\n%s", d.out)
	}
	if status, last := d.ended(); status != 0 || last != "Stopping." {
		t.Errorf("exit %d: %s", status, last)
	}
	d.gone(processes)
}
