//go:build unix

package guarded

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

// guardScript runs commands and outlives whoever started it, for as long as it takes to clean up. It holds the reading
// end of a pipe whose writing end nobody has but this process: when that closes, be it by Stop, by a panic or by
// SIGKILL, the command that is running gets the signal and the folder is removed. This needs nothing of the system but
// sh, and is the same on Linux and macOS.
//
// It holds the lock on the folder too, so that nobody takes the folder for a stale one before it is done.
//
// The commands call run, which keeps a command's number in $folder/pid. What the terminal or a service manager sends
// to every process is ignored here, since the one that matters will go, and then the pipe.
const guardScript = `
trap '' HUP INT QUIT TERM
folder=$1 signal=$2 commands=$3
shift 3
run() {
	"$@" >>"$folder/log" 2>&1 </dev/null 3<&- 4<&- &
	echo $! >"$folder/pid"
	wait $!
}
{
	read -r _ <&3
	while [ -d "$folder" ] && ! [ -e "$folder/ended" ]; do
		kill -"$signal" "$(cat "$folder/pid")"
		sleep 0.05
	done
} 2>/dev/null &
eval "$commands"
: >"$folder/ended"
wait
rm -rf "$folder"
`

// A Server runs until Stop, or until this process ends.
type Server struct {
	folder   string
	lock     *os.File
	sh       *exec.Cmd
	lifeline io.Closer // the writing end of the pipe
}

// Start starts a server. Where this process is root it runs as [OrdinaryUser], because many servers insist on that.
func Start(c Command) (*Server, error) {
	as, err := OrdinaryUser()
	if err != nil {
		return nil, err
	}
	g := &Server{}
	if g.folder, g.lock, err = newFolder(as); err != nil {
		return nil, err
	}
	if c.Prepare != nil {
		err = c.Prepare(g.folder)
	}
	if err == nil {
		err = g.start(c, as)
	}
	if err != nil {
		return nil, errors.Join(err, g.remove())
	}
	return g, nil
}

func (g *Server) start(c Command, as *syscall.Credential) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	g.lifeline = w
	args := append([]string{"-c", guardScript, "reprise-engine", g.folder, c.Signal, c.Commands}, c.Args...)
	g.sh = exec.Command("/bin/sh", args...)
	g.sh.Dir, g.sh.ExtraFiles = g.folder, []*os.File{r, g.lock} // 3 and 4
	g.sh.Env = append(Environment(), c.Env...)
	// A session of its own is out of reach of the terminal's Ctrl-C.
	g.sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as}
	if err := g.sh.Start(); err != nil {
		return errors.Join(fmt.Errorf("run sh as user %d: %w", uid(as), err), w.Close())
	}
	return nil
}

// Folder is where the server's files are.
func (g *Server) Folder() string { return g.folder }

// Await calls ready until it has no error, the commands end, or the context does.
func (g *Server) Await(ctx context.Context, ready func() error) error {
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if _, statErr := os.Stat(filepath.Join(g.folder, "ended")); statErr == nil {
			return ErrEnded
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-time.After(pause):
		}
	}
}

// Failure adds to an error what the server has logged.
func (g *Server) Failure(err error) error {
	log, _ := os.ReadFile(filepath.Join(g.folder, "log"))
	if text := strings.TrimSpace(string(log[max(0, len(log)-4000):])); text != "" {
		return fmt.Errorf("%w; its log ends with:\n%s", err, text)
	}
	return err
}

// Stop stops the server, waits until it is gone, and removes its folder.
func (g *Server) Stop() error {
	err := g.lifeline.Close()
	var exit *exec.ExitError
	if waitErr := g.sh.Wait(); !errors.As(waitErr, &exit) { // how a script that was told to stop exits says nothing
		err = errors.Join(err, waitErr)
	}
	return errors.Join(err, g.remove())
}

func (g *Server) remove() error { return errors.Join(os.RemoveAll(g.folder), g.lock.Close()) }
