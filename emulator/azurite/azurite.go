// Package azurite runs Azurite, Microsoft's emulator of Azure Blob Storage, as a child process: the storage behind the AzureML
// emulator's batch jobs, in tests and for `tollgate up`. It is not part of the gateway.
package azurite

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Account and AccountKey are Azurite's well-known development account. The key is published by Microsoft ("Use the Azurite
// emulator") and guards nothing.
const (
	Account    = "devstoreaccount1"
	AccountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// relativeBin is where the Makefile installs Azurite, below the folder with go.mod.
const relativeBin = ".tools/azurite/node_modules/.bin/azurite-blob"

// startLimit is how long Azurite may take to listen: about a second on an idle machine, many on a busy one.
const startLimit = 60 * time.Second

// stopLimit is how long it may take to leave after SIGTERM, before it is killed.
const stopLimit = 5 * time.Second

// announce makes Node.js print stoppable once Azurite handles SIGTERM. It does so only some time after it listens, and what
// SIGTERM meets before then is Node.js's own handler, which ends it without a word.
const (
	announce  = "--import=data:text/javascript,process.on('newListener',(e)=>{if(e==='SIGTERM')console.log('" + stoppable + "')})"
	stoppable = "handles-SIGTERM"
)

// Options says how to run Azurite. The zero value is a fresh, empty storage in memory on a free port.
type Options struct {
	// Dir keeps the blobs between runs; it must exist. Empty: in memory, gone with the process.
	Dir string
	// Bin is the azurite-blob program. Empty: $AZURITE, then .tools in the enclosing Go module, then PATH.
	Bin string
	// Port on 127.0.0.1; 0 means a free one. Azurite's own default is 10000, which is the gateway's: it is never used unasked.
	Port int
	// AccountKey, base64, replaces the well-known key of account devstoreaccount1.
	AccountKey string
}

// Process is a running Azurite. Close it.
type Process struct {
	// ConnectionString names the account, its key and BlobEndpoint.
	ConnectionString string
	// URL is the account's blob endpoint, without a trailing slash: http://127.0.0.1:<port>/devstoreaccount1.
	URL string

	cancel context.CancelFunc
	kept   bool // blobs outlive the process
	exited chan struct{}
	state  *os.ProcessState // once exited
}

// Start runs Azurite and returns when it answers. It ends when ctx does, when it is closed or, on Linux, when this process dies.
// It fails when the program or Node.js is missing, the port is taken, or it does not answer within a minute.
func Start(ctx context.Context, o Options) (*Process, error) {
	bin, err := find(o.Bin)
	if err != nil {
		return nil, fmt.Errorf("finding Azurite: %w", err)
	}
	key := o.AccountKey
	if key == "" {
		key = AccountKey
	}
	if _, err := base64.StdEncoding.DecodeString(key); err != nil {
		return nil, errors.New("starting Azurite: the account key is not base64")
	}
	ctx, cancel := context.WithCancel(ctx)
	output := &output{listening: make(chan string, 1)}
	p := &Process{cancel: cancel, kept: o.Dir != "", exited: make(chan struct{})}
	cmd := command(ctx, bin, key, o, output)
	if err := p.run(cmd); err != nil {
		cancel()
		return nil, fmt.Errorf("starting Azurite: %w", err)
	}
	if err := p.await(ctx, output, key); err != nil {
		_ = p.Close() // err is the cause
		return nil, fmt.Errorf("waiting for Azurite: %w", err)
	}
	return p, nil
}

// command leaves Azurite's environment small: nothing of this process's secrets is its business.
func command(ctx context.Context, bin, key string, o Options, output io.Writer) *exec.Cmd {
	args := []string{"--skipApiVersionCheck", "--disableTelemetry", "--silent",
		"--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(o.Port)}
	dir := o.Dir
	if dir == "" {
		args = append(args, "--inMemoryPersistence", "--extentMemoryLimit", "256") // MiB
		dir = os.TempDir()
	} else {
		args = append(args, "--location", dir)
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "AZURITE_ACCOUNTS=" + Account + ":" + key, "NODE_OPTIONS=" + announce}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Cancel = func() error { return stop(cmd.Process) }
	cmd.WaitDelay = stopLimit
	dieWithParent(cmd)
	return cmd
}

// run starts cmd and waits for it on one thread that lives as long as it: Linux sends the parent-death signal when the thread
// that forked ends, not when the process does.
func (p *Process) run(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // says that it was told to stop; state says how it went
			p.state = cmd.ProcessState
		}
	}()
	return <-started
}

