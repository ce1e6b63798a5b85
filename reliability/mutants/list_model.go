package mutants

import "github.com/reprise-go/cockroachdb/reliability/history"

const (
	model     = "internal/crdbmodel/"
	modelSelf = driver + "/internal/crdbmodel"
)

// contention is the random histories of the model of CockroachDB's concurrency control, and what they find: one of
// these.
func contention(classes ...history.Class) Instrument {
	i := Test("../contention", "TestModel_RandomHistories_AreSerializable")
	for _, c := range classes {
		i.SaysAny = append(i.SaysAny, "anomaly: "+string(c)+":")
	}
	return i
}

// ofModel are bugs of the model, which has to be found wrong in its turn: an instrument that contends in another way
// than CockroachDB measures nothing.
var ofModel = []Mutant{
	{
		Name: "model: a refresh does not look at what was read", File: model + "txn.go",
		Old:   "	if t.hasBeenOverwritten() {\n",
		New:   "	if t.hasBeenOverwritten() && false {\n",
		Found: []Instrument{contention(history.LostUpdate, history.ReadSkew)},
	},
	{
		Name: "model: writes are not moved above reads", File: model + "txn.go",
		Old:   "		if m.by != t && m.at >= t.writeAt {\n",
		New:   "		if m.by != t && m.at >= t.writeAt && false {\n",
		Found: []Instrument{contention(history.Internal), Test(modelSelf, "TestWriteSkew_OneCommitConflicts")},
	},
	{
		Name: "model: an INSERT is not moved above the reads of its span", File: model + "txn.go",
		Old:   "	if len(r.versions) == 0 {\n",
		New:   "	if len(r.versions) < 0 {\n",
		Found: []Instrument{Test(modelSelf, "TestPhantom_InsertIntoASpanThatWasRead_Conflicts")},
	},
	{
		Name: "model: readers do not wait for intents", File: model + "txn.go",
		Old: "		return r.intent.at <= t.readAt\n",
		New: "		return false\n",
		Found: []Instrument{
			contention(history.Internal), Test(modelSelf, "TestRead_OfAnIntentBelow_WaitsAndSeesTheCommit"),
		},
	},
	{
		Name: "model: ROLLBACK TO gives the locks up", File: model + "txn.go",
		Old:   "	t.undo(0)\n	t.forgetReads()\n",
		New:   "	t.undo(0)\n	t.session.e.release(t)\n	t.forgetReads()\n",
		Found: []Instrument{Test(modelSelf, "TestLock_AfterConflict_StaysUntilRollback")},
	},
	{
		Name: "model: locks are given to the last to come", File: model + "locks.go",
		Old:   "		r.writers = append(r.writers, w)\n",
		New:   "		r.writers = append([]*waiter{w}, r.writers...)\n",
		Found: []Instrument{Test(modelSelf, "TestLock_ManyWaiters_GetItInTheOrderOfTheirArrival")},
	},
	{
		Name: "model: a transaction that commits can be aborted", File: model + "locks.go",
		Old:   "t.high && !other.high && !other.committing }",
		New:   "t.high && !other.high }",
		Found: []Instrument{Test(modelSelf, "TestPriorityHigh_AgainstACommit_Waits")},
	},
	{
		Name: "model: the server retries what it has answered", File: model + "session.go",
		Old:   "	for isConflict(err) && !s.sent {\n",
		New:   "	for isConflict(err) {\n",
		Found: []Instrument{Test(modelSelf, "TestServerRetry_AfterAnAnswerWasSent_IsNone")},
	},
	{
		Name: "model: sessions share their instants", File: model + "clock.go",
		Old:   "	mine := time.Duration(session) % tick\n",
		New:   "	mine := time.Duration(session) % 1\n",
		Found: []Instrument{Test(modelSelf, "TestRepeatability_SameSeed_SameCourse")},
	},
}
