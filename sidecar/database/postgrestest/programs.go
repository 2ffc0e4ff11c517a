package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	superuser = "tollgate"
	port      = "5432" // names the socket; nothing listens on TCP
)

// programs are PostgreSQL's, and the user that runs them: it refuses to be root.
type programs struct {
	bin  string
	tree string              // what has to be copied for bin to work elsewhere
	user *syscall.Credential // nil: whoever runs the tests
}

func find() (programs, error) {
	p := programs{}
	if os.Geteuid() == 0 {
		var err error
		if p.user, err = nobody(); err != nil {
			return p, err
		}
	}
	if p.bin = os.Getenv("POSTGRES_BIN"); p.bin != "" {
		if !p.here() {
			return p, fmt.Errorf("POSTGRES_BIN is %s, which has no initdb and postgres", p.bin)
		}
		p.tree = filepath.Dir(p.bin)
		return p, nil
	}
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if initdb, err = filepath.EvalSymlinks(initdb); err == nil {
			if p.bin = filepath.Dir(initdb); p.here() {
				p.tree = filepath.Dir(p.bin)
				return p, nil
			}
		}
	}
	module, err := root()
	if err != nil {
		return p, err
	}
	p.tree = filepath.Join(module, ".tools/postgres")
	if p.bin = filepath.Join(p.tree, "pgserver/pginstall/bin"); p.here() {
		return p, nil
	}
	return p, errors.New("there is no PostgreSQL on PATH or in .tools: get it with `make postgres`, or name its folder with POSTGRES_BIN=/path/to/bin")
}

func (p programs) here() bool {
	for _, name := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(p.bin, name)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

func nobody() (*syscall.Credential, error) {
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// reachable gives dir to the user that runs the programs, with a copy of them where that
// user cannot reach them: a clone may stand in root's own folder.
func (p programs) reachable(dir string) (programs, error) {
	if p.user == nil {
		return p, nil
	}
	if err := p.own(dir); err != nil {
		return p, err
	}
	err := p.command(dir, "postgres", "--version").Run()
	if !errors.Is(err, fs.ErrPermission) {
		return p, err
	}
	bin, err := filepath.Rel(p.tree, p.bin)
	if err != nil {
		return p, err
	}
	copied := filepath.Join(dir, "programs")
	if err := os.CopyFS(copied, os.DirFS(p.tree)); err != nil {
		return p, fmt.Errorf("copying PostgreSQL: %w", err)
	}
	p.tree, p.bin = copied, filepath.Join(copied, bin)
	return p, filepath.WalkDir(copied, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, p.own(path))
	})
}

func (p programs) own(path string) error {
	if p.user == nil {
		return nil
	}
	return os.Lchown(path, int(p.user.Uid), int(p.user.Gid))
}

// initialize makes the data folder of a server. Nothing of it has to survive a crash before
// the server runs.
func (p programs) initialize(dir, password string) error {
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	if err := p.own(file); err != nil {
		return err
	}
	out, err := p.command(dir, "initdb", "--pgdata="+dataOf(dir), "--username="+superuser, "--pwfile="+file,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return os.Remove(file)
}

func dataOf(dir string) string { return filepath.Join(dir, "data") }

// command runs as the right user, in dir, without the environment's PG* settings.
func (p programs) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(p.bin, name), args...)
	cmd.Dir = dir
	cmd.SysProcAttr = attributes(p.user)
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "PG") && !strings.HasPrefix(setting, "LC_") {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C")
	return cmd
}
