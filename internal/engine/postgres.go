package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// postgres is the pair of binaries that a PostgreSQL is made and run with.
type postgres struct{ initdb, server string }

func (p postgres) describe() string { return p.server + " behind crdbsim" }

// serverCommands make a cluster and run it. It listens on a socket in its own folder alone: no port to find, nobody
// else can reach it, and so nobody has to authenticate. What makes it safe against power cuts is off. SIGQUIT, with
// which it is stopped, is PostgreSQL's immediate shutdown.
//
// The arguments are initdb, postgres, and for how many connections there is room.
const serverCommands = `
run "$1" --pgdata="$folder/data" --username=root --auth=trust --encoding=UTF8 --locale=C --no-sync --wal-segsize=1 &&
run "$2" -D "$folder/data" -k "$folder" -c listen_addresses= -c max_connections="$3" \
	-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c wal_level=minimal -c max_wal_senders=0 \
	-c default_transaction_isolation=serializable -c deadlock_timeout=50ms -c max_pred_locks_per_transaction=256 \
	-c dynamic_shared_memory_type=mmap -c jit=off -c timezone=UTC \
	-c log_min_messages=fatal -c log_min_error_statement=panic`

const defaultRoom = 300

func (p postgres) start(ctx context.Context, opts Options) (*Engine, error) {
	server, err := guarded.Start(guarded.Command{
		Signal: "QUIT", Commands: serverCommands,
		Args: []string{p.initdb, p.server, strconv.Itoa(cmp.Or(opts.Room, defaultRoom))},
	})
	if err != nil {
		return nil, err
	}
	e := &Engine{server: server}
	if err := e.connectPostgres(ctx, opts.Sim); err != nil {
		return nil, errors.Join(server.Failure(err), e.shutDown())
	}
	return e, nil
}

func (e *Engine) connectPostgres(ctx context.Context, cfg crdbsim.Config) error {
	query := url.Values{"host": {e.server.Folder()}, "sslmode": {"disable"}}
	direct := url.URL{Scheme: "postgresql", User: url.User("root"), Path: "/postgres", RawQuery: query.Encode()}
	e.direct = direct.String()
	var version string
	err := e.server.Await(ctx, func() error {
		conn, err := pgx.Connect(ctx, e.direct)
		if err != nil {
			return err
		}
		version, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ")
		return conn.Close(ctx)
	})
	if err != nil {
		return err
	}
	// A simulator uses a session again, which straight would be a new process each time.
	plain, err := e.startSim(crdbsim.Config{PostgreSQL: true})
	if err != nil {
		return fmt.Errorf("crdbsim: %w", err)
	}
	e.maker = simURL(plain, "postgres")
	if err := e.admin(ctx, "CREATE DATABASE "+defaultDatabase); err != nil {
		return err
	}
	if e.sim, err = e.startSim(cfg); err != nil {
		return fmt.Errorf("crdbsim: %w", err)
	}
	e.url = simURL(e.sim, defaultDatabase)
	e.name = "PostgreSQL " + version + " behind crdbsim"
	return nil
}

func (e *Engine) startSim(cfg crdbsim.Config) (*crdbsim.Sim, error) {
	socket := filepath.Join(e.server.Folder(), ".s.PGSQL.5432")
	cfg.Upstream = func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	sim, err := crdbsim.Start(cfg)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sims = append(e.sims, sim)
	return sim, nil
}

func simURL(sim *crdbsim.Sim, database string) string {
	return "postgresql://root@" + sim.Addr() + "/" + database + "?sslmode=disable"
}
