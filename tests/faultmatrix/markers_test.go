package faultmatrix_test

import (
	"database/sql"
	"errors"
	"slices"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // what makes the table
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// The dialects with commit markers: whoever asks learns what became of a commit.
const (
	ofMarkedCockroachDB dialect = "CockroachDB, with commit markers"
	ofMarkedPostgreSQL  dialect = "PostgreSQL, with commit markers"
)

func (m dialect) isPostgreSQL() bool {
	return slices.Contains([]dialect{ofPostgreSQL, ofMarkedPostgreSQL, ofLockingPostgreSQL}, m.server())
}

func (m dialect) isMarked() bool {
	return m.server() == ofMarkedCockroachDB || m.server() == ofMarkedPostgreSQL
}

// createCommitTable makes the table of markers.
func createCommitTable(t testing.TB, dsn string) {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, cockroachdb.CreateCommitTable(t.Context(), db))
}

// judgeMarked is judge with commit markers. An outcome that is called unknown is a mistake, since the server can be
// reached again after each fault; but for a text with a COMMIT in its middle, DDL, and a loop of the application's
// own on PostgreSQL, which have no marker.
func (s *variant) judgeMarked(r, clean *result, whole []string) (ending, error) {
	_, resultLost := errors.AsType[*cockroachdb.ResultLostError](r.err)
	_, ambiguous := errors.AsType[*cockroachdb.AmbiguousCommitError](r.err)
	switch {
	case resultLost:
		return judgeDone(r, whole, r.shown)
	case ambiguous && s.partly == nil && !s.isDDL() && (s.unmarked == nil || !s.unmarked(s.dialect)):
		return r.wrong("the outcome is called unknown, and the server can be asked")
	case r.err == nil:
		return judgeDone(r, whole, clean.shown)
	case ambiguous, s.partly != nil && s.perhaps(r.err):
		return s.judgeAmbiguous(r, whole)
	}
	return s.judgeRefused(r)
}

// TestFaultMatrix_WithCommitMarkers_NoOutcomeIsUnknown is TestFaultMatrix with commit markers. How often each ending
// came is in the log.
func TestFaultMatrix_WithCommitMarkers_NoOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	m, _ := runAll(t, markedVariants())
	t.Log(m.totals())
}

func markedVariants() (all []*variant) {
	for _, m := range []dialect{ofMarkedCockroachDB, ofMarkedPostgreSQL} {
		for _, p := range matrixTransactions {
			all = append(all, &variant{p, m, false, len(all)})
		}
	}
	return all
}
