//go:build unix

package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// Mode is PgBouncer's pool_mode: for how long a client keeps a server.
type Mode string

// The modes.
const (
	Session     Mode = "session"
	Transaction Mode = "transaction"
	Statement   Mode = "statement"
)

// Options change what Start starts. The zero value is transaction mode with two servers.
type Options struct {
	Mode    Mode // default Transaction
	Servers int  // default_pool_size: how many connections all clients of a database share; default 2

	// Statements is max_prepared_statements: of how many prepared statements PgBouncer keeps track on each server. It is
	// 0 by default, as up to version 1.23, and Start skips the test if it is more and PgBouncer is older than version
	// 1.21, which does not know it.
	Statements int

	// Settings are further ones of the section [pgbouncer], which go before those that Start makes.
	Settings map[string]string
}

// A PgBouncer runs until its test ends.
type PgBouncer struct {
	program  string
	settings map[string]string
	upstream string // what [databases] says
	clients  *url.URL
	version  string
	process  *guarded.Server // nil while it is stopped
}

const (
	startTimeout = 30 * time.Second
	console      = "pgbouncer" // the name of the database that commands go to
)

// Start starts a PgBouncer in front of the server that dsn leads to, and stops it at the end of the test. Without a
// program to start the test is skipped; where the environment has CI set it fails.
func Start(t testing.TB, dsn string, opts Options) *PgBouncer {
	t.Helper()
	b, err := New(t.Context(), dsn, opts)
	if errors.Is(err, ErrNone) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if errors.Is(err, errTooOld) {
		t.Skip("pgbouncer: ", err)
	}
	if err != nil {
		t.Fatal("pgbouncer: ", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error("pgbouncer: ", err)
		}
	})
	return b
}

// New is Start for what is no test: it returns [ErrNone] where there is no program to start, and Close ends it.
func New(ctx context.Context, dsn string, opts Options) (*PgBouncer, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	return startAt(ctx, program, dsn, opts)
}

// startAt tries several ports, since another program may take one before PgBouncer does.
func startAt(ctx context.Context, program, dsn string, opts Options) (*PgBouncer, error) {
	server, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{
		program:  program,
		upstream: fmt.Sprintf("* = host=%s port=%d user=%s", server.Host, server.Port, server.User),
	}
	if b.version, err = versionOf(ctx, program); err != nil {
		return nil, err
	}
	if opts.Statements > 0 && !b.knowsStatements() {
		return nil, fmt.Errorf("%w: it is version %s", errTooOld, b.version)
	}
	b.settings = b.settingsOf(opts)
	b.settings["admin_users"] = server.User
	for range 10 {
		b.listenOn(guarded.FreePort(), server)
		if err = b.run(ctx); !errors.Is(err, guarded.ErrEnded) {
			return b, err
		}
	}
	return nil, err
}

// errTooOld is the error of a PgBouncer that knows nothing of prepared statements and is to keep track of them.
var errTooOld = errors.New("max_prepared_statements needs version 1.21")

var versionNumber = regexp.MustCompile(`\d+\.\d+\.\d+`)

func versionOf(ctx context.Context, program string) (string, error) {
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Env = append(guarded.Environment(), libraries(program))
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	return versionNumber.FindString(string(out)), nil
}

func (b *PgBouncer) knowsStatements() bool {
	var major, minor int
	_, err := fmt.Sscanf(b.version, "%d.%d", &major, &minor)
	return err == nil && (major > 1 || minor >= 21)
}

func (b *PgBouncer) settingsOf(opts Options) map[string]string {
	mode, servers := opts.Mode, opts.Servers
	if mode == "" {
		mode = Transaction
	}
	if servers == 0 {
		servers = 2
	}
	settings := map[string]string{
		"pool_mode":         string(mode),
		"default_pool_size": fmt.Sprint(servers),
		"max_client_conn":   "500",
		"auth_type":         "any",
		"listen_addr":       "127.0.0.1",
		"unix_socket_dir":   "",
		"log_connections":   "0", "log_disconnections": "0", "log_stats": "0",
		"server_login_retry": "1",
	}
	if b.knowsStatements() {
		settings["max_prepared_statements"] = fmt.Sprint(opts.Statements)
	}
	maps.Copy(settings, opts.Settings)
	return settings
}

