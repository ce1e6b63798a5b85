// Package watch runs the demonstration and a Prometheus that scrapes it, for the tests and for the pictures.
package watch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// guard runs a command, and ends it when the pipe on its third file is closed: by stop, or by the end of this process,
// whatever ends it.
const guard = `
"$@" 3<&- &
command=$!
{ read -r _; kill "$command"; } <&3 2>/dev/null &
reader=$!
wait "$command"
status=$?
kill "$reader" 2>/dev/null
exit "$status"
`

// A process is a command that runs in the background and logs into a file.
type process struct {
	name     string
	log      string
	sh       *exec.Cmd
	lifeline io.Closer
	ended    chan struct{}
}

// start starts a command in a folder. Its log goes into the folder scratch.
func start(scratch, folder, name string, args ...string) (*process, error) {
	log, err := os.CreateTemp(scratch, filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := &process{name: filepath.Base(name), log: log.Name(), lifeline: w, ended: make(chan struct{})}
	p.sh = exec.Command("/bin/sh", append([]string{"-c", guard, "watch", name}, args...)...)
	p.sh.Dir, p.sh.Stdout, p.sh.Stderr, p.sh.ExtraFiles = folder, log, log, []*os.File{r}
	if err := p.sh.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", p.name, err), w.Close())
	}
	go func() {
		defer close(p.ended)
		_ = p.sh.Wait() // what it has to say is in its log
	}()
	return p, nil
}

// stop ends the command if it has not ended, and waits until it is gone.
func (p *process) stop() error {
	err := p.lifeline.Close()
	<-p.ended
	return err
}

// output is what the command has logged so far.
func (p *process) output() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

// failed adds the end of the log to an error.
func (p *process) failed(err error) error {
	text := p.output()
	return fmt.Errorf("%s: %w; its log ends with:\n%s", p.name, err, strings.TrimSpace(text[max(0, len(text)-4000):]))
}
