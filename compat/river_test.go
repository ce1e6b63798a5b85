package compat

import (
	"database/sql"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// riverMail is a job. To River those with the same receiver are one, if that is asked for.
type riverMail struct {
	To string `json:"to" river:"unique"`
}

func (riverMail) Kind() string { return "mail" }

// onlyOnce are the options of a job that is to be inserted once.
var onlyOnce = &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}

func openRiver(t *testing.T, dsn string) (*sql.DB, *river.Client[*sql.Tx]) {
	t.Helper()
	db, err := sql.Open("cockroachdb", dsn)
	require.NoError(t, err)
	closing(t, db)
	migrator, err := rivermigrate.New(riverdatabasesql.New(db), nil)
	require.NoError(t, err)
	_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	client, err := river.NewClient(riverdatabasesql.New(db), &river.Config{})
	require.NoError(t, err)
	return db, client
}

// riverJobs returns the keys of the jobs in the database, by receiver.
func riverJobs(t *testing.T, b bank) map[string]int64 {
	t.Helper()
	rows, err := b.rival.QueryContext(t.Context(), "SELECT args->>'to', id FROM river_job")
	require.NoError(t, err)
	defer rows.Close()
	jobs := map[string]int64{}
	for rows.Next() {
		var to string
		var id int64
		require.NoError(t, rows.Scan(&to, &id))
		jobs[to] = id
	}
	require.NoError(t, rows.Err())
	return jobs
}

// TestRiverConflict: InsertTx has told the application of the keys of jobs, and a replay inserts the same.
func TestRiverConflict(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db, client := openRiver(t, b.dsn)
	before, err := client.Insert(t.Context(), riverMail{To: "ann"}, onlyOnce)
	require.NoError(t, err)

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	one, err := client.InsertTx(t.Context(), tx, riverMail{To: "bob"}, nil)
	require.NoError(t, err)
	several, err := client.InsertManyTx(t.Context(), tx, []river.InsertManyParams{
		{Args: riverMail{To: "cid"}},
		{Args: riverMail{To: "ann"}, InsertOpts: onlyOnce},
		{Args: riverMail{To: "dot"}, InsertOpts: &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)}},
	})
	require.NoError(t, err)
	require.NoError(t, draw(t.Context(), t, b, tx))
	require.NoError(t, tx.Commit())

	b.mustHaveAbsorbed(t)
	assert.EqualValues(t, 2, b.counted(t, "cockroachdb_pinned_statements_total"))
	assert.True(t, several[1].UniqueSkippedAsDuplicate)
	assert.Equal(t, map[string]int64{
		"ann": before.Job.ID, "bob": one.Job.ID, "cid": several[0].Job.ID, "dot": several[2].Job.ID,
	}, riverJobs(t, b))
	assert.Equal(t, before.Job.ID, several[1].Job.ID)
}

// TestRiverRunTx completes a job, and inserts another, in the transaction of what it did.
func TestRiverRunTx(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	db, client := openRiver(t, b.dsn)
	once := b.rivalDrawsOnce(t)
	var job *rivertype.JobInsertResult
	require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) (err error) {
		if job, err = client.InsertTx(t.Context(), tx, riverMail{To: "bob"}, nil); err != nil {
			return err
		}
		var balance int64
		if err := tx.QueryRow("SELECT balance FROM accounts WHERE owner = 'bob'").Scan(&balance); err != nil {
			return err
		}
		once()
		_, err = tx.Exec("UPDATE accounts SET balance = $1 WHERE owner = 'bob'", balance-1)
		return err
	}))
	b.mustHaveAbsorbed(t)
	assert.Equal(t, map[string]int64{"bob": job.Job.ID}, riverJobs(t, b))
}

func TestRiverConstraint(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	_, client := openRiver(t, b.dsn)
	b.mustExec(t, "ALTER TABLE river_job ADD CHECK (args->>'to' <> '')")
	_, err := client.Insert(t.Context(), riverMail{}, nil)
	requireCode(t, err, "23514")
}
