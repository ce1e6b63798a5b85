package wire

import (
	"context"
	"fmt"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

var (
	oneColumn = fakepg.TextColumns("n")
	oneField  = []pgconn.FieldDescription{{Name: "n", DataTypeOID: pgtype.TextOID}}
	bound     = &pgproto3.BindComplete{}
	noData    = &pgproto3.NoData{}
	notice    = &pgproto3.NoticeResponse{Severity: "NOTICE", Message: "by the way"}
	status    = &pgproto3.ParameterStatus{Name: "TimeZone", Value: "Mars"}
)

type script []pgproto3.BackendMessage

func tag(s string) *pgproto3.CommandComplete {
	return &pgproto3.CommandComplete{CommandTag: []byte(s)}
}

func row(s string) *pgproto3.DataRow { return fakepg.TextRow(s) }

// TestExchange_IsAsPgconn: of an answer an exchange returns what pgconn does, and closes a connection as pgconn does.
func TestExchange_IsAsPgconn(t *testing.T) {
	for name, test := range map[string]struct {
		form    Form
		fields  []pgconn.FieldDescription
		answer  script
		end     func(*fakepg.Conn) // instead of ReadyForQuery
		ctx     func(context.Context) (context.Context, context.CancelFunc)
		answers time.Duration // by when the server is to answer
	}{
		"rows": {
			fields: oneField, answer: script{bound, oneColumn, row("a"), row("b"), row("c"), tag("SELECT 3")},
		},
		"other columns than before": {
			fields: oneField, answer: script{bound, fakepg.TextColumns("m", "n"), fakepg.TextRow("a", "b"), tag("SELECT 1")},
		},
		"rows without columns": {fields: oneField, answer: script{bound, row("a"), row("b"), tag("SELECT 2")}},
		"no row":               {fields: oneField, answer: script{bound, oneColumn, tag("SELECT 0")}},
		"rows that describe themselves": {
			answer: script{bound, fakepg.TextColumns("x"), row("a"), row("b"), tag("FETCH 2")},
		},
		"no row, described": {answer: script{bound, fakepg.TextColumns("x"), tag("SELECT 0")}},
		"text": {
			form:   Unnamed,
			answer: script{&pgproto3.ParseComplete{}, bound, fakepg.TextColumns("x"), row("a"), tag("SELECT 1")},
		},
		"a change":   {answer: script{bound, noData, tag("UPDATE 7")}},
		"no command": {answer: script{bound, noData, &pgproto3.EmptyQueryResponse{}}},
		"other messages between": {
			fields: oneField,
			answer: script{notice, bound, status, oneColumn, row("a"), notice, row("b"), status, tag("SELECT 2"), notice},
		},
		"an error":            {answer: script{fakepg.Error("42601", "syntax error")}},
		"an error after rows": {fields: oneField, answer: script{bound, oneColumn, row("a"), fakepg.Conflict()}},
		"an error after the tag": {
			answer: script{bound, noData, tag("INSERT 0 1"), fakepg.Error("23503", "deferred")},
		},
		"two tags":            {answer: script{bound, noData, tag("UPDATE 1"), tag("UPDATE 2")}},
		"a row after the tag": {fields: oneField, answer: script{bound, oneColumn, tag("SELECT 0"), row("a")}},
		"a fatal error": {
			fields: oneField, end: (*fakepg.Conn).Close,
			answer: script{bound, oneColumn, row("a"), fakepg.Fatal(fakepg.Error("57P01", "shutting down"))},
		},
		"the end of the connection": {end: (*fakepg.Conn).Close},
		"the end amid rows": {
			fields: oneField, end: (*fakepg.Conn).Close, answer: script{bound, oneColumn, row("a"), row("b")},
		},
		"a deadline": {end: silent, ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Millisecond)
		}},
		"a deadline amid rows": {
			fields: oneField, answer: script{bound, oneColumn, row("a")}, end: silent,
			ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 10*time.Millisecond)
			},
		},
		"a context that is cancelled": {end: silent, ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(10*time.Millisecond, cancel)
			return ctx, cancel
		}},
		"a context that is cancelled later": {
			fields: oneField, answer: script{bound, oneColumn, row("a"), tag("SELECT 1")}, ctx: context.WithCancel,
		},
		"silence": {end: silent, answers: 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			run := func(exchange bool) string {
				server := fakepg.Start(t, func(c *fakepg.Conn) {
					for {
						c.ReceiveUntilSync()
						c.Send(test.answer...)
						if test.end == nil {
							c.Ready('I')
							continue
						}
						c.Flush()
						test.end(c)
					}
				})
				s := sessionOf(t, server)
				require.NotNil(t, s.exchange.background, "pgx reads from something else now")
				if !exchange {
					s.exchange.background, s.exchange.socket = nil, false
				}
				p := NewPrepared(true, "FETCH ALL FROM c", sqltext.Class{}, &pgconn.StatementDescription{Fields: test.fields})
				p.onServer = true
				st := p.Statement(test.form)
				require.Equal(t, exchange, s.exchange.takes(&st))

				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if test.ctx != nil {
					ctx, cancel = test.ctx(ctx)
				}
				defer cancel()
				if test.answers > 0 {
					s.AnswerBy(ctx, time.Now().Add(test.answers))
				}
				return outcomeOf(ctx, server, s, &st)
			}
			assert.Equal(t, run(false), run(true))
		})
	}
}

