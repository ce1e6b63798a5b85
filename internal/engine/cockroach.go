package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/guarded"
)

// running is a CockroachDB that somebody else has started.
type running struct{ url, from string }

func (r running) describe() string { return "the CockroachDB of " + r.from }

func (r running) start(ctx context.Context, _ Options) (*Engine, error) {
	return connectCockroach(ctx, r.url, r.from)
}

// connectCockroach asks the server what it is. Nothing else than a CockroachDB will do: what the suite says of it
// would be wrong.
func connectCockroach(ctx context.Context, dsn, from string) (*Engine, error) {
	if databaseOf(dsn) == defaultDatabase {
		dsn = withDatabase(dsn, defaultDatabase)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	crdb := conn.PgConn().ParameterStatus("crdb_version")
	if crdb == "" {
		return nil, fmt.Errorf("%s is not a CockroachDB but PostgreSQL %s: unset it, and PostgreSQL is started behind crdbsim",
			from, conn.PgConn().ParameterStatus("server_version"))
	}
	product, _, _ := strings.Cut(crdb, " (")
	return &Engine{name: product + " (" + from + ")", url: dsn, direct: dsn, maker: dsn}, nil
}

// cockroach is a binary to start, with its data in memory.
type cockroach struct{ binary string }

func (c cockroach) describe() string { return c.binary + " in memory" }

func (c cockroach) start(ctx context.Context, _ Options) (*Engine, error) {
	// There is nothing to be saved, so SIGKILL is the quick way to stop it.
	server, err := guarded.Start(guarded.Command{Signal: "KILL", Args: []string{c.binary}, Commands: `
		run "$1" start-single-node --insecure --store=type=mem,size=1GiB --cache=128MiB --max-sql-memory=256MiB \
			--listen-addr=127.0.0.1:0 --http-addr=127.0.0.1:0 --listening-url-file="$folder/url" --log-dir="$folder/logs"`})
	if err != nil {
		return nil, err
	}
	e, err := c.await(ctx, server)
	if err != nil {
		return nil, errors.Join(server.Failure(err), server.Stop())
	}
	e.server = server
	return e, nil
}

func (c cockroach) await(ctx context.Context, server *guarded.Server) (*Engine, error) {
	var e *Engine
	err := server.Await(ctx, func() error {
		dsn, err := os.ReadFile(filepath.Join(server.Folder(), "url"))
		if err != nil {
			return err
		}
		e, err = connectCockroach(ctx, strings.TrimSpace(string(dsn)), "in memory, started for this run")
		return err
	})
	return e, err
}
