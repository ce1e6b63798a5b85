// Package before is a small bank on pgx's stdlib.
package before

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Open opens a pool.
func Open(dsn string) (*sql.DB, error) {
	return sql.Open("pgx", dsn)
}

// OpenWith opens a pool with what a DSN has no words for.
func OpenWith(
	dsn string, tracer pgx.QueryTracer, afterConnect func(context.Context, *pgx.Conn) error,
) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.Tracer = tracer
	return stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(afterConnect)), nil
}

// Import opens many accounts.
func Import(ctx context.Context, db *sql.DB, rows [][]any) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driverConn any) error {
		pgxConn := driverConn.(*stdlib.Conn).Conn()
		columns := []string{"id", "owner", "balance"}
		_, err := pgxConn.CopyFrom(ctx, pgx.Identifier{"accounts"}, columns, pgx.CopyFromRows(rows))
		return err
	})
}
