//go:build unix

package engine_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// childVar makes the test binary a program that has an engine and dies, for TestNothingIsLeftBehind.
const childVar = "REPRISE_ENGINE_TEST_CHILD"

func TestMain(m *testing.M) {
	if how := os.Getenv(childVar); how != "" {
		child(how)
	}
	goleak.VerifyTestMain(m)
}

func child(how string) {
	e, err := engine.Start(context.Background(), engine.Options{})
	if err != nil {
		panic(err)
	}
	fmt.Println(e.Folder())
	if how == "panic" {
		panic("as asked")
	}
	time.Sleep(time.Minute)
}

// start starts PostgreSQL, whatever else the machine has.
func start(t testing.TB) *engine.Engine {
	t.Helper()
	onlyPostgres(t)
	began := time.Now()
	e, err := engine.Start(t.Context(), engine.Options{})
	require.NoError(t, err)
	t.Logf("%s, started in %v", e.Name(), time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() { assert.NoError(t, e.Close()) })
	return e
}

// onlyPostgres is for tests of what is done with PostgreSQL. A cockroach hides in a PATH only where it shares no
// folder with sh.
func onlyPostgres(t testing.TB) {
	t.Helper()
	if os.Getenv("COCKROACH_URL") != "" {
		t.Skip("tests starting PostgreSQL; unset COCKROACH_URL")
	}
	if _, err := exec.LookPath("cockroach"); err == nil {
		t.Skip("tests starting PostgreSQL; cockroach is on the PATH")
	}
}

func TestStartsAndStops(t *testing.T) {
	e := start(t)
	assert.Regexp(t, `^PostgreSQL \d+(\.\d+)? behind crdbsim$`, e.Name())
	assert.False(t, e.IsCockroach())
	assert.NotNil(t, e.Sim())
	for _, dsn := range []string{e.URL(), e.Direct(e.URL())} {
		assert.Equal(t, "serializable", show(t, dsn, "default_transaction_isolation"))
	}
	folder := e.Folder()
	require.DirExists(t, folder)
	require.NotEmpty(t, processes(t, folder))

	require.NoError(t, e.Close())
	assert.NoDirExists(t, folder)
	assert.Empty(t, processes(t, folder))
	require.NoError(t, e.Close(), "twice")
}

func show(t *testing.T, dsn, setting string) (value string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&value))
	return value
}

func TestDatabasesAndSims(t *testing.T) {
	e := start(t)
	ctx := t.Context()
	dsn, drop, err := e.NewDatabase(ctx)
	require.NoError(t, err)
	other, dropOther, err := e.NewDatabase(ctx)
	require.NoError(t, err)
	defer dropOther()
	sim, err := e.NewSim(crdbsim.Config{})
	require.NoError(t, err)

	through := e.Through(sim, dsn)
	assert.Contains(t, through, sim.Addr())
	exec := func(dsn, sql string) error {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, sql)
		return err
	}
	require.NoError(t, exec(dsn, "CREATE TABLE kv (k INT PRIMARY KEY)"))
	require.NoError(t, exec(e.Direct(dsn), "SELECT * FROM kv"))
	require.NoError(t, exec(through, "SELECT * FROM kv"))
	require.Error(t, exec(other, "SELECT * FROM kv"), "databases are apart")

	held, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer held.Close(ctx)
	drop()
	require.Error(t, exec(dsn, "SELECT 1"), "gone, with a connection still open")
}

