package telemetry

import (
	"context"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/reprise-go/cockroachdb"
)

// AddEvents has a pool's retries, and the ends of transactions that met a conflict, appear as events on the span of the
// context: that of the statement, or of BeginTx. Err is left out, since it may quote keys.
func AddEvents(cfg *cockroachdb.Config) {
	cfg.OnRetry = func(ctx context.Context, e cockroachdb.RetryEvent) {
		trace.SpanFromContext(ctx).AddEvent("retry", attributes(e.Attempt, e.Reason, e.At, e.Statement, e.Wait))
	}
	cfg.OnSettled = func(ctx context.Context, e cockroachdb.OutcomeEvent) {
		trace.SpanFromContext(ctx).AddEvent("retried", attributes(e.Attempts, e.Reason, e.At, e.Statement, e.Wait),
			trace.WithAttributes(attribute.String("cockroachdb.outcome", string(e.Outcome))))
	}
}

func attributes(
	attempt int, reason cockroachdb.Reason, at cockroachdb.Place, statement int, wait time.Duration,
) trace.EventOption {
	return trace.WithAttributes(
		attribute.Int("cockroachdb.attempt", attempt),
		attribute.String("cockroachdb.reason", string(reason)),
		attribute.String("cockroachdb.at", string(at)),
		attribute.Int("cockroachdb.statement", statement),
		attribute.Float64("cockroachdb.wait", wait.Seconds()),
	)
}

// Tracer is otelpgx's, for ConnConfig.Tracer, whose spans say which attempt they belong to, from the second one on.
type Tracer struct{ *otelpgx.Tracer }

// TraceQueryStart implements [pgx.QueryTracer].
func (t Tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	ctx = t.Tracer.TraceQueryStart(ctx, conn, data)
	if attempt, replay := cockroachdb.AttemptFrom(ctx); attempt > 1 {
		trace.SpanFromContext(ctx).SetAttributes(
			attribute.Int("cockroachdb.attempt", attempt), attribute.Bool("cockroachdb.replay", replay))
	}
	return ctx
}
