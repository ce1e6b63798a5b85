package program

import "github.com/reprise-go/cockroachdb/internal/crdbsim"

// A Server is what the simulator plays.
type Server int

// The servers. What they do differently, the model does too.
const (
	CockroachDB      Server = iota // v24.2, the latest without triggers
	NewerCockroachDB               // v25.4, where DDL commits what is open
	PostgreSQL
	Cluster // three nodes of v24.2, each of which goes away and comes back
	Pooled  // PostgreSQL behind a PgBouncer in transaction mode, which has fewer connections to it than there are programs
)

// Servers are all of them.
var Servers = []Server{CockroachDB, NewerCockroachDB, PostgreSQL, Cluster, Pooled}

const (
	version      = "CockroachDB crdbsim v24.2.10 (PostgreSQL underneath)"
	newerVersion = "CockroachDB crdbsim v25.4.3 (PostgreSQL underneath)"
)

func (s Server) String() string {
	return []string{"CockroachDB", "CockroachDB v25.4", "PostgreSQL", "CockroachDB cluster", "PgBouncer"}[s]
}

func (s Server) config() crdbsim.Config {
	switch s {
	case PostgreSQL, Pooled:
		return crdbsim.Config{PostgreSQL: true}
	case NewerCockroachDB:
		return crdbsim.Config{Version: newerVersion}
	}
	return crdbsim.Config{Version: version}
}

// settingsSurvive reports whether a SET is undone by no rollback.
func (s Server) settingsSurvive() bool { return !s.isPostgreSQL() }

// schemaChangesCommit reports whether DDL commits the open transaction, and stands alone.
func (s Server) schemaChangesCommit() bool { return s == NewerCockroachDB }

// showsCommitTimestamp reports whether SHOW COMMIT TIMESTAMP is known, which commits.
func (s Server) showsCommitTimestamp() bool { return !s.isPostgreSQL() }

// retriesFirst reports whether the server retries the first statement of a transaction, as of a later time.
func (s Server) retriesFirst() bool { return !s.isPostgreSQL() }

func (s Server) isPostgreSQL() bool { return s == PostgreSQL || s == Pooled }