func TestSeveralAtOnce(t *testing.T) {
	onlyPostgres(t)
	var wg sync.WaitGroup
	folders := make([]string, 3)
	for i := range folders {
		wg.Go(func() {
			e, err := engine.Start(t.Context(), engine.Options{})
			if !assert.NoError(t, err) {
				return
			}
			folders[i] = e.Folder()
			assert.NoError(t, e.Close())
		})
	}
	wg.Wait()
	for i, folder := range folders {
		assert.NotContains(t, folders[:i], folder)
		assert.NoDirExists(t, folder)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	onlyPostgres(t)
	for name, signal := range map[string]os.Signal{
		"panic": nil, "SIGINT": os.Interrupt, "SIGTERM": syscall.SIGTERM, "SIGQUIT": syscall.SIGQUIT, "SIGKILL": os.Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childVar+"="+name)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			defer func() { _ = cmd.Process.Kill() }() // for a test that fails before the signal
			var folder string
			_, err = fmt.Fscanln(out, &folder)
			require.NoError(t, err)
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

// Whoever presses Ctrl-C at once hits initdb, or the moment between it and the server.
func TestKilledWhileStarting(t *testing.T) {
	onlyPostgres(t)
	for _, after := range []time.Duration{0, 150, 500} {
		t.Run(fmt.Sprint(int(after), "ms"), func(t *testing.T) {
			t.Parallel()
			// A name as long as TempDir's leaves no room for a socket on macOS.
			tmp, err := os.MkdirTemp("", "engine") //nolint:usetesting // as above
			require.NoError(t, err)
			defer os.RemoveAll(tmp)
			require.NoError(t, os.Chmod(tmp, 0o777))
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childVar+"=killed", "TMPDIR="+tmp)
			require.NoError(t, cmd.Start())
			started := assert.Eventually(t, func() bool { return len(processes(t, tmp)) > 0 }, time.Minute, time.Millisecond)
			time.Sleep(after * time.Millisecond)
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
			require.True(t, started)
			require.Eventually(t, func() bool {
				left, err := os.ReadDir(tmp)
				return err == nil && len(left) == 0 && len(processes(t, tmp)) == 0
			}, time.Minute, 20*time.Millisecond)
		})
	}
}

// processes lists the command lines that name a folder.
func processes(t *testing.T, folder string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range lines {
		line, _ := os.ReadFile(file) // a process may have gone meanwhile
		found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
	}
	if len(lines) == 0 { // no Linux
		out, err := exec.Command("ps", "-axo", "command").Output()
		require.NoError(t, err)
		found = strings.Split(string(out), "\n")
	}
	kept := found[:0]
	for _, line := range found {
		if strings.Contains(line, folder) {
			kept = append(kept, line)
		}
	}
	return kept
}

func TestStaleFoldersAreRemoved(t *testing.T) {
	onlyPostgres(t)
	stale := filepath.Join(os.TempDir(), "reprise-engine-stale-test")
	require.NoError(t, os.MkdirAll(filepath.Join(stale, "data"), 0o700))
	live := start(t)
	assert.NoDirExists(t, stale)
	start(t)
	assert.DirExists(t, live.Folder())
}

func TestNothingToRunOn(t *testing.T) {
	t.Setenv("COCKROACH_URL", "")
	t.Setenv("PATH", t.TempDir())
	defer engine.PostgresFolders()()
	_, err := engine.Start(t.Context(), engine.Options{})
	require.ErrorIs(t, err, engine.ErrNone)
	for _, what := range []string{"apt-get install postgresql", "brew install postgresql", "COCKROACH_URL"} {
		assert.Contains(t, err.Error(), what)
	}
}

func TestTheNewestPostgresOffThePathIsFound(t *testing.T) {
	t.Setenv("COCKROACH_URL", "")
	t.Setenv("PATH", t.TempDir())
	root := t.TempDir()
	defer engine.PostgresFolders(root + "/postgresql*/bin")()
	for _, name := range []string{"postgresql@9", "postgresql@17", "postgresql"} {
		bin := filepath.Join(root, name, "bin")
		require.NoError(t, os.MkdirAll(bin, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(bin, "initdb"), nil, 0o755))
		if name != "postgresql" { // which has one of the two only, and won't do
			require.NoError(t, os.WriteFile(filepath.Join(bin, "postgres"), nil, 0o755))
		}
	}
	got, err := engine.Find(engine.Options{})
	require.NoError(t, err)
	assert.Equal(t, root+"/postgresql@17/bin/postgres behind crdbsim", got)
}

func TestBrokenPostgresShowsItsLog(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"initdb", "postgres"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho broken >&2\nexit 1\n"), 0o755))
	}
	openUp(t, bin)
	t.Setenv("COCKROACH_URL", "")
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	_, err := engine.Start(t.Context(), engine.Options{})
	require.ErrorContains(t, err, "ended while it was starting; its log ends with:\nbroken")
	assert.Empty(t, processes(t, bin))
}

