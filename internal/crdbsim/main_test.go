package crdbsim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// postgres is the one PostgreSQL of this test binary.
var postgres *server

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) int {
	var err error
	if postgres, err = startPostgres(); err != nil {
		fmt.Fprintln(os.Stderr, "starting PostgreSQL:", err)
		return 1
	}
	code := m.Run()
	postgres.stop()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

type server struct {
	dir string
	cmd *exec.Cmd
}

const superuser = "postgres"

// startPostgres starts a PostgreSQL that listens on a socket of its own.
func startPostgres() (*server, error) {
	bin := binDir()
	if bin == "" {
		return nil, errors.New("no initdb on the PATH nor under /usr/lib/postgresql")
	}
	dir, err := os.MkdirTemp("", "crdbsim")
	if err != nil {
		return nil, err
	}
	attr, err := ordinaryUser(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", superuser, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	log := &bytes.Buffer{}
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off",
		"-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "deadlock_timeout=50ms", "-c", "max_connections=200",
		"-c", "default_transaction_isolation=serializable", "-c", "log_min_messages=panic")
	cmd.SysProcAttr, cmd.Dir, cmd.Stdout, cmd.Stderr = attr, dir, log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{dir, cmd}
	for range 200 {
		conn, err := pgx.Connect(context.Background(), s.dsn())
		if err == nil {
			return s, conn.Close(context.Background())
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("PostgreSQL does not answer: %s", log)
}

func binDir() string {
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(found[len(found)-1])
}

// ordinaryUser makes root run PostgreSQL as somebody else, since PostgreSQL won't run as root, and gives dir to that user.
func ordinaryUser(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, os.Chown(dir, uid, gid)
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}

func (s *server) dsn() string {
	return fmt.Sprintf("host=%s user=%s database=postgres", s.dir, superuser)
}

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.dir, ".s.PGSQL.5432"))
}

// A world is a sim and a schema of its own with the table kv in it.
type world struct {
	*Sim
	schema string
}

var schemas atomic.Int64

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	cfg.Upstream = postgres.dial
	sim, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sim.Close()) })
	w := &world{sim, fmt.Sprintf("test_%d", schemas.Add(1))}
	conn, err := pgx.Connect(t.Context(), postgres.dsn())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "CREATE SCHEMA "+w.schema+"; SET search_path = "+w.schema+`;
		CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL); INSERT INTO kv VALUES (1, 10), (2, 20), (3, 30)`)
	require.NoError(t, err)
	return w
}

// dsn is for pgx; it carries a parameter that PostgreSQL would not accept.
func (w *world) dsn() string {
	extra := ""
	if !w.cfg.PostgreSQL {
		extra = "&no_such_variable=1"
	}
	return fmt.Sprintf("postgres://%s@%s/postgres?sslmode=prefer&search_path=%s,public%s", superuser, w.Addr(), w.schema, extra)
}

func (w *world) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgxConnect(t, w)
	require.NoError(t, err)
	return conn
}

// value returns what a row of kv holds, asked of PostgreSQL itself.
func (w *world) value(t *testing.T, k int) (v int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), postgres.dsn())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT v FROM "+w.schema+".kv WHERE k = $1", k).Scan(&v))
	return v
}

func pgxConnect(t *testing.T, w *world) (*pgx.Conn, error) {
	conn, err := pgx.Connect(t.Context(), w.dsn())
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}
