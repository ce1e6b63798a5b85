package faultmatrix_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// byBegin is CockroachDB without the driver's restart savepoint.
const byBegin dialect = "CockroachDB, retry_restart=begin"

// matrixParams are a DSN's keys for the servers of a dialect.
var matrixParams = map[dialect]string{
	byBegin:             "&retry_restart=begin",
	ofMarkedCockroachDB: "&retry_commit_marker=on",
	ofMarkedPostgreSQL:  "&retry_commit_marker=on",

	ofLockingCockroachDB: "&retry_learn_locks=on",
	ofLockingPostgreSQL:  "&retry_learn_locks=on&default_query_exec_mode=exec&default_transaction_isolation=serializable",
}

// What is run without the savepoint: a transaction of each kind that the savepoint could matter to.
var withoutSavepoint = []string{
	"single write", "read, then write", "several statements", "savepoint, rolled back to", "error survived",
	"stream, left open", "prepared, by turns", "DDL", "own COMMIT", "RunTx", "rolled back",
}

// TestFaultMatrix_RestartByBegin is TestFaultMatrix for some of its transactions, without the restart savepoint. How
// often each ending came is in the log.
func TestFaultMatrix_RestartByBegin(t *testing.T) {
	t.Parallel()
	var all []*variant
	for _, p := range matrixTransactions {
		if !slices.Contains(withoutSavepoint, p.name) {
			continue
		}
		all = append(all, &variant{p, byBegin, false, len(all)})
		if !p.careful {
			all = append(all, &variant{p, byBegin, true, len(all)})
		}
	}
	require.Greater(t, len(all), len(withoutSavepoint), "a transaction has another name")
	m, _ := runAll(t, all)
	t.Log(m.totals())
}
