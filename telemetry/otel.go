package telemetry

import (
	"context"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/reprise-go/cockroachdb"
)

// AddEvents has a pool's retries, and the ends of transactions that needed some, appear as events on the span of the context: that of
// the statement, or of BeginTx.
func AddEvents(cfg *cockroachdb.Config) {
	cfg.OnRetry = func(ctx context.Context, e cockroachdb.RetryEvent) {
		trace.SpanFromContext(ctx).AddEvent("retry", trace.WithAttributes(attributes(e)...))
	}
	cfg.OnRetried = func(ctx context.Context, e cockroachdb.RetryEvent) {
		trace.SpanFromContext(ctx).AddEvent("retried", trace.WithAttributes(attributes(e)...))
	}
}

// attributes leaves out Err, which may quote keys.
func attributes(e cockroachdb.RetryEvent) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		attribute.Int("cockroachdb.attempt", e.Attempt),
		attribute.String("cockroachdb.reason", e.Reason),
		attribute.String("cockroachdb.at", e.At),
		attribute.Int("cockroachdb.statement", e.Statement),
		attribute.Float64("cockroachdb.wait", e.Wait.Seconds()),
	}
	if e.Outcome != "" {
		attrs = append(attrs, attribute.String("cockroachdb.outcome", e.Outcome))
	}
	return attrs
}

// Tracer is otelpgx's, for ConnConfig.Tracer, whose spans say which attempt they belong to, from the second one on.
type Tracer struct{ *otelpgx.Tracer }

// TraceQueryStart implements [pgx.QueryTracer].
func (t Tracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	ctx = t.Tracer.TraceQueryStart(ctx, conn, data)
	if attempt, replay := cockroachdb.AttemptFrom(ctx); attempt > 1 {
		trace.SpanFromContext(ctx).SetAttributes(attribute.Int("cockroachdb.attempt", attempt), attribute.Bool("cockroachdb.replay", replay))
	}
	return ctx
}
