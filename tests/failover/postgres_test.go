//go:build unix

package failover_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine"
	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// A pair is a PostgreSQL, and a standby that has each commit before it is acknowledged.
type pair struct {
	bin              string // the folder of the programs
	primary, standby *process
	ports            [2]int
}

// Both servers keep nothing safe against power cuts: that is not what is tested. A standby knows no serializable
// transactions, which the load does not need.
const serverSettings = ` -k "$folder" -c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off` +
	` -c max_connections=60 -c wal_level=replica -c max_wal_senders=4 -c hot_standby=on -c jit=off` +
	` -c log_min_messages=fatal -c log_min_error_statement=panic -c dynamic_shared_memory_type=mmap`

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{bin: binaries(t), ports: [2]int{guarded.FreePort(), guarded.FreePort()}}
	p.primary = startProcess(t, "KILL", fmt.Sprintf(`
		run %s --pgdata="$folder/data" --username=root --auth=trust --encoding=UTF8 --locale=C --no-sync &&
		run %s -D "$folder/data" -c port=%d %s`, p.program("initdb"), p.program("postgres"), p.ports[0], serverSettings), nil)
	p.primary.await(t, func() error { return query(t, p.url(0), "SELECT 1") })
	p.standby = startProcess(t, "KILL", fmt.Sprintf(`
		run %s --pgdata="$folder/data" --dbname=%s --checkpoint=fast --no-sync --write-recovery-conf &&
		run %s -D "$folder/data" -c port=%d %s`,
		p.program("pg_basebackup"),
		quoted(fmt.Sprintf("host=127.0.0.1 port=%d user=root application_name=standby", p.ports[0])),
		p.program("postgres"), p.ports[1], serverSettings), nil)
	p.standby.await(t, func() error { return query(t, p.url(1), "SELECT 1") })
	execute(t, p.url(0), "ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
	p.primary.await(t, func() error {
		return query(t, p.url(0), "SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
	})
	return p
}

// binaries returns the folder of the PostgreSQL that the engine would take.
func binaries(t *testing.T) string {
	t.Helper()
	found, err := engine.Find(engine.Options{PostgreSQL: true})
	if err != nil {
		unavailable(t, err.Error())
	}
	server, err := filepath.EvalSymlinks(strings.TrimSuffix(found, " behind crdbsim"))
	require.NoError(t, err)
	bin := filepath.Dir(server)
	for _, program := range []string{"pg_basebackup", "pg_ctl"} {
		if _, err := exec.LookPath(filepath.Join(bin, program)); err != nil {
			unavailable(t, err.Error())
		}
	}
	return bin
}

func (p *pair) program(name string) string { return quoted(filepath.Join(p.bin, name)) }

// url names one of the two.
func (p *pair) url(i int) string {
	return fmt.Sprintf("postgresql://root@127.0.0.1:%d/postgres?sslmode=disable", p.ports[i])
}

// dsn names both, and asks for the one that takes writes.
func (p *pair) dsn() string {
	const format = "postgresql://root@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write"
	return fmt.Sprintf(format, p.ports[0], p.ports[1])
}

// failOver kills the primary, and then promotes the standby: never are there two that take writes.
func (p *pair) failOver(t *testing.T) {
	t.Helper()
	p.primary.stop(t)
	folder := p.standby.Folder()
	data := filepath.Join(folder, "data")
	as, err := guarded.OrdinaryUser()
	require.NoError(t, err)
	cmd := exec.Command(filepath.Join(p.bin, "pg_ctl"), "promote", "--wait", "--pgdata", data)
	cmd.Dir, cmd.SysProcAttr = folder, &syscall.SysProcAttr{Credential: as}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// unacknowledged has the commits of all workers wait for a standby that there is not, with all that they have written
// received by the one that there is.
func (p *pair) unacknowledged(t *testing.T) {
	t.Helper()
	execute(t, p.url(0), "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
	p.awaitWaiting(t)
	p.primary.await(t, func() error {
		return query(t, p.url(0), "SELECT 1 / count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()")
	})
}

// unreceived has the commits of all workers wait for the standby, which receives nothing any more.
func (p *pair) unreceived(t *testing.T) {
	t.Helper()
	execute(t, p.url(1), "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
	p.awaitWaiting(t)
}

// awaitWaiting waits until each worker waits for its commit, or for the locks of one that does.
func (p *pair) awaitWaiting(t *testing.T) {
	t.Helper()
	p.primary.await(t, func() error {
		return query(t, p.url(0), fmt.Sprintf("SELECT 1 / (count(*) / %d) FROM pg_stat_activity "+
			"WHERE wait_event = 'SyncRep' OR wait_event_type = 'Lock'", workers))
	})
}

// query runs a query, and says whether it failed.
func query(t *testing.T, url, sql string) error {
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), sql)
	return err
}

// execute runs statements, each a transaction of its own.
func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		require.NoError(t, query(t, url, sql))
	}
}
