package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/reprise-go/cockroachdb"
)

// server is where the answers come from.
type server struct {
	dsn  string
	dial pgconn.DialFunc // nil for the usual one
}

// openPool opens a pool of a peer: pgx's stdlib, this driver as a DSN opens it, which counts in DefaultMetrics, or this
// driver with nobody watching it, with metrics alone, or with a tracer alone.
func openPool(name string, s server) (*sql.DB, error) {
	if name == "pgx" {
		cfg, err := pgx.ParseConfig(s.dsn)
		if err != nil {
			return nil, err
		}
		if s.dial != nil {
			cfg.DialFunc = s.dial
		}
		return stdlib.OpenDB(*cfg), nil
	}
	cfg, err := cockroachdb.ParseConfig(s.dsn)
	if err != nil {
		return nil, err
	}
	if s.dial != nil {
		cfg.ConnConfig.DialFunc = s.dial
	}
	if name != "cockroachdb" {
		cfg.Metrics = nil
	}
	switch name {
	case "cockroachdb", "unwatched":
	case "metrics":
		cfg.Metrics = cockroachdb.NewMetrics()
	case "tracer":
		cfg.ConnConfig.Tracer = idleTracer{}
	default:
		return nil, fmt.Errorf("there is no peer %q: use pgx, cockroachdb, unwatched, metrics or tracer", name)
	}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// idleTracer is a tracer that does nothing, so that what is measured is the driver's part.
type idleTracer struct{}

func (idleTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (idleTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
