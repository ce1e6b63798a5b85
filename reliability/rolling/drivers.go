package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/reprise-go/cockroachdb"
)

// A sqlDriver is one of those that are compared.
type sqlDriver struct {
	name string
	open func(dsn string, o options, dials *atomic.Int64) (*sql.DB, error)
}

var allDrivers = []sqlDriver{{"pgx", openPgx}, {"cockroachdb", openOurs}}

func openPgx(dsn string, _ options, dials *atomic.Int64) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	countDials(cfg, dials)
	return stdlib.OpenDB(*cfg), nil
}

func openOurs(dsn string, o options, dials *atomic.Int64) (*sql.DB, error) {
	cfg, err := cockroachdb.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	countDials(cfg.ConnConfig, dials)
	cfg.Metrics = nil
	cfg.CommitMarker = cfg.CommitMarker || o.once
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// countDials counts each TCP connection that is asked for. It leaves the connection as it is: drivers look at its
// socket.
func countDials(cfg *pgx.ConnConfig, dials *atomic.Int64) {
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, addr)
	}
}

// openPool opens a pool as an application does that has so many workers.
func openPool(d sqlDriver, dsn string, o options, dials *atomic.Int64) (*sql.DB, error) {
	db, err := d.open(dsn, o, dials)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(o.workers)
	db.SetMaxIdleConns(o.workers)
	return db, nil
}

// pgConnOf returns what is behind a connection of either driver.
func pgConnOf(driverConn any) (*pgconn.PgConn, error) {
	c, ok := driverConn.(interface{ Conn() *pgx.Conn })
	if !ok {
		return nil, fmt.Errorf("%T has no pgx connection", driverConn)
	}
	return c.Conn().PgConn(), nil
}
