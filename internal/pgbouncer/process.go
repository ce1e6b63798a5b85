//go:build unix

package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// guardScript runs a program and outlives whoever started it, for as long as it takes to clean up. It holds the
// reading end of a pipe whose writing end nobody has but this process. When that closes, be it by stop, by a panic or
// by SIGKILL, the program is killed and its folder is removed. What the terminal or a service manager sends to every
// process is ignored.
const guardScript = `
trap '' HUP INT QUIT TERM
folder=$1
shift
"$@" >>"$folder/log" 2>&1 </dev/null 3<&- &
pid=$!
{ read -r _ <&3; [ -e "$folder/ended" ] || kill -KILL $pid; } 2>/dev/null &
wait $pid
: >"$folder/ended"
wait
rm -rf "$folder"
`

// A process is a PgBouncer that runs under guardScript.
type process struct {
	folder   string
	sh       *exec.Cmd
	lifeline io.Closer // the writing end of the pipe
}

// startProcess runs program with a configuration, in a folder of its own.
func startProcess(program, configuration string) (*process, error) {
	as, err := ordinaryUser()
	if err != nil {
		return nil, err
	}
	folder, err := newFolder(as)
	if err != nil {
		return nil, err
	}
	p := &process{folder: folder}
	if err := p.start(as, program, configuration); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return p, nil
}

// newFolder makes a folder that belongs to the user. Where that user is another one, TMPDIR may be out of its reach.
func newFolder(as *syscall.Credential) (string, error) {
	if as == nil {
		return os.MkdirTemp("", "reprise-pgbouncer-")
	}
	folder, err := os.MkdirTemp("/tmp", "reprise-pgbouncer-")
	if err != nil {
		return "", err
	}
	return folder, os.Chown(folder, int(as.Uid), int(as.Gid))
}

func (p *process) start(as *syscall.Credential, program, configuration string) error {
	ini := filepath.Join(p.folder, "pgbouncer.ini")
	if err := os.WriteFile(ini, []byte(configuration), 0o644); err != nil {
		return err
	}
	if as != nil && filepath.Dir(program) == fetched() { // the repository may be out of the user's reach
		// Not into a folder within, which would be root's, and not the user's to remove.
		if err := os.CopyFS(p.folder, os.DirFS(fetched())); err != nil {
			return err
		}
		program = filepath.Join(p.folder, filepath.Base(program))
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	p.lifeline = w
	p.sh = exec.Command("/bin/sh", "-c", guardScript, "reprise-pgbouncer", p.folder, program, ini)
	p.sh.Dir, p.sh.ExtraFiles = p.folder, []*os.File{r} // 3
	p.sh.Env = environment(program)
	// A session of its own is out of reach of the terminal's Ctrl-C.
	p.sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as}
	if err := p.sh.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	return nil
}

// environment leads program to the libraries that tools/install-pgbouncer has put beside it.
func environment(program string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "LD_LIBRARY_PATH=" + filepath.Dir(program)}
}

// errEnded is the error of a PgBouncer that did not come up.
var errEnded = errors.New("it ended while it was starting")

// await calls ready until it has no error, the program ends, or the context does.
func (p *process) await(ctx context.Context, ready func() error) error {
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if _, statErr := os.Stat(filepath.Join(p.folder, "ended")); statErr == nil {
			return fmt.Errorf("%w; its log ends with:\n%s", errEnded, p.log())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w; its log ends with:\n%s", context.Cause(ctx), err, p.log())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// log returns the end of what PgBouncer has logged.
func (p *process) log() string {
	text, _ := os.ReadFile(filepath.Join(p.folder, "log"))
	return strings.TrimSpace(string(text[max(0, len(text)-4000):]))
}

// stop kills PgBouncer, and returns when it is gone and its folder too.
func (p *process) stop() error {
	err := p.lifeline.Close()
	var exit *exec.ExitError
	if waitErr := p.sh.Wait(); !errors.As(waitErr, &exit) { // how a script that was told to stop exits says nothing
		err = errors.Join(err, waitErr)
	}
	return errors.Join(err, os.RemoveAll(p.folder))
}
