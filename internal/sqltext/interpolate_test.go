package sqltext

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// text returns arguments; nil stands for NULL.
func text(args ...any) [][]byte {
	var values [][]byte
	for _, arg := range args {
		if arg == nil {
			values = append(values, nil)
		} else {
			values = append(values, []byte(arg.(string)))
		}
	}
	return values
}

// alikeCases are those in which interpolate does as pgx does.
var alikeCases = []struct {
	sql  string
	args []any
}{
	{"select 1", nil},
	{"", nil},
	{"select $1", []any{"x"}},
	{"select $1::text", []any{""}},
	{"select $1", []any{nil}},
	{"select $1, $2, $1", []any{"a", "b"}},
	{"select $10", []any{"1", "2", "3", "4", "5", "6", "7", "8", "9", "ten"}},
	{"select $10, $1, $2, $3, $4, $5, $6, $7, $8, $9", []any{"1", "2", "3", "4", "5", "6", "7", "8", "9", "ten"}},
	{"select $1", []any{"it's"}},
	{"select $1", []any{"''"}},
	{"select $1", []any{`\'; drop table t; --`}},
	{"select $1", []any{"$1 é € 𝄞"}},
	{"select $1", []any{"\xff"}},
	{"select 1-$1", []any{"-1"}}, // GHSA-m7wr-2xf7-cm9p
	{"select 1-$1, $2", []any{"-1", "foo\n--"}},
	{"limit$1", []any{"1"}},
	{"select e$1", []any{"a"}},
	{"select '$1', $1", []any{"x"}},
	{"select 'it''s $1', $1", []any{"x"}},
	{`select '\', $1, '\'`, []any{"x"}},
	{`select E'\'$1', e'$1', $1`, []any{"x"}},
	{`select E'\\', $1`, []any{"x"}},
	{`select "$1", "a""$1", $1`, []any{"x"}},
	{"select $$ $1 $$, $1", []any{"x"}},
	{"select $a$ $$ $1 $b$ $a$, $1", []any{"x"}},
	{"select $é1$ $1 $é1$, $1", []any{"x"}},
	{"select $1$$ $1 $$", []any{"x"}},
	{"select 1 -- $1 '\n, $1", []any{"x"}},
	{"select 1 -- $1\r\n, $1", []any{"x"}},
	{"select $1 -- $1", []any{"x"}},
	{"select /* $1 /* ' */ $1 */ $1", []any{"x"}},
	{"select like'%', $1", []any{"x"}},
	{"select 'é', $1, \"€\"", []any{"x"}},
	{"select $1 + $1 > $2;select $2", []any{"a", "b"}},
	// not closed: the server will say so
	{"select $1, '", []any{"x"}},
	{"select $1, \"", []any{"x"}},
	{"select $1, E'\\'", []any{"x"}},
	{"select $1, $$ $1", []any{"x"}},
	{"select $1 /* $1", []any{"x"}},
	// errors
	{"select $1", nil},
	{"select $2", []any{"x"}},
	{"select 1", []any{"x"}},
	{"select $2", []any{"x", "y"}},
	{"select '$1'", []any{"x"}},
	{"select $0", []any{"x"}},
	{"select $0", nil},
	{"select $4294967297", []any{"x"}},
	{"select $18446744073709551617", []any{"x"}},
	{"select $92233720368547758070", []any{"x"}},
}

func TestInterpolateLikePgx(t *testing.T) {
	asPgx := pgxInterpolator(t)
	for _, test := range alikeCases {
		want, wantErr := asPgx(test.sql, test.args)
		got, err := Interpolate(test.sql, text(test.args...))
		assert.Equal(t, wantErr == nil, err == nil, "%q: %v, pgx: %v", test.sql, err, wantErr)
		assert.Equal(t, want, got, "%q", test.sql)
	}
}

