package telemetry

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

const releaseSQL = "RELEASE SAVEPOINT cockroach_restart"

// A scope is a pool on a server that has each of the given texts lose once, and the spans that come of it.
type scope struct {
	*sql.DB
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
}

// newScope makes the pool by open, from a Config whose hooks add events to spans.
func newScope(t *testing.T, losing []string, open func(*cockroachdb.Config, trace.TracerProvider) *sql.DB) scope {
	t.Helper()
	srv := fakepg.Start(t, fakepg.Answer(func(st fakepg.Statement) fakepg.Reply {
		switch {
		case !st.Describing && st.Nth == 1 && slices.Contains(losing, st.SQL):
			return fakepg.Reply{Err: fakepg.Conflict()}
		case strings.HasPrefix(st.SQL, "SELECT"):
			return fakepg.Reply{Columns: []fakepg.Column{{Name: "v"}}, Values: [][]any{{"7"}}}
		}
		return fakepg.Reply{}
	}))
	cfg, err := cockroachdb.ParseConfig(srv.DSN() + "&retry_initial_backoff=0s&default_query_exec_mode=exec")
	require.NoError(t, err)
	AddEvents(cfg)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	s := scope{open(cfg, provider), spans, provider.Tracer("test")}
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	s.SetMaxOpenConns(1)
	return s
}

func mustOpen(cfg *cockroachdb.Config) *cockroachdb.Connector {
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		panic(err)
	}
	return connector
}

// request runs do in a span, and gives the tree of spans that it has made: each below its parent, indented, with its
// events.
func (s scope) request(t *testing.T, do func(ctx context.Context)) []string {
	t.Helper()
	require.NoError(t, s.PingContext(t.Context())) // connected, so that no span is about that
	ctx, span := s.tracer.Start(t.Context(), "request")
	do(ctx)
	span.End()
	for _, started := range s.spans.Started() {
		assert.False(t, started.EndTime().IsZero(), "%s has not ended", started.Name())
	}
	return tree(s.spans.Started(), span.SpanContext().SpanID(), "")
}

// tree shows the spans below a parent, in the order in which they began, with the events of the parent before them.
func tree(all []sdktrace.ReadWriteSpan, parent trace.SpanID, indent string) []string {
	var lines []string
	for _, span := range all {
		if span.SpanContext().SpanID() == parent {
			for _, e := range span.Events() {
				if e.Name != "exception" {
					lines = append(lines, indent+"* "+e.Name+attributesOf(e.Attributes, "cockroachdb.wait"))
				}
			}
		}
	}
	for _, span := range all {
		if span.Parent().SpanID() == parent {
			line := indent + strings.ReplaceAll(span.Name(), " cockroach_restart", "")
			for _, a := range span.Attributes() {
				if key, ours := strings.CutPrefix(string(a.Key), "cockroachdb."); ours {
					line += fmt.Sprintf(" %s=%s", key, a.Value.String())
				}
			}
			lines = append(lines, line)
			lines = append(lines, tree(all, span.SpanContext().SpanID(), indent+"  ")...)
		}
	}
	return lines
}

// transfer is a transaction of three statements.
func transfer(t *testing.T, db *sql.DB) func(context.Context) {
	return func(ctx context.Context) {
		tx, err := db.BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, "UPDATE a")
		require.NoError(t, err)
		var v string
		require.NoError(t, tx.QueryRowContext(ctx, "SELECT v").Scan(&v))
		_, err = tx.ExecContext(ctx, "UPDATE b")
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
	}
}

func withOtelpgx(cfg *cockroachdb.Config, provider trace.TracerProvider) *sql.DB {
	cfg.ConnConfig.Tracer = Tracer{
		otelpgx.NewTracer(otelpgx.WithTracerProvider(provider), otelpgx.WithFullSQLInSpanName()),
	}
	return sql.OpenDB(mustOpen(cfg))
}

// Below the driver: a span for each statement that the application runs, for the driver's own, and for each that is
// replayed, which says so and stands below the statement that met the conflict.
func TestOtelpgx(t *testing.T) {
	t.Parallel()
	s := newScope(t, []string{"UPDATE b", releaseSQL}, withOtelpgx)
	assert.Equal(t, []string{
		"* retry attempt=3 reason=serializable at=commit statement=0",
		"* retried attempt=3 reason=serializable at=commit statement=0 outcome=committed",
		"UPDATE a",
		"  BEGIN",
		"  SAVEPOINT",
		"SELECT v",
		"UPDATE b",
		"  * retry attempt=2 reason=serializable at=statement statement=3",
		"  ROLLBACK TO SAVEPOINT attempt=2 replay=true",
		"  UPDATE a attempt=2 replay=true",
		"  SELECT v attempt=2 replay=true",
		"RELEASE SAVEPOINT attempt=2 replay=false",
		"ROLLBACK TO SAVEPOINT attempt=3 replay=true",
		"UPDATE a attempt=3 replay=true",
		"SELECT v attempt=3 replay=true",
		"UPDATE b attempt=3 replay=true",
		"RELEASE SAVEPOINT attempt=3 replay=false",
		"COMMIT attempt=3 replay=false",
	}, s.request(t, transfer(t, s.DB)))
}

func TestOtelpgxOutside(t *testing.T) {
	t.Parallel()
	s := newScope(t, []string{"UPDATE a"}, withOtelpgx)
	assert.Equal(t, []string{
		"UPDATE a",
		"  * retry attempt=2 reason=serializable at=statement statement=1",
		"  * retried attempt=2 reason=serializable at=statement statement=1 outcome=committed",
	}, s.request(t, func(ctx context.Context) {
		_, err := s.ExecContext(ctx, "UPDATE a")
		require.NoError(t, err)
	}))
}

