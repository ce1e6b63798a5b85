package cockroachdb

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/wire"
)

// AttemptFrom says of the context that a pgx tracer is given which attempt of its transaction the statement belongs
// to, from 1, and whether the statement is a part of a replay: run again by the driver, not by the application. What
// the driver begins a replay with, such as ROLLBACK TO SAVEPOINT, belongs to it.
//
// The statement that met the conflict runs again, too, but it goes on under the trace that it has, until it is
// answered. Where RunTx calls its function again, what that runs is a further attempt and no replay. A context that
// does not come from this driver says 1 and false.
func AttemptFrom(ctx context.Context) (attempt int, replay bool) {
	m := markIn(ctx)
	return m.attempt, m.replay
}

// mark is what AttemptFrom says.
type mark struct {
	attempt int
	replay  bool
}

type markKey struct{}

func markIn(ctx context.Context) mark {
	if m, ok := ctx.Value(markKey{}).(mark); ok {
		return m
	}
	return mark{attempt: 1}
}

// marked puts the mark of what t is about to run on ctx, for a tracer. It may bear that of another transaction, or of
// an earlier attempt.
func (t *tx) marked(ctx context.Context) context.Context {
	if t == nil {
		return ctx
	}
	if m := (mark{t.attempt.number, t.attempt.replaying}); m != markIn(ctx) {
		return context.WithValue(ctx, markKey{}, m)
	}
	return ctx
}

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

// A traced is a statement whose trace has begun. The zero value is one without a tracer.
type traced struct {
	tracer pgx.QueryTracer
	ctx    context.Context
}

// noTag is the tag of a statement that was not sent.
var noTag pgconn.CommandTag

// start begins the trace of a statement of of. The context is the one to run it with.
func (t *tracing) start(ctx context.Context, pc *pgx.Conn, of *tx, sql string, args []any) (context.Context, traced) {
	if t.query == nil {
		return ctx, traced{}
	}
	ctx = t.query.TraceQueryStart(of.marked(ctx), pc, pgx.TraceQueryStartData{SQL: sql, Args: args})
	return ctx, traced{t.query, ctx}
}

// end ends the trace.
func (t traced) end(pc *pgx.Conn, tag pgconn.CommandTag, err error) {
	if t.tracer != nil {
		t.tracer.TraceQueryEnd(t.ctx, pc, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
	}
}

// startPrepare begins the trace of a Parse. named says that it is to be prepared under a name; which, is known once the
// server has described it.
func (t *tracing) startPrepare(
	ctx context.Context, pc *pgx.Conn, of *tx, named bool, sql string,
) (context.Context, func(error)) {
	if t.prepare == nil {
		return ctx, func(error) {}
	}
	name := ""
	if named {
		name = wire.NamePrefix
	}
	ctx = t.prepare.TracePrepareStart(of.marked(ctx), pc, pgx.TracePrepareStartData{Name: name, SQL: sql})
	return ctx, func(err error) { t.prepare.TracePrepareEnd(ctx, pc, pgx.TracePrepareEndData{Err: err}) }
}

// alreadyPrepared is the trace of a Prepare that finds its text prepared.
func (t *tracing) alreadyPrepared(ctx context.Context, pc *pgx.Conn, of *tx, p *wire.Prepared) {
	if t.prepare == nil {
		return
	}
	ctx = t.prepare.TracePrepareStart(of.marked(ctx), pc, pgx.TracePrepareStartData{Name: p.Name, SQL: p.Desc.SQL})
	t.prepare.TracePrepareEnd(ctx, pc, pgx.TracePrepareEndData{AlreadyPrepared: true})
}

// ofControl is the trace of the statements of the driver's own; nil without a tracer.
func (c *conn) ofControl() wire.ControlTracer {
	if c.trace.query == nil {
		return nil
	}
	return controlTracing{c}
}

type controlTracing struct{ c *conn }

func (t controlTracing) Start(ctx context.Context, sql string) context.Context {
	ctx, _ = t.c.trace.start(ctx, t.c.session.Pgx, t.c.tx, sql, nil)
	return ctx
}

func (t controlTracing) End(ctx context.Context, tag pgconn.CommandTag, err error) {
	traced{t.c.trace.query, ctx}.end(t.c.session.Pgx, tag, err)
}
