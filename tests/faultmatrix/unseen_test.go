package faultmatrix_test

import "testing"

// execUnseen is execStep without a look at the number of affected rows.
func execUnseen(k int) step {
	return func(p *runner) error {
		_, err := p.tx.ExecContext(p.ctx, insertNote, k, value(k))
		if err == nil {
			writes(k)(p)
		}
		return err
	}
}

// Transactions of whose statements only the success is seen: a commit that loses goes with the replay.
var unseenTransactions = []transaction{
	{name: "a write, unseen", run: txOf(execUnseen(1)), careful: true, thorough: true},
	{name: "writes, unseen", run: txOf(execUnseen(1), execUnseen(2)), careful: true},
}

// TestFaultMatrix_NothingSeen is TestFaultMatrix for these. How often each ending came is in the log.
func TestFaultMatrix_NothingSeen(t *testing.T) {
	t.Parallel()
	var all []*variant
	for _, p := range unseenTransactions {
		all = append(all, &variant{p, ofCockroachDB, false, len(all)})
	}
	m, _ := runAll(t, all)
	t.Log(m.totals())
}
