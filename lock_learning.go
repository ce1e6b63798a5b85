package cockroachdb

import "errors"

// LockLearning says in which transactions reads learn to lock; see Config.LearnLocks.
type LockLearning string

// Where reads learn to lock.
const (
	// LearnLocksInRunTx is for transactions of [RunTx] on CockroachDB. It is the default.
	LearnLocksInRunTx LockLearning = "runtx"

	// LearnLocksAlways is for all transactions, on PostgreSQL too.
	LearnLocksAlways LockLearning = "on"

	// LearnLocksNever adds no lock.
	LearnLocksNever LockLearning = "off"
)

// validate returns an error if l is none of them. Empty means the default.
func (l LockLearning) validate() error {
	switch l {
	case "", LearnLocksInRunTx, LearnLocksAlways, LearnLocksNever:
		return nil
	}
	return errors.New("cockroachdb: Config.LearnLocks is not a LockLearning: use LearnLocksInRunTx, LearnLocksAlways or LearnLocksNever")
}
