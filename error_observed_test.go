package cockroachdb_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
)

// An application tells by the constraint's name whether it is the user's name or the address that is taken, and by the message what a
// function of its own has raised. A replay in which the other one is taken would have shown it something else.
func TestWhatAnErrorSaysIsObserved(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change   func(*pgproto3.ErrorResponse)
		diverges bool
	}{
		"nothing":             {func(*pgproto3.ErrorResponse) {}, false},
		"place in the source": {func(e *pgproto3.ErrorResponse) { e.File, e.Line, e.Routine = "x.go", 1, "x" }, false},
		"constraint":          {func(e *pgproto3.ErrorResponse) { e.ConstraintName = "users_address" }, true},
		"message":             {func(e *pgproto3.ErrorResponse) { e.Message = "the balance is " + secret }, true},
		"detail":              {func(e *pgproto3.ErrorResponse) { e.Detail = "Key (k)=(" + secret + ") already exists." }, true},
		"hint":                {func(e *pgproto3.ErrorResponse) { e.Hint = secret }, true},
		"column":              {func(e *pgproto3.ErrorResponse) { e.ColumnName = "b" }, true},
		"table":               {func(e *pgproto3.ErrorResponse) { e.TableName = "b" }, true},
		"schema":              {func(e *pgproto3.ErrorResponse) { e.SchemaName = "b" }, true},
		"type":                {func(e *pgproto3.ErrorResponse) { e.DataTypeName = "b" }, true},
		"a boundary":          {func(e *pgproto3.ErrorResponse) { e.TableName, e.ColumnName = "userst", "" }, true},
	} {
		for stage, at := range map[string]fakepg.Step{"executed": fakepg.AtExecute, "parsed": fakepg.AtParse} {
			t.Run(name+"/"+stage, func(t *testing.T) {
				t.Parallel()
				taken := func() *pgproto3.ErrorResponse {
					e := fakepg.Error("23505", "duplicate key value")
					e.ConstraintName, e.TableName, e.ColumnName = "users_name", "users", "t"
					return e
				}
				other, asked := taken(), &atomicOnce{}
				tc.change(other)
				st := newStageWith(t, func(s fakepg.Statement) fakepg.Reply {
					if s.SQL == "INSERT u" && (!s.Describing || at == fakepg.AtParse) {
						if asked.first() {
							return fakepg.Reply{Err: taken(), ErrAt: at}
						}
						return fakepg.Reply{Err: other, ErrAt: at}
					}
					return playbook{"UPDATE c": {lost, won}}.answer(s)
				})
				tx := st.begin(t)
				require.NoError(t, execAll(tx, "SAVEPOINT s"))
				_, err := tx.QueryContext(t.Context(), "INSERT u")
				requireCode(t, err, "23505")
				require.NoError(t, execAll(tx, "ROLLBACK TO SAVEPOINT s"))
				err = execAll(tx, "UPDATE c")
				if !tc.diverges {
					require.NoError(t, err)
					require.NoError(t, tx.Commit())
					return
				}
				requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedError, Attempts: 2})
				st.mustEnd(t, tx)
			})
		}
	}
}

// With data: the name that was taken is free now, and the address is not.
func TestAnotherConstraintOnData(t *testing.T) {
	t.Parallel()
	a := newRealArena(t)
	mustExec(t, a.rival, "CREATE TABLE users (name TEXT UNIQUE, address TEXT UNIQUE)")
	mustExec(t, a.rival, "INSERT INTO users VALUES ('ann', 'x')")
	tx := a.begin(t)
	mustExec(t, tx, "SAVEPOINT s")
	_, err := tx.ExecContext(t.Context(), "INSERT INTO users VALUES ('ann', 'y')")
	requireCode(t, err, "23505")
	mustExec(t, tx, "ROLLBACK TO SAVEPOINT s")
	err = a.provoke(t, tx, "DELETE FROM users", "INSERT INTO users VALUES ('bob', 'y')")
	requireDivergence(t, err, cockroachdb.DivergenceError{Statement: 2, Kind: cockroachdb.DivergedError, Attempts: 2})
	a.mustEnd(t, tx)
}
