// Package after is the bank of package before on this driver.
package after

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb"
)

// Open opens a pool.
func Open(dsn string) (*sql.DB, error) {
	return sql.Open("cockroachdb", dsn)
}

// OpenWith opens a pool with what a DSN has no words for.
func OpenWith(
	dsn string, tracer pgx.QueryTracer, afterConnect func(context.Context, *pgx.Conn) error,
) (*sql.DB, error) {
	cfg, err := cockroachdb.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.Tracer = tracer
	cfg.AfterConnect = afterConnect
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Import opens many accounts.
func Import(ctx context.Context, db *sql.DB, rows [][]any) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driverConn any) error {
		pgxConn := driverConn.(cockroachdb.Conn).Conn()
		columns := []string{"id", "owner", "balance"}
		_, err := pgxConn.CopyFrom(ctx, pgx.Identifier{"accounts"}, columns, pgx.CopyFromRows(rows))
		return err
	})
}
