package replay_test

import (
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// An application tells by the constraint's name whether it is the user's name or the address that is taken, and by the
// message what a function of its own has raised. A replay in which the other one is taken would have shown it
// something else.
func TestReplay_ErrorSaysSomethingElse_Diverges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change   func(*pgproto3.ErrorResponse)
		diverges bool
	}{
		"nothing":             {func(*pgproto3.ErrorResponse) {}, false},
		"place in the source": {func(e *pgproto3.ErrorResponse) { e.File, e.Line, e.Routine = "x.go", 1, "x" }, false},
		"constraint":          {func(e *pgproto3.ErrorResponse) { e.ConstraintName = "users_address" }, true},
		"message":             {func(e *pgproto3.ErrorResponse) { e.Message = "the balance is " + kit.Secret }, true},
		"detail": {
			func(e *pgproto3.ErrorResponse) { e.Detail = "Key (k)=(" + kit.Secret + ") already exists." }, true,
		},
		"hint":       {func(e *pgproto3.ErrorResponse) { e.Hint = kit.Secret }, true},
		"column":     {func(e *pgproto3.ErrorResponse) { e.ColumnName = "b" }, true},
		"table":      {func(e *pgproto3.ErrorResponse) { e.TableName = "b" }, true},
		"schema":     {func(e *pgproto3.ErrorResponse) { e.SchemaName = "b" }, true},
		"type":       {func(e *pgproto3.ErrorResponse) { e.DataTypeName = "b" }, true},
		"a boundary": {func(e *pgproto3.ErrorResponse) { e.TableName, e.ColumnName = "userst", "" }, true},
	} {
		for stage, at := range map[string]fakepg.Step{"executed": fakepg.AtExecute, "parsed": fakepg.AtParse} {
			t.Run(name+"/"+stage, func(t *testing.T) {
				t.Parallel()
				taken := func() *pgproto3.ErrorResponse {
					e := fakepg.Error("23505", "duplicate key value")
					e.ConstraintName, e.TableName, e.ColumnName = "users_name", "users", "t"
					return e
				}
				other, asked := taken(), &atomic.Bool{}
				tc.change(other)
				st := kit.Answering(t, func(s fakepg.Statement) fakepg.Reply {
					if s.SQL == "INSERT u" && (!s.Describing || at == fakepg.AtParse) {
						if !asked.Swap(true) {
							return fakepg.Reply{Err: taken(), ErrAt: at}
						}
						return fakepg.Reply{Err: other, ErrAt: at}
					}
					return kit.Script{"UPDATE c": {kit.Conflict, kit.OK}}.Reply(s)
				})
				tx := st.Begin(t)
				require.NoError(t, kit.ExecAll(tx, "SAVEPOINT s"))
				_, err := tx.QueryContext(t.Context(), "INSERT u")
				kit.WantCode(t, err, "23505")
				require.NoError(t, kit.ExecAll(tx, "ROLLBACK TO SAVEPOINT s"))
				err = kit.ExecAll(tx, "UPDATE c")
				if !tc.diverges {
					require.NoError(t, err)
					require.NoError(t, tx.Commit())
					return
				}
				kit.WantDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedError, Attempts: 2})
				st.WantEnded(t, tx)
			})
		}
	}
}
