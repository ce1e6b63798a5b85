// Package aside runs a server with ready-made answers in a process of its own, so that it is in no figure of the
// process that measures.
package aside

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/reprise-go/cockroachdb/internal/cannedpg"
)

const serveCommand = "serve-canned-answers" // what the program is called with to be the server

// IsServer reports whether this process is to be the server: main calls Serve then, and nothing else.
func IsServer() bool { return len(os.Args) == 2 && os.Args[1] == serveCommand }

// Serve answers until its standard input ends, as it does when the measuring process has ended, or died.
func Serve(replies map[string]cannedpg.Reply) error {
	srv, err := cannedpg.Listen(replies)
	if err != nil {
		return err
	}
	defer srv.Close()
	fmt.Println(srv.DSN())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// Start starts this program once more, as the server.
func Start() (dsn string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, serveCommand)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	dsn, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("start the server: %w", err)
	}
	return strings.TrimSpace(dsn), stop, nil
}