func TestInterpolateErrors(t *testing.T) {
	for _, test := range []struct {
		sql  string
		args [][]byte
		want string
	}{
		{"select $3", text("a", "b"), "no argument for parameter $3: there are 2 arguments"},
		{"select $0", text("a"), "no argument for parameter $0"},
		{"select $2", text("a", "b"), "argument $1 is not used"},
		{"select $1\x00", text("a"), "NUL"},
		{"select $1", text("a\x00b"), "argument $1 holds a NUL"},
		{"select '\xff', $1", text("a"), "not valid UTF-8"},
		// what servers, or pgx, read differently
		{"select 1 -- x\r, $1", text("\n; drop table t"), "disagree"},
		{"select a #--'\n $1 '", text("; drop table t; --"), "disagree"},
		{"select 4 //* $1 */ 2", text("a"), "disagree"},
		{`select b'\' $1 '`, text("; drop table t; --"), "disagree"},
		{`select 'a' like'a\' || $1 || 'b'`, text("x"), "disagree"},
		{"select E'a'\n$1", text(`\'; drop table t; --`), "disagree"},
		{"select E'a'\n'\\' || $1 || ''", text("x"), "disagree"},
		{"select a$$ $1 $$", text("$$; drop table t"), "disagree"},
		{"select $ $1", text("a"), "disagree"},
	} {
		got, err := Interpolate(test.sql, test.args)
		assert.ErrorContains(t, err, test.want, "%q", test.sql)
		assert.Empty(t, got)
	}
}

// FuzzInterpolate holds interpolate against pgx, and its result against both servers' reading of it: an argument is one
// literal and can't be more, whatever is in it.
func FuzzInterpolate(f *testing.F) {
	for _, test := range alikeCases {
		args := append(slices.Clone(test.args), "a", "b")
		first, _ := args[0].(string)
		second, _ := args[1].(string)
		f.Add(test.sql, first, second, uint8(len(test.args)))
	}
	f.Add("select E'a'\n$1", `\'; drop table t; --`, "", uint8(1))
	f.Add("select a #--'\n $1 '", "; drop table t; --", "", uint8(1))
	asPgx := pgxInterpolator(f)
	f.Fuzz(func(t *testing.T, sql, first, second string, n uint8) {
		checkInterpolate(t, asPgx, sql, []any{first, second, nil}[:n%4])
	})
}

func TestInterpolateRandomSQL(t *testing.T) {
	asPgx := pgxInterpolator(t)
	for range randomRuns {
		checkInterpolate(t, asPgx, randomSQL(), []any{randomSQL()})
	}
}

func checkInterpolate(t *testing.T, asPgx interpolator, sql string, args []any) {
	got, err := Interpolate(sql, text(args...))
	if err == nil || !whereWeDiffer(err.Error()) {
		want, wantErr := asPgx(sql, args)
		if (err == nil) != (wantErr == nil) || got != want {
			t.Fatalf("%q: %q, %v; pgx: %q, %v", sql, got, err, want, wantErr)
		}
	}
	if err != nil {
		return
	}
	harmless, err := Interpolate(sql, text([]any{"x", "y", nil}[:len(args)]...))
	require.NoError(t, err)
	for server, reader := range sqlReaders {
		want, readable := reader.read(harmless)
		if kinds, ok := reader.read(got); readable && (!ok || !slices.Equal(kinds, want)) {
			t.Fatalf("%q reads %q to %s, with harmless arguments %q", got, kinds, server, want)
		}
	}
}

// whereWeDiffer reports whether an error is one that interpolate returns and pgx does not.
func whereWeDiffer(message string) bool {
	for _, ours := range []string{"NUL", "not valid UTF-8", "disagree"} {
		if strings.Contains(message, ours) {
			return true
		}
	}
	return false
}

// An interpolator says what is sent to a server for sql and args in the simple protocol.
type interpolator func(sql string, args []any) (string, error)

// pgxInterpolator returns pgx's.
func pgxInterpolator(tb testing.TB) interpolator {
	client, server := net.Pipe()
	queries := make(chan string, 1)
	go answerQueries(server, queries)
	config, err := pgx.ParseConfig("host=fake user=u database=d sslmode=disable")
	require.NoError(tb, err)
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"fake"}, nil }
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return client, nil }
	conn, err := pgx.ConnectConfig(context.Background(), config)
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, conn.Close(context.Background())) })

	return func(sql string, args []any) (string, error) {
		rows, err := conn.Query(context.Background(), sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
		rows.Close()
		if err != nil {
			return "", err
		}
		return <-queries, nil
	}
}

// answerQueries is a server that does nothing but say what it was asked.
func answerQueries(conn net.Conn, queries chan<- string) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
	backend.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
	for {
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if backend.Flush() != nil {
			return
		}
		message, err := backend.Receive()
		if err != nil {
			return
		}
		query, ok := message.(*pgproto3.Query)
		if !ok {
			return
		}
		queries <- query.String
		backend.Send(&pgproto3.EmptyQueryResponse{})
	}
}
