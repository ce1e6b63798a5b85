//go:build unix

package pgbouncer

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// childVar makes the test binary a program that starts a PgBouncer and dies.
const childVar = "REPRISE_PGBOUNCER_TEST_CHILD"

// nowhere is a DSN of no server: PgBouncer comes up without one.
const nowhere = "postgresql://root@127.0.0.1:1/defaultdb"

func TestMain(m *testing.M) {
	if how := os.Getenv(childVar); how != "" {
		child(how)
	}
	enginetest.Main(m)
}

func child(how string) {
	program, err := find()
	if err != nil {
		panic(err)
	}
	b, err := startAt(context.Background(), program, nowhere, Options{})
	if err != nil {
		panic(err)
	}
	fmt.Println(b.process.Folder())
	if how == "panic" {
		panic("as asked")
	}
	time.Sleep(time.Minute)
}

func TestStart_InFrontOfAnyServer_Answers(t *testing.T) {
	t.Parallel()
	_, sim := enginetest.NewSim(t, crdbsim.Config{})
	for name, dsn := range map[string]string{"socket": enginetest.NewDirectDB(t), "port": sim} {
		for _, mode := range []Mode{Session, Transaction, Statement} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				b := Start(t, dsn, Options{Mode: mode, Servers: 3})
				conn := connect(t, b)
				var one int
				require.NoError(t, conn.QueryRow(t.Context(), "SELECT 1", pgx.QueryExecModeExec).Scan(&one))
				version := b.Command(t, "SHOW VERSION")
				assert.Equal(t, "PgBouncer "+b.Version(), version[0]["version"])
				assert.Empty(t, b.Command(t, "RECONNECT"), "which only an administrator may")
				for _, pool := range b.Command(t, "SHOW DATABASES") {
					if pool["name"] == conn.Config().Database {
						assert.Equal(t, "3", pool["pool_size"])
					}
				}
				for _, pool := range b.Command(t, "SHOW POOLS") {
					if pool["database"] == conn.Config().Database {
						assert.Equal(t, string(mode), pool["pool_mode"])
					}
				}
			})
		}
	}
}

func TestStart_KeepsTrackOfStatements_OrIsTooOld(t *testing.T) {
	t.Parallel()
	b := Start(t, nowhere, Options{})
	if !b.knowsStatements() {
		_, err := startAt(t.Context(), b.program, nowhere, Options{Statements: 7})
		require.ErrorIs(t, err, errTooOld)
		return
	}
	for want, b := range map[string]*PgBouncer{"0": b, "7": Start(t, nowhere, Options{Statements: 7})} {
		for _, setting := range b.Command(t, "SHOW CONFIG") {
			if setting["key"] == "max_prepared_statements" {
				assert.Equal(t, want, setting["value"])
			}
		}
	}
}

func connect(t *testing.T, b *PgBouncer) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.DSN())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestRestart_KeepsThePort(t *testing.T) {
	t.Parallel()
	b := Start(t, enginetest.NewDirectDB(t), Options{})
	conn, dsn, folder := connect(t, b), b.DSN(), b.process.Folder()
	b.Stop(t)
	assert.NoDirExists(t, folder)
	require.Error(t, conn.Ping(t.Context()), "its connections are cut")
	_, err := pgx.Connect(t.Context(), dsn)
	require.Error(t, err, "and new ones are refused")
	b.Restart(t)
	assert.Equal(t, dsn, b.DSN())
	require.NoError(t, connect(t, b).Ping(t.Context()))
	b.Restart(t)
	require.NoError(t, connect(t, b).Ping(t.Context()))
}

func TestStart_BadSetting_SaysWhatPgBouncerSays(t *testing.T) {
	t.Parallel()
	program := Start(t, nowhere, Options{}).program
	_, err := startAt(t.Context(), program, nowhere, Options{Settings: map[string]string{"pool_mode": "no such mode"}})
	require.ErrorIs(t, err, guarded.ErrEnded)
	assert.ErrorContains(t, err, "no such mode")
}

func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	if _, err := find(); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	for name, signal := range map[string]os.Signal{
		"panic": nil, "SIGINT": os.Interrupt, "SIGTERM": syscall.SIGTERM, "SIGKILL": os.Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childVar+"="+name)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			defer func() { _ = cmd.Process.Kill() }() // for a test that fails before the signal
			folder, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			folder = strings.TrimSpace(folder)
			if signal != nil {
				require.NotEmpty(t, processes(t, folder))
				require.NoError(t, cmd.Process.Signal(signal))
			}
			require.Error(t, cmd.Wait())
			require.Eventually(t, func() bool {
				_, err := os.Stat(folder)
				return os.IsNotExist(err) && len(processes(t, folder)) == 0
			}, time.Minute, 20*time.Millisecond)
		})
	}
}

// processes lists the command lines that name a folder.
func processes(t *testing.T, folder string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var all []string
	for _, file := range lines {
		line, _ := os.ReadFile(file) // a process may have gone meanwhile
		all = append(all, strings.ReplaceAll(string(line), "\x00", " "))
	}
	if len(lines) == 0 { // no Linux
		out, err := exec.Command("ps", "-axo", "command").Output()
		require.NoError(t, err)
		all = strings.Split(string(out), "\n")
	}
	for _, line := range all {
		if strings.Contains(line, folder) {
			found = append(found, line)
		}
	}
	return found
}