// await learns the address from Azurite's output, and asks it once. The output tells the address when Azurite can also be
// stopped properly: a Close before that would lose what it was to keep.
func (p *Process) await(ctx context.Context, out *output, key string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	select {
	case address := <-out.listening:
		p.URL = address + "/" + Account
	case <-p.exited:
		return fmt.Errorf("it ended: %s", out.tail())
	case <-ctx.Done():
		return fmt.Errorf("it does not listen: %w", ctx.Err())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"?comp=list", nil)
	if err != nil {
		return fmt.Errorf("reading its address: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking it: %w", err)
	}
	defer response.Body.Close()
	if !strings.HasPrefix(response.Header.Get("Server"), "Azurite") { // an unsigned request is refused, which is an answer
		return fmt.Errorf("something else answers at %s", p.URL)
	}
	p.ConnectionString = "DefaultEndpointsProtocol=http;AccountName=" + Account + ";AccountKey=" + key + ";BlobEndpoint=" + p.URL + ";"
	return nil
}

// Close ends this Azurite and waits until it is gone. It may be called again. With Options.Dir it fails when Azurite did not get
// to write its index, so that the last seconds' blobs may be missing there.
func (p *Process) Close() error {
	p.cancel()
	<-p.exited
	if p.kept && (p.state == nil || !p.state.Success()) {
		return fmt.Errorf("closing Azurite: it may not have saved everything: %v", p.state)
	}
	return nil
}

// Exited is closed when Azurite has ended, for whatever reason.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// find returns the program, or an error that says how to get it.
func find(bin string) (string, error) {
	if bin == "" {
		bin = os.Getenv("AZURITE")
	}
	if bin != "" {
		if _, err := os.Stat(bin); err != nil {
			return "", fmt.Errorf("$AZURITE or Bin names no program: %w", err)
		}
		return needNode(bin)
	}
	if root := moduleRoot(); root != "" {
		bin = filepath.Join(root, relativeBin)
		if _, err := os.Stat(bin); err == nil {
			return needNode(bin)
		}
	}
	if found, err := exec.LookPath("azurite-blob"); err == nil {
		return needNode(found)
	}
	return "", errors.New("no $AZURITE, no " + relativeBin + " beside go.mod, no azurite-blob on PATH: " +
		"run `npm install --prefix .tools/azurite azurite@3.35.0` in the repository, or set AZURITE to the azurite-blob program")
}

func needNode(bin string) (string, error) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", errors.New("no `node` on PATH: Azurite needs Node.js")
	}
	absolute, err := filepath.Abs(bin)
	if err != nil {
		return "", fmt.Errorf("resolving the program's path: %w", err)
	}
	return absolute, nil
}

// moduleRoot is the nearest folder with a go.mod, from the working folder up; empty when there is none.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

var listens = regexp.MustCompile(`successfully listens on (http://127\.0\.0\.1:\d+)\s`)

// output reads Azurite's lines until it listens and can be stopped, and keeps the last few for an error message; its access log is off.
type output struct {
	mu        sync.Mutex
	text      []byte
	told      bool
	listening chan string
}

// maxOutput bounds what is kept, in bytes.
const maxOutput = 4096

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if !o.told {
		if found := listens.FindSubmatch(o.text); found != nil && bytes.Contains(o.text, []byte(stoppable)) {
			o.told = true
			o.listening <- string(found[1])
		}
	}
	if len(o.text) > maxOutput {
		o.text = o.text[len(o.text)-maxOutput:]
	}
	return len(b), nil
}

// tail is the last lines on one line.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines []string
	for s := bufio.NewScanner(strings.NewReader(string(o.text))); s.Scan(); {
		lines = append(lines, strings.TrimSpace(s.Text()))
	}
	return strings.Join(lines[max(0, len(lines)-5):], "; ")
}
