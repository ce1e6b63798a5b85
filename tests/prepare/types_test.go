package prepare_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const insertTyped = "INSERT INTO typed VALUES ($1)"

// A retyping is a migration that gives the column of the table typed another type, and an argument of before and one of
// after it.
type retyping struct {
	name          string
	made, changed []string
	before, after any
}

var retypings = []retyping{
	{
		"int to bigint",
		[]string{"CREATE TABLE typed (v INT)"},
		[]string{"ALTER TABLE typed ALTER COLUMN v TYPE BIGINT"},
		1, 3_000_000_000,
	},
	{
		"int to text",
		[]string{"CREATE TABLE typed (v INT)"},
		[]string{"ALTER TABLE typed ALTER COLUMN v TYPE TEXT"},
		1, "x",
	},
	{
		"an enum made anew",
		[]string{"CREATE TYPE mood AS ENUM ('a')", "CREATE TABLE typed (v mood)"},
		[]string{
			"CREATE TYPE mood_2 AS ENUM ('a', 'b')",
			"ALTER TABLE typed ALTER COLUMN v TYPE mood_2 USING v::text::mood_2", "DROP TYPE mood",
		},
		"a", "b",
	},
}

const keptStmt = "a kept Stmt"

// A way to run a statement with an argument. kept was prepared before the column was changed; only keptStmt has it.
type way func(ctx context.Context, db *sql.DB, kept *sql.Stmt, arg any) error

var ways = map[string]way{
	"db": func(ctx context.Context, db *sql.DB, _ *sql.Stmt, arg any) error {
		_, err := db.ExecContext(ctx, insertTyped, arg)
		return err
	},
	"tx": func(ctx context.Context, db *sql.DB, _ *sql.Stmt, arg any) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, insertTyped, arg); err != nil {
			return err
		}
		return tx.Commit()
	},
	keptStmt: func(ctx context.Context, _ *sql.DB, kept *sql.Stmt, arg any) error {
		_, err := kept.ExecContext(ctx, arg)
		return err
	},
	"a Stmt prepared again": preparedAgain,
}

func preparedAgain(ctx context.Context, db *sql.DB, _ *sql.Stmt, arg any) error {
	st, err := db.PrepareContext(ctx, insertTyped)
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.ExecContext(ctx, arg)
	return err
}

// newTyped gives a test a schema of its own in a database with the table typed in it, and two pools: the one that
// changes the table, and one of one connection with these parameters.
func newTyped(t *testing.T, dsn, schema string, r retyping, params string) (admin, db *sql.DB) {
	t.Helper()
	dsn = kit.WithParams(dsn, "search_path="+schema)
	admin, db = kit.Open(t, dsn), kit.Open(t, kit.WithParams(dsn, params))
	db.SetMaxOpenConns(1)
	require.NoError(t, kit.ExecAll(admin, append([]string{"CREATE SCHEMA " + schema}, r.made...)...))
	return admin, db
}

// What was learnt of a statement is unlearnt by the first error that it may have caused: as with pgx, a connection
// fails once at most.
func TestColumnRetyped_FailsOnceAtMost(t *testing.T) {
	t.Parallel()
	dsn, schemas := enginetest.NewDirectDB(t), 0
	for _, mode := range kit.QueryModes {
		for name, run := range ways {
			for _, r := range retypings {
				schemas++
				schema := fmt.Sprint("typed_", schemas)
				t.Run(mode+"/"+name+"/"+r.name, func(t *testing.T) {
					t.Parallel()
					admin, db := newTyped(t, dsn, schema, r, "default_query_exec_mode="+mode)
					var kept *sql.Stmt
					if name == keptStmt {
						var err error
						kept, err = db.PrepareContext(t.Context(), insertTyped)
						require.NoError(t, err)
						defer kept.Close()
					}
					require.NoError(t, run(t.Context(), db, kept, r.before))
					require.NoError(t, kit.ExecAll(admin, r.changed...))
					written := 1
					if err := run(t.Context(), db, kept, r.after); err == nil {
						written++
					}
					for range 3 {
						require.NoError(t, run(t.Context(), db, kept, r.after))
						written++
					}
					assert.Equal(t, written, kit.Scan[int](t, admin, "SELECT count(*) FROM typed"))
				})
			}
		}
	}
}

// An application that closes its Stmt and prepares the text again asks for what is true now.
func TestColumnRetyped_PreparedAgain_FailsNever(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	for i, r := range retypings {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			admin, db := newTyped(t, dsn, fmt.Sprint("typed_", i), r, "")
			require.NoError(t, preparedAgain(t.Context(), db, nil, r.before))
			require.NoError(t, kit.ExecAll(admin, r.changed...))
			require.NoError(t, preparedAgain(t.Context(), db, nil, r.after))
		})
	}
}
