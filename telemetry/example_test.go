package telemetry

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// A transaction that had to be retried leaves events on the span of the request.
func Example() {
	spans := tracetest.NewSpanRecorder() // in place of an exporter
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("shop")

	dsn := enginetest.DSN() // "postgresql://app@db1:26257,db2:26257,db3:26257/bank?sslmode=verify-full"
	cfg, err := cockroachdb.ParseConfig(dsn)
	if err != nil {
		log.Fatal(err)
	}
	cfg.OnRetry = func(ctx context.Context, e cockroachdb.RetryEvent) {
		trace.SpanFromContext(ctx).AddEvent("retry", trace.WithAttributes(
			attribute.Int("cockroachdb.attempt", e.Attempt),
			attribute.String("cockroachdb.at", string(e.At)),
			attribute.Int("cockroachdb.statement", e.Statement),
		))
	}
	cfg.OnSettled = func(ctx context.Context, e cockroachdb.OutcomeEvent) {
		trace.SpanFromContext(ctx).AddEvent("retried",
			trace.WithAttributes(attribute.String("cockroachdb.outcome", string(e.Outcome))))
	}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	ctx, span := tracer.Start(context.Background(), "POST /hits")
	loseOnce(ctx, db)
	span.End()

	for _, span := range spans.Ended() {
		fmt.Println(span.Name())
		for _, e := range span.Events() {
			fmt.Println(" ", e.Name+attributesOf(e.Attributes))
		}
	}
	// Output:
	// POST /hits
	//   retry attempt=2 at=statement statement=2
	//   retried outcome=committed
}

// attributesOf shows attributes, without some.
func attributesOf(attrs []attribute.KeyValue, without ...attribute.Key) (text string) {
	for _, a := range attrs {
		if len(without) == 0 || a.Key != without[0] {
			text += fmt.Sprintf(" %s=%s", strings.TrimPrefix(string(a.Key), "cockroachdb."), a.Value.String())
		}
	}
	return text
}

// loseOnce runs a transaction that somebody else is faster than.
func loseOnce(ctx context.Context, db *sql.DB) {
	exec := func(db interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}, query string, args ...any,
	) {
		if _, err := db.ExecContext(ctx, query, args...); err != nil {
			log.Fatal(err)
		}
	}
	exec(db, "CREATE TABLE hits (page TEXT PRIMARY KEY, n INT NOT NULL)")
	exec(db, "INSERT INTO hits VALUES ('/', 0)")
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var page string
	if err := tx.QueryRowContext(ctx, "SELECT page FROM hits WHERE page = '/'").Scan(&page); err != nil {
		log.Fatal(err)
	}
	exec(db, "UPDATE hits SET n = n + 1 WHERE page = '/'") // somebody else
	exec(tx, "UPDATE hits SET n = n + 1 WHERE page = $1", page)
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
}
