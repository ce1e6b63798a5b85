package kit

import (
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// The statements that the driver adds.
const (
	Savepoint  = "SAVEPOINT cockroach_restart"
	RollbackTo = "ROLLBACK TO SAVEPOINT cockroach_restart"
	Release    = "RELEASE SAVEPOINT cockroach_restart"
)

// QueryModes are pgx's query execution modes, as a DSN names them.
var QueryModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

// Update is a statement without arguments, another one for each k.
func Update(k int) string { return fmt.Sprintf("UPDATE kv SET v = v + 1 WHERE k = %d", k) }

// A Script answers the nth run of a text with its nth reply. After the last one that repeats, or, if it is an error or
// a cut, success follows. Texts that it does not have succeed. A text is described by its first reply that has columns
// or parameters.
type Script map[string][]fakepg.Reply

// Reply is the answer to a statement.
func (s Script) Reply(st fakepg.Statement) fakepg.Reply {
	replies := s[st.SQL]
	switch {
	case len(replies) == 0:
		return OK
	case st.Describing:
		return described(replies)
	case st.Nth <= len(replies):
		return replies[st.Nth-1]
	}
	if last := replies[len(replies)-1]; last.Err == nil && last.Cut == fakepg.NoCut {
		return last
	}
	return OK
}

func described(replies []fakepg.Reply) fakepg.Reply {
	if replies[0].ErrAt == fakepg.AtParse {
		return replies[0]
	}
	i := slices.IndexFunc(replies, func(r fakepg.Reply) bool { return r.Columns != nil || r.ParamOIDs != nil })
	if i < 0 {
		return OK
	}
	return fakepg.Reply{Columns: replies[i].Columns, ParamOIDs: replies[i].ParamOIDs}
}

// Calling is s, but for one text, of which reply is called for the answer to each run; n is 0 where it is described.
func (s Script) Calling(text string, reply func(n int) fakepg.Reply) func(fakepg.Statement) fakepg.Reply {
	return func(st fakepg.Statement) fakepg.Reply {
		if st.SQL == text {
			return reply(st.Nth)
		}
		return s.Reply(st)
	}
}

// Replies.
var (
	OK       = fakepg.Reply{}
	Conflict = fakepg.Reply{Err: fakepg.Conflict()}
	Aborted  = fakepg.Reply{Err: fakepg.Aborted()}
	CutOff   = fakepg.Reply{Cut: fakepg.CutUnsent}
	Slow     = fakepg.Reply{Delay: time.Hour} // none, while the test runs
	Stale    = fakepg.Reply{Err: fakepg.Error("0A000", "cached plan must not change result type"), ErrAt: fakepg.AtBind}
)

// Fails is an error.
func Fails(code, message string) fakepg.Reply { return fakepg.Reply{Err: fakepg.Error(code, message)} }

// Fatal is an error that ends the connection.
func Fatal(code, message string) fakepg.Reply {
	return fakepg.Reply{Err: fakepg.Fatal(fakepg.Error(code, message))}
}

// Tag is success with a command tag.
func Tag(tag string) fakepg.Reply { return fakepg.Reply{Tag: tag} }

// Column is a result's one column.
func Column(name string, oid uint32) []fakepg.Column { return []fakepg.Column{{Name: name, OID: oid}} }

// Texts is a result of one column v of texts.
func Texts(values ...any) fakepg.Reply { return columnOf(pgtype.TextOID, values) }

// Ints is a result of one column v of integers.
func Ints(values ...int64) fakepg.Reply { return columnOf(pgtype.Int8OID, values) }

func columnOf[T any](oid uint32, values []T) fakepg.Reply {
	r := fakepg.Reply{Columns: Column("v", oid), Values: [][]any{}}
	for _, v := range values {
		r.Values = append(r.Values, []any{v})
	}
	return r
}

// BreakOff is r, ending in a conflict after some of its rows.
func BreakOff(r fakepg.Reply, afterRows int) fakepg.Reply {
	r.Err, r.ErrAfterRows = fakepg.Conflict(), afterRows
	return r
}

// ConflictOn are the replies of which these are conflicts, counted from 1, and the others success.
func ConflictOn(runs ...int) []fakepg.Reply {
	replies := make([]fakepg.Reply, slices.Max(runs))
	for _, n := range runs {
		replies[n-1] = Conflict
	}
	return replies
}

// IntOfEachRun are replies of one integer each.
func IntOfEachRun(values ...int64) []fakepg.Reply {
	var replies []fakepg.Reply
	for _, v := range values {
		replies = append(replies, Ints(v))
	}
	return replies
}

// Always are these replies, with the last repeated without an end, even if it is an error.
func Always(replies ...fakepg.Reply) []fakepg.Reply {
	return append(slices.Clone(replies), slices.Repeat(replies[len(replies)-1:], 1000)...)
}
