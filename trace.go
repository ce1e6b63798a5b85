package cockroachdb

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// tracing calls the tracer of pgx's ConnConfig as pgx does.
type tracing struct {
	query   pgx.QueryTracer
	prepare pgx.PrepareTracer
}

func newTracing(tracer pgx.QueryTracer) tracing {
	t := tracing{query: tracer}
	t.prepare, _ = tracer.(pgx.PrepareTracer)
	return t
}

// traceEnd ends what start began.
type traceEnd func(*pgx.Conn, pgconn.CommandTag, error)

func untraced(*pgx.Conn, pgconn.CommandTag, error) {}

// start begins the trace of a statement. The context is the one to run it with.
func (t *tracing) start(ctx context.Context, pc *pgx.Conn, sql string, args []any) (context.Context, traceEnd) {
	if t.query == nil {
		return ctx, untraced
	}
	ctx = t.query.TraceQueryStart(ctx, pc, pgx.TraceQueryStartData{SQL: sql, Args: args})
	return ctx, func(pc *pgx.Conn, tag pgconn.CommandTag, err error) {
		t.query.TraceQueryEnd(ctx, pc, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
	}
}

// alreadyPrepared is the trace of a Prepare that finds its text prepared.
func (t *tracing) alreadyPrepared(ctx context.Context, pc *pgx.Conn, p *prepared) {
	if t.prepare == nil {
		return
	}
	ctx = t.prepare.TracePrepareStart(ctx, pc, pgx.TracePrepareStartData{Name: p.name, SQL: p.desc.SQL})
	t.prepare.TracePrepareEnd(ctx, pc, pgx.TracePrepareEndData{AlreadyPrepared: true})
}
