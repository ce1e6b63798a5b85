package cockroachdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/reprise-go/cockroachdb/internal/pgerr"
)

// DefaultCommitTable is the name of the table of commit markers where none is given.
const DefaultCommitTable = "commit_markers"

// tableName matches the names that a table of commit markers may have.
var tableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

func isTableName(name string) bool { return tableName.MatchString(name) }

// CreateCommitTable makes the table that Config.CommitMarker needs, unless it is there, and makes it ready for use
// again after it was truncated. Its name is [DefaultCommitTable], or the one that is given. On CockroachDB rows expire
// after a day (row-level TTL); on PostgreSQL the driver deletes those that have, when a process makes its first
// connection.
//
// db may be a pool of this driver, even one that has CommitMarker set and can't connect yet for want of the table.
// The user needs the privilege to create tables. Those who use the table need SELECT, INSERT, UPDATE and DELETE. It may
// be called at any time, and by several processes at once.
func CreateCommitTable(ctx context.Context, db *sql.DB, name ...string) error {
	table := DefaultCommitTable
	if len(name) > 0 {
		table = name[0]
	}
	if len(name) > 1 || !isTableName(table) {
		return errors.New("cockroachdb: CreateCommitTable takes one name of a table at most: letters, digits and underscores, after a schema and a dot if need be")
	}
	ctx = context.WithValue(WithoutRetries(ctx), withoutTableKey{}, true)
	create := "CREATE TABLE IF NOT EXISTS " + quoteTable(table) + " (id UUID PRIMARY KEY, " +
		"refused BOOL NOT NULL DEFAULT false, expires_at TIMESTAMPTZ DEFAULT now() + INTERVAL '1 day')"
	_, err := db.ExecContext(ctx, create+" WITH (ttl_expiration_expression = 'expires_at', ttl_job_cron = '@hourly')")
	code := pgerr.SQLState(err)
	if code == invalidParameter || code == invalidTableOption { // PostgreSQL, and CockroachDB before v22.2
		_, err = db.ExecContext(ctx, create)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, fmt.Sprintf("INSERT INTO %[1]s (id, expires_at) SELECT gen_random_uuid(), NULL "+
			"WHERE NOT EXISTS (SELECT 1 FROM %[1]s WHERE expires_at IS NULL)", quoteTable(table)))
	}
	if err != nil {
		return fmt.Errorf("cockroachdb: making the table %s of commit markers: %w", table, err)
	}
	return nil
}

const (
	invalidParameter   = "22023"
	invalidTableOption = "42601"
)

// outcomeKept is for how long after a commit its outcome can be asked for: half of the time after which its marker
// expires.
const outcomeKept = 12 * time.Hour

// CommitOutcome asks what became of the commit that err, or an error in it, says is unknown: an [AmbiguousCommitError]
// of a pool with Config.CommitMarker. It reports whether the transaction is committed. If it is not, it never will be:
// it can be run again. An error means that there is no answer (yet).
//
// It may be asked as often as wanted, by several at once and by other processes, which get err as text
// ([AmbiguousCommitError.MarshalText]), up to 12 hours after the commit. db is a pool on the same database, with this
// driver or another. The question waits for a transaction that is still under way; ctx bounds that.
func CommitOutcome(ctx context.Context, db *sql.DB, err error) (committed bool, _ error) {
	ambiguous, ok := errors.AsType[*AmbiguousCommitError](err)
	if !ok || ambiguous.mark == nil {
		return false, errNoMark
	}
	m := ambiguous.mark
	if age := time.Since(m.at); age > outcomeKept {
		return false, fmt.Errorf("cockroachdb: the outcome of a commit can be asked for %v, and %v have passed",
			outcomeKept, age.Round(time.Minute))
	}
	for {
		var refused bool
		row := db.QueryRowContext(WithoutRetries(ctx), m.known.question(), m.key.String(), m.known.epoch.String())
		err := row.Scan(&refused)
		switch {
		case err == nil:
			return !refused, nil
		case errors.Is(err, sql.ErrNoRows):
			return false, fmt.Errorf("cockroachdb: the table %s of commit markers was truncated since the commit: its outcome can't be found out", m.table.name)
		case ctx.Err() != nil, !pgerr.IsConflict(err) && !asksAgain(err):
			return false, fmt.Errorf("cockroachdb: asking for the outcome of a commit: %w", err)
		}
		if err := sleep(ctx, ctx, redialPause); err != nil {
			return false, err
		}
	}
}

// asksAgain reports whether the question itself was lost.
func asksAgain(err error) bool {
	_, ambiguous := errors.AsType[*AmbiguousCommitError](err)
	return ambiguous || pgerr.IsConnectionLost(err)
}

var errNoMark = errors.New("cockroachdb: the error has no commit marker: it is no AmbiguousCommitError of a connection with retry_commit_marker=on, or comes from a transaction that has none")
