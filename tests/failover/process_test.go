//go:build unix

package failover_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// guardScript runs commands, each by the function run, and outlives whoever started it for as long as it takes to clean
// up: when the pipe closes of which it holds the reading end, it signals the one that is running, and removes the
// folder.
const guardScript = `
trap '' HUP INT QUIT TERM
folder=$1 signal=$2 commands=$3
run() {
	"$@" >>"$folder/log" 2>&1 </dev/null 3<&- &
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

// A process is a program in a folder of its own, which goes at the end of the test, however it ends.
type process struct {
	folder   string
	sh       *exec.Cmd
	lifeline io.Closer // the writing end of the pipe
	stopped  bool
}

// startProcess starts commands of sh, which find their folder in $folder; files are put there first. At the end the one
// that is running gets the signal.
func startProcess(t *testing.T, signal, commands string, files map[string]string) *process {
	t.Helper()
	as := ordinaryUser(t)
	folder, err := os.MkdirTemp("/tmp", "reprise-failover-") //nolint:usetesting // TMPDIR may be out of the user's reach
	require.NoError(t, err)
	p := &process{folder: folder}
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644))
	}
	if as != nil {
		require.NoError(t, os.Chown(folder, int(as.Uid), int(as.Gid)))
	}
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	p.lifeline = w
	p.sh = exec.Command("/bin/sh", "-c", guardScript, "reprise-failover", folder, signal, commands)
	p.sh.Dir, p.sh.ExtraFiles = folder, []*os.File{r} // 3
	p.sh.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	// A session of its own is out of reach of the terminal's Ctrl-C.
	p.sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: as}
	require.NoError(t, p.sh.Start())
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop ends the process, and returns when it is gone.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.stopped {
		return
	}
	p.stopped = true
	require.NoError(t, p.lifeline.Close())
	var exit *exec.ExitError
	if err := p.sh.Wait(); !errors.As(err, &exit) { // how a script that was told to stop exits says nothing
		assert.NoError(t, err)
	}
	require.NoError(t, os.RemoveAll(p.folder))
}

// await waits until ready has no error.
func (p *process) await(t *testing.T, ready func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := ready()
		if err == nil {
			return
		}
		if _, statErr := os.Stat(filepath.Join(p.folder, "ended")); statErr == nil || time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(p.folder, "log"))
			t.Fatalf("it is not ready: %v; its log ends with:\n%s", err, log[max(0, len(log)-4000):])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// ordinaryUser returns whom servers run as where this process is root; nil elsewhere.
func ordinaryUser(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("servers can't run as root, and there is no user postgres or nobody to run them as: run as an ordinary user")
	return nil
}

// freePort returns a port from below those that systems give to outgoing connections: such a connection could take it
// while its server is down.
func freePort() string {
	for {
		port := strconv.Itoa(20000 + rand.IntN(10000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			l.Close()
			return port
		}
	}
}

// unavailable skips the test where there is no such program; in CI it fails.
func unavailable(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// quoted is a word for sh.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
