package cockroachdb

import "sync/atomic"

// calmAfter is after how many commits without a conflict RunTx does without the restart savepoint.
const calmAfter = 256

// calm counts the commits of a connector since one of its transactions last met a conflict. It may be used by any
// number of goroutines.
type calm struct{ commits atomic.Int64 }

func (c *calm) committed() {
	if !c.lasts() {
		c.commits.Add(1)
	}
}

func (c *calm) disturbed() { c.commits.Store(0) }

func (c *calm) lasts() bool { return c.commits.Load() >= calmAfter }

// spareSavepoint has a transaction of RunTx begin without the restart savepoint while there are no conflicts: two
// statements less for the server. If it meets one after all, it begins anew without its locks and with another now(),
// and its function is called again where that shows. Unchanged code would see an error there, and has the savepoint.
func (t *tx) spareSavepoint() {
	if t.runner != nil && t.opening.savepoint && t.pool.calm.lasts() {
		t.opening.mayHave, t.opening.savepoint = false, false
		t.openFresh(false)
	}
}