func (b *PgBouncer) listenOn(port int, server *pgx.ConnConfig) {
	b.settings["listen_port"] = fmt.Sprint(port)
	b.clients = &url.URL{
		Scheme:   "postgresql",
		User:     url.User(server.User),
		Host:     fmt.Sprint("127.0.0.1:", port),
		Path:     "/" + server.Database,
		RawQuery: "sslmode=disable",
	}
}

// DSN is the DSN given to Start, by way of PgBouncer. It stays the same over Stop and Restart.
func (b *PgBouncer) DSN() string { return b.clients.String() }

// Version is PgBouncer's, such as 1.18.0.
func (b *PgBouncer) Version() string { return b.version }

// Stop kills PgBouncer, with all that is connected to it. Until Restart the port refuses connections.
func (b *PgBouncer) Stop(t testing.TB) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal("pgbouncer: ", err)
	}
}

// Restart starts PgBouncer again on the same port, after having stopped it if it runs.
func (b *PgBouncer) Restart(t testing.TB) {
	t.Helper()
	if err := b.StartAgain(t.Context()); err != nil {
		t.Fatal("pgbouncer: ", err)
	}
}

// StartAgain is Restart for what is no test.
func (b *PgBouncer) StartAgain(ctx context.Context) error {
	if err := b.Close(); err != nil {
		return err
	}
	return b.run(ctx)
}

func (b *PgBouncer) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, err := startProcess(b.program, b.configuration())
	if err != nil {
		return err
	}
	err = p.Await(ctx, func() error {
		_, err := b.Do(ctx, "SHOW VERSION")
		return err
	})
	if err != nil {
		return errors.Join(p.Failure(err), p.Stop())
	}
	b.process = p
	return nil
}

// Close kills PgBouncer, if it runs.
func (b *PgBouncer) Close() error {
	p := b.process
	b.process = nil
	if p == nil {
		return nil
	}
	return p.Stop()
}

func (b *PgBouncer) configuration() string {
	var ini strings.Builder
	fmt.Fprintf(&ini, "[databases]\n%s\n[pgbouncer]\n", b.upstream)
	for _, key := range slices.Sorted(maps.Keys(b.settings)) {
		fmt.Fprintf(&ini, "%s = %s\n", key, b.settings[key])
	}
	return ini.String()
}

// Command sends a command, such as SHOW SERVERS or RECONNECT, to PgBouncer's console, and returns the rows of the
// answer by their columns' names.
func (b *PgBouncer) Command(t testing.TB, command string) []map[string]string {
	t.Helper()
	answer, err := b.Do(t.Context(), command)
	if err != nil {
		t.Fatalf("pgbouncer: %s: %v", command, err)
	}
	return answer
}

// Do is Command for what is no test.
func (b *PgBouncer) Do(ctx context.Context, command string) ([]map[string]string, error) {
	u := *b.clients
	u.Path = "/" + console
	conn, err := pgconn.Connect(ctx, u.String())
	if err != nil && b.process != nil {
		return nil, b.process.Failure(err) // with its log: it may have crashed
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	results, err := conn.Exec(ctx, command).ReadAll() // the console knows the simple protocol alone
	if err != nil || len(results) == 0 {
		return nil, err
	}
	var rows []map[string]string
	for _, values := range results[0].Rows {
		row := make(map[string]string)
		for i, field := range results[0].FieldDescriptions {
			row[field.Name] = string(values[i])
		}
		rows = append(rows, row)
	}
	return rows, nil
}
