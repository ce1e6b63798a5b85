package main

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	gormlog "gorm.io/gorm/logger"

	"github.com/reprise-go/cockroachdb"
)

// A Todo is a row of the table todos.
type Todo struct {
	ID        uuid.UUID // made by the application: see newForm
	Title     string
	Text      string
	Done      bool
	CreatedAt time.Time
}

//go:embed schema.sql
var schema string

// database is GORM on the driver.
type database struct {
	*gorm.DB
	pool *sql.DB
}

// maxConns is for a page that a few people use at a time.
const maxConns = 16

// open connects to nothing yet.
func open(o options, logger *slog.Logger) (*database, error) {
	cfg, err := configure(o, logger)
	if err != nil {
		return nil, err
	}
	return openConfig(cfg)
}

// configure is what a program needs that wants to be told of its conflicts. One that does not opens the DSN, and that
// is all.
func configure(o options, logger *slog.Logger) (*cockroachdb.Config, error) {
	cfg, err := cockroachdb.ParseConfig(o.url)
	if err != nil {
		return nil, err
	}
	if o.wire {
		cfg.ConnConfig.Tracer = wireLog{logger}
	}
	cfg.OnSettled = func(ctx context.Context, e cockroachdb.OutcomeEvent) {
		logger.InfoContext(ctx, "conflict", "id", requestID(ctx),
			"attempts", e.Attempts, "reason", e.Reason, "at", e.At, "outcome", e.Outcome)
	}
	return cfg, nil
}

func openConfig(cfg *cockroachdb.Config) (*database, error) {
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(maxConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{
		DisableAutomaticPing: true,
		Logger:               gormlog.Discard, // errors are logged once, by those who answer the request
	})
	if err != nil {
		return nil, fmt.Errorf("set up GORM: %w", err)
	}
	return &database{DB: db, pool: pool}, nil
}

func (db *database) close() error { return db.pool.Close() }

func (db *database) createTable(ctx context.Context) error {
	if err := db.WithContext(ctx).Exec(schema).Error; err != nil {
		return fmt.Errorf("make the table todos: %w", err)
	}
	return nil
}

// check finds out at the start what would go wrong with the first request.
func (db *database) check(ctx context.Context) error {
	if err := db.WithContext(ctx).Limit(1).Find(&[]Todo{}).Error; err != nil {
		return fmt.Errorf("read the table todos: %w: if it is not there, make it with todo init", err)
	}
	return nil
}

// wireLog logs what goes over the wire, by pgx's way to trace: the statements of the driver's own too, and those that
// it runs again.
type wireLog struct{ *slog.Logger }

func (l wireLog) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	attempt, replay := cockroachdb.AttemptFrom(ctx)
	return context.WithValue(ctx, statementKey{}, statement{q.SQL, attempt, replay})
}

func (l wireLog) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryEndData) {
	s, _ := ctx.Value(statementKey{}).(statement)
	answer := q.CommandTag.String()
	if q.Err != nil {
		answer = "failed"
	}
	l.InfoContext(ctx, "wire", "id", requestID(ctx),
		"attempt", s.attempt, "replay", s.replay, "sql", s.sql, "answer", answer)
}

type statement struct {
	sql     string
	attempt int
	replay  bool
}

type statementKey struct{}
