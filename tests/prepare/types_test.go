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

// A retyping is a migration that gives the one column of a table another type, and an argument of before and one of
// after it.
type retyping struct {
	table         string
	made, changed []string
	before, after any
}

func (r *retyping) insert() string { return "INSERT INTO " + r.table + " VALUES ($1)" }

var retypings = []retyping{
	{
		"bigger",
		[]string{"CREATE TABLE bigger (v INT)"},
		[]string{"ALTER TABLE bigger ALTER COLUMN v TYPE BIGINT"},
		1, 3_000_000_000,
	},
	{
		"texts",
		[]string{"CREATE TABLE texts (v INT)"},
		[]string{"ALTER TABLE texts ALTER COLUMN v TYPE TEXT"},
		1, "x",
	},
	{
		"moods",
		[]string{"CREATE TYPE mood AS ENUM ('a')", "CREATE TABLE moods (v mood)"},
		[]string{
			"CREATE TYPE mood_2 AS ENUM ('a', 'b')",
			"ALTER TABLE moods ALTER COLUMN v TYPE mood_2 USING v::text::mood_2", "DROP TYPE mood",
		},
		"a", "b",
	},
}

const keptStmt = "a kept Stmt"

// A way to run a statement with an argument. kept was prepared before the column was changed; only keptStmt has it.
type way func(ctx context.Context, db *sql.DB, kept *sql.Stmt, text string, arg any) error

var ways = map[string]way{
	"db": func(ctx context.Context, db *sql.DB, _ *sql.Stmt, text string, arg any) error {
		_, err := db.ExecContext(ctx, text, arg)
		return err
	},
	"tx": func(ctx context.Context, db *sql.DB, _ *sql.Stmt, text string, arg any) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		if _, err := tx.ExecContext(ctx, text, arg); err != nil {
			return err
		}
		return tx.Commit()
	},
	keptStmt: func(ctx context.Context, _ *sql.DB, kept *sql.Stmt, _ string, arg any) error {
		_, err := kept.ExecContext(ctx, arg)
		return err
	},
	"a Stmt prepared again": preparedAgain,
}

func preparedAgain(ctx context.Context, db *sql.DB, _ *sql.Stmt, text string, arg any) error {
	st, err := db.PrepareContext(ctx, text)
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.ExecContext(ctx, arg)
	return err
}

// What was learnt of a statement is unlearnt by the first error that it may have caused: as with pgx, a connection
// fails once at most.
func TestColumnRetyped_FailsOnceAtMost(t *testing.T) {
	t.Parallel()
	dsn, schemas := enginetest.NewDirectDB(t), 0
	for _, mode := range kit.QueryModes {
		for name, run := range ways {
			schemas++
			own := kit.WithParams(dsn, fmt.Sprint("search_path=own_", schemas))
			makeSchema := fmt.Sprint("CREATE SCHEMA own_", schemas)
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				admin, db := kit.Open(t, own), kit.Open(t, own, "default_query_exec_mode="+mode)
				db.SetMaxOpenConns(1)
				kit.Exec(t, admin, makeSchema)
				for _, r := range retypings {
					require.NoError(t, kit.ExecAll(admin, r.made...))
					var kept *sql.Stmt
					if name == keptStmt {
						var err error
						kept, err = db.PrepareContext(t.Context(), r.insert())
						require.NoError(t, err)
						defer kept.Close()
					}
					require.NoError(t, run(t.Context(), db, kept, r.insert(), r.before))
					require.NoError(t, kit.ExecAll(admin, r.changed...))
					written := 4
					if err := run(t.Context(), db, kept, r.insert(), r.after); err == nil {
						written++
					}
					for range 3 {
						require.NoError(t, run(t.Context(), db, kept, r.insert(), r.after), r.table)
					}
					assert.Equal(t, written, kit.Scan[int](t, admin, "SELECT count(*) FROM "+r.table))
				}
			})
		}
	}
}

// An application that closes its Stmt and prepares the text again asks for what is true now.
func TestColumnRetyped_PreparedAgain_FailsNever(t *testing.T) {
	t.Parallel()
	dsn := enginetest.NewDirectDB(t)
	admin, db := kit.Open(t, dsn), kit.Open(t, dsn)
	db.SetMaxOpenConns(1)
	for _, r := range retypings {
		require.NoError(t, kit.ExecAll(admin, r.made...))
		require.NoError(t, preparedAgain(t.Context(), db, nil, r.insert(), r.before))
		require.NoError(t, kit.ExecAll(admin, r.changed...))
		require.NoError(t, preparedAgain(t.Context(), db, nil, r.insert(), r.after), r.table)
	}
}