// withOtelsql leaves out the span of BeginTx: its context is the transaction's, and it has ended by the time of the
// commit, so that events added to it would be lost.
func withOtelsql(cfg *cockroachdb.Config, provider trace.TracerProvider) *sql.DB {
	return otelsql.OpenDB(mustOpen(cfg), otelsql.WithTracerProvider(provider), otelsql.WithSpanOptions(otelsql.SpanOptions{
		OmitConnResetSession: true, OmitRows: true,
		SpanFilter: func(_ context.Context, method otelsql.Method, _ string, _ []driver.NamedValue) bool {
			return method != otelsql.MethodConnBeginTx
		},
	}))
}

// Above the driver: one span for each call of the application, however often the driver runs its statement. Events
// tell of that.
func TestOtelsql(t *testing.T) {
	t.Parallel()
	quiet := newScope(t, nil, withOtelsql)
	assert.Equal(t, []string{"sql.conn.exec", "sql.conn.query", "sql.conn.exec", "sql.tx.commit"},
		quiet.request(t, transfer(t, quiet.DB)))

	s := newScope(t, []string{"UPDATE b", releaseSQL}, withOtelsql)
	assert.Equal(t, []string{
		"* retry attempt=3 reason=serializable at=commit statement=0",
		"* retried attempt=3 reason=serializable at=commit statement=0 outcome=committed",
		"sql.conn.exec", "sql.conn.query",
		"sql.conn.exec",
		"  * retry attempt=2 reason=serializable at=statement statement=3",
		"sql.tx.commit",
	}, s.request(t, transfer(t, s.DB)))
}

// With otelsql's own defaults all is the same, but for the events of Commit.
func TestOtelsqlWithSpansOfBeginTx(t *testing.T) {
	t.Parallel()
	s := newScope(t, []string{"UPDATE b", releaseSQL},
		func(cfg *cockroachdb.Config, provider trace.TracerProvider) *sql.DB {
			return otelsql.OpenDB(mustOpen(cfg), otelsql.WithTracerProvider(provider))
		})
	assert.Equal(t, []string{
		"sql.conn.reset_session", "sql.conn.begin_tx", "sql.conn.exec", "sql.conn.query", "sql.rows",
		"sql.conn.exec",
		"  * retry attempt=2 reason=serializable at=statement statement=3",
		"sql.tx.commit",
	}, s.request(t, transfer(t, s.DB)))
}

// RunTx finds its transaction through otelsql: a span for each call of a statement, by each call of the function.
func TestOtelsqlRunTx(t *testing.T) {
	t.Parallel()
	s, calls := newScope(t, []string{"UPDATE b"}, withOtelsql), 0
	assert.Equal(t, []string{
		"* retried attempt=2 reason=serializable at=statement statement=2 outcome=committed",
		"sql.conn.exec",
		"sql.conn.exec",
		"  * retry attempt=2 reason=serializable at=statement statement=2",
		"sql.conn.exec", // the order to commit
		"sql.tx.commit",
	}, s.request(t, func(ctx context.Context) {
		require.NoError(t, cockroachdb.RunTx(ctx, s.DB, nil, func(tx *sql.Tx) error {
			calls++
			if _, err := tx.ExecContext(ctx, "UPDATE a"); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "UPDATE b")
			return err
		}))
	}))
	assert.Equal(t, 1, calls)
}

// Both: otelsql's span for the call, otelpgx's below it for what the driver makes of it.
func TestOtelsqlAboveAndOtelpgxBelow(t *testing.T) {
	t.Parallel()
	s := newScope(t, []string{"UPDATE b"}, func(cfg *cockroachdb.Config, provider trace.TracerProvider) *sql.DB {
		cfg.ConnConfig.Tracer = Tracer{
			otelpgx.NewTracer(otelpgx.WithTracerProvider(provider), otelpgx.WithFullSQLInSpanName()),
		}
		return withOtelsql(cfg, provider)
	})
	assert.Equal(t, []string{
		"* retried attempt=2 reason=serializable at=statement statement=3 outcome=committed",
		"sql.conn.exec", "  UPDATE a", "    BEGIN", "    SAVEPOINT",
		"sql.conn.query", "  SELECT v",
		"sql.conn.exec", "  UPDATE b",
		"    * retry attempt=2 reason=serializable at=statement statement=3",
		"    ROLLBACK TO SAVEPOINT attempt=2 replay=true",
		"    UPDATE a attempt=2 replay=true", "    SELECT v attempt=2 replay=true",
		"sql.tx.commit",
		"RELEASE SAVEPOINT attempt=2 replay=false", "COMMIT attempt=2 replay=false",
	}, s.request(t, transfer(t, s.DB)))
}

// No argument comes into a span by a replay: otelpgx is shown them once, when the application runs the statement.
func TestOtelpgxParameters(t *testing.T) {
	t.Parallel()
	s := newScope(t, []string{"UPDATE b"}, func(cfg *cockroachdb.Config, provider trace.TracerProvider) *sql.DB {
		cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(provider), otelpgx.WithIncludeQueryParameters())
		return sql.OpenDB(mustOpen(cfg))
	})
	s.request(t, func(ctx context.Context) {
		tx, err := s.BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, "UPDATE a SET v = $1", pgx.QueryExecModeExec, "s3cr3t")
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, "UPDATE b")
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
	})
	times := 0
	for _, span := range s.spans.Ended() {
		times += strings.Count(fmt.Sprint(span.Attributes(), span.Events()), "s3cr3t")
	}
	assert.Equal(t, 1, times)
}