// silent waits for the client to go away.
func silent(c *fakepg.Conn) { c.Receive() }

func sessionOf(t *testing.T, server *fakepg.Server) *Session {
	cfg, err := pgx.ParseConfig(server.DSN())
	require.NoError(t, err)
	cfg.DialFunc, cfg.LookupFunc = server.Dial, server.Lookup
	last := Watch(cfg)
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return NewSession(conn, last)
}

// outcomeOf runs the statement and describes all that can be seen of its answer, but the client's address.
func outcomeOf(ctx context.Context, server *fakepg.Server, s *Session, st *Statement) string {
	said := ""
	say := func(format string, args ...any) { said += fmt.Sprintf(format+"\n", args...) }

	a, reach, err := s.Send(ctx, nil, st)
	say("sent: %v, %v, busy: %v", reach, err, s.unable(context.Background()))
	for a.Next() {
		say("row: %q, columns: %+v", a.Row(), a.Fields())
	}
	say("columns: %+v", a.Fields())
	tag, err := a.Close()
	say("tag: %s, error: %T %v, done: %v, timeout: %t", tag, err, err, ctx.Err(), pgconn.Timeout(err))
	say("closed: %t, status: %c, TimeZone: %s", s.Closed(), s.Status(), s.PG.ParameterStatus("TimeZone"))
	if s.Closed() {
		<-s.PG.CleanupDone()
		say("cancel requests: %d", server.Cancels())
		return regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(said, "address")
	}
	say("ping: %v", s.Ping(context.Background()))
	return said
}

// A server that writes before it reads is read, even where nothing has a buffer.
func TestExchange_ServerWritesFirst_IsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := fakepg.Start(t, func(c *fakepg.Conn) {
			for {
				c.Send(notice)
				c.Flush()
				c.ReceiveUntilSync()
				c.Send(bound, noData, tag("UPDATE 1"))
				c.Ready('I')
			}
		}, fakepg.InMemory())
		s := sessionOf(t, server)
		p := NewPrepared(true, "FETCH ALL FROM c", sqltext.Class{}, &pgconn.StatementDescription{})
		p.onServer = true
		st := p.Statement(Named)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			a, _, err := s.Send(ctx, nil, &st)
			require.NoError(t, err)
			tag, err := a.Close()
			require.NoError(t, err)
			assert.Equal(t, "UPDATE 1", tag.String())
			cancel()
		}
	})
}