// openUp lets the ordinary user that servers run as where the tests are root's reach a folder of a test.
func openUp(t *testing.T, folder string) {
	t.Helper()
	for folder != os.TempDir() && folder != "/" {
		require.NoError(t, os.Chmod(folder, 0o755))
		folder = filepath.Dir(folder)
	}
}

// announce answers NewDatabase.
func announce(fakepg.Statement) fakepg.Reply {
	return fakepg.Reply{Columns: []fakepg.Column{{Name: "n", OID: pgtype.Int8OID}}}
}

func TestCockroachURL(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(announce),
		fakepg.Version("CockroachDB CCL v23.1.2 (x86_64-linux-gnu, built 2023)"))
	t.Setenv("COCKROACH_URL", srv.DSN())
	e, err := engine.Start(t.Context(), engine.Options{})
	require.NoError(t, err)
	defer e.Close()
	assert.Equal(t, "CockroachDB CCL v23.1.2 (COCKROACH_URL)", e.Name())
	assert.Equal(t, srv.DSN(), e.URL())
	assert.True(t, e.IsCockroach())
	assert.Nil(t, e.Sim())
	_, err = e.NewSim(crdbsim.Config{})
	require.ErrorContains(t, err, "unset COCKROACH_URL")

	dsn, drop, err := e.NewDatabase(t.Context())
	require.NoError(t, err)
	assert.Equal(t, dsn, e.Direct(dsn))
	drop()
	got := srv.Statements()
	require.Len(t, got, 2)
	assert.Regexp(t, "^CREATE DATABASE test_[a-z0-9]+$", got[0][0])
	assert.Regexp(t, "^DROP DATABASE test_[a-z0-9]+ CASCADE$", got[1][0])
}

func TestCockroachURLOfAPostgreSQL(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(announce), fakepg.PlainPostgreSQL())
	_, err := engine.Start(t.Context(), engine.Options{URL: srv.DSN()})
	require.ErrorContains(t, err, "is not a CockroachDB but PostgreSQL 13.0.0")
}

func TestCockroachOnThePath(t *testing.T) {
	srv := fakepg.Start(t, fakepg.Answer(announce))
	bin := t.TempDir()
	script := "#!/bin/sh\n" +
		"for a; do case $a in --listening-url-file=*) echo '" + srv.DSN() + "' >\"${a#*=}\";; esac; done\n" +
		"exec sleep 60\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "cockroach"), []byte(script), 0o755))
	openUp(t, bin)
	t.Setenv("COCKROACH_URL", "")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e, err := engine.Start(t.Context(), engine.Options{})
	require.NoError(t, err)
	assert.Equal(t, "CockroachDB CCL v23.1.2 (in memory, started for this run)", e.Name())
	folder := e.Folder()
	require.NotEmpty(t, processes(t, folder))
	require.NoError(t, e.Close())
	assert.Empty(t, processes(t, folder))
	assert.NoDirExists(t, folder)
}

func TestFindSaysWhatWouldBeUsed(t *testing.T) {
	t.Setenv("COCKROACH_URL", "postgresql://root:secret@db/")
	got, err := engine.Find(engine.Options{})
	require.NoError(t, err)
	assert.Equal(t, "the CockroachDB of COCKROACH_URL", got)
}
