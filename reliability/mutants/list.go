package mutants

import (
	"slices"

	"github.com/reprise-go/cockroachdb/reliability/history"
	"github.com/reprise-go/cockroachdb/reliability/program"
)

// All are the bugs that are planted. What they have in common: the driver goes on as if nothing were wrong.
var All = slices.Concat(ofDriver, ofModel)

var ofDriver = []Mutant{
	// Verification.
	{
		Name: "a changed row is not noticed", File: "replay.go",
		Old:   "	if is == was {\n",
		New:   "	if is == was || r.rows > 0 {\n",
		Found: []Instrument{Scenarios(history.LostUpdate, history.WriteSkew, history.NotLinearizable, history.LostWrite)},
	},
	{
		Name: "only the first replay is verified", File: "replay.go",
		Old:   "	return wire.Answer{}, t.compareDone(ctx, n, r, a, err)\n",
		New:   "	if t.attempt.number > 2 && err == nil {\n		_, err := a.Close()\n		return wire.Answer{}, err\n	}\n	return wire.Answer{}, t.compareDone(ctx, n, r, a, err)\n",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},
	{
		Name: "the rows read before the one that lost are only skipped", File: "replay.go",
		Old:   "		differs, err = r.compareRows(&a)\n	}\n	switch {\n	case t.unlocksAgain",
		New:   "		for i := int64(0); i < r.rows && a.Next(); i++ {\n		}\n	}\n	switch {\n	case t.unlocksAgain",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},
	{
		Name: "too few rows are not noticed", File: "replay.go",
		Old:   "			return &DivergenceError{Kind: DivergedEndOfRows, Row: n + 1}, err\n",
		New:   "			return nil, err\n",
		Found: []Instrument{Scenarios(history.NobodyOnCall)},
	},
	{
		Name: "that the end of the rows was seen is not noted", File: "rows.go",
		Old:   "		r.rec.end = true // even if an error comes in its place\n",
		New:   "",
		Found: []Instrument{Test(kinds, "TestEndOfRowsSeen_MoreInTheReplay_Diverges")},
	},
	{
		Name: "the number of affected rows is not compared", File: "replay.go",
		Old:   "	if err == nil && r.asked && tag.RowsAffected() != r.affected {\n",
		New:   "	if err == nil && r.asked && tag.RowsAffected() < 0 {\n",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},
	{
		Name: "that an error has become a success is not noticed", File: "replay.go",
		Old:   "	case code != r.code && (err != nil || rows == nil || !r.shown):\n",
		New:   "	case code != r.code && err != nil:\n",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},

	// What was seen without being read, and what can no longer be served from a new attempt.
	{
		Name: "the end of an empty result is forgotten", File: "rows.go",
		Old:   "	if r.over {\n		rec.end = true\n",
		New:   "	if r.over {\n",
		Found: []Instrument{Programs(program.CockroachDB, "open results", 150, program.Shown)},
	},
	{
		Name: "a commit whose answer was lost is repeated whatever was written", File: "marker.go",
		Old:   "t.seesAll() && !t.history.wrote }",
		New:   "t.seesAll() }",
		Found: []Instrument{Test(driver+"/tests/failover", "TestFailover_OnceTheCommitIsSent_Ambiguous")},
	},
	{
		Name: "an error in answer to the question for a commit ends the asking", File: "marker.go",
		Old:   "	return answer, err != nil && !pgerr.IsInvalid(err)\n",
		New:   "	return answer, false\n",
		Found: []Instrument{Test(driver+"/tests/exactlyonce", "TestCommit_QuestionFails_IsAskedAgain")},
	},
	{
		Name: "a question that is answered with 26000 is not asked again", File: "marker.go",
		Old:   "err != nil && !pgerr.IsInvalid(err)\n",
		New:   "err != nil && !pgerr.IsRefusal(err)\n",
		Found: []Instrument{Test(driver+"/tests/exactlyonce", "TestCommit_QuestionFails_IsAskedAgain")},
	},
	{
		Name: "what a cursor does counts as nothing written", File: "marker.go",
		Old:   "\"CLOSE\", \"PREPARE\",",
		New:   "\"DECLARE\", \"FETCH\", \"MOVE\", \"CLOSE\", \"PREPARE\",",
		Found: []Instrument{Programs(program.CockroachDB, "cursors", 150, program.Twice, program.Phantom)},
	},
	{
		Name: "a SELECT counts as nothing written", File: "marker.go",
		Old:   "\"CLOSE\", \"PREPARE\",",
		New:   "\"SELECT\", \"CLOSE\", \"PREPARE\",",
		Found: []Instrument{Programs(program.CockroachDB, "cursors", 150, program.Twice, program.Phantom)},
	},
	{
		Name: "a SET outside a transaction whose answer is lost counts as a write", File: "failover.go",
		Old:   "!f.class.EndsWithSession()):",
		New:   "!f.class.Reads):",
		Found: []Instrument{Test(driver+"/tests/failover", "TestFailover_OutsideATransaction_SetIsRunAgain")},
	},
	{
		Name: "rows of what is not committed yet are shown", File: "rows.go",
		Old:   "		r.keep(t.policy.MaxBytes)\n",
		New:   "		r.ahead = r.read()\n",
		Found: []Instrument{Test(driver+"/tests/exactlyonce", "TestAlone_Returning_ShownOnceCommitted")},
	},
	{
		Name: "a cursor is thought to write nothing", File: "marker.go",
		Old: "		\"CLOSE\", \"PREPARE\",",
		New: "		\"CLOSE\", \"FETCH\", \"MOVE\", \"PREPARE\",",
		Found: []Instrument{
			Test(driver+"/tests/failover", "TestFailover_CommitAfterACursor_Ambiguous"),
		},
	},
	{
		Name: "a text of several statements gets a commit marker", File: "marker.go",
		Old:   "!class.DDL && !class.Several && s.Form",
		New:   "!class.DDL && s.Form",
		Found: []Instrument{Test(driver+"/tests/faultmatrix", "TestFaultMatrix_WithCommitMarkers_NoOutcomeIsUnknown")},
	},
	{
		Name: "a statement outside a transaction that was only parsed may have been run", File: "prepare.go",
		Old: "		f.refused = isLostWith(t.session(), err)\n",
		New: "",
		Found: []Instrument{
			Test(driver+"/tests/failover", "TestFailover_OutsideATransaction_WhileItIsPrepared_Unseen"),
		},
	},
	{
		Name: "that a Prepare has succeeded is forgotten", File: "prepare.go",
		Old: "	} else if isNew = true; t.explicit {\n",
		New: "	} else if isNew = true; t.explicit && r.sql == \"\" {\n",
		Found: []Instrument{
			Programs(program.CockroachDB, "schema", 150, program.Shown),
			Test(driver+"/tests/replay", "TestReplay_PrepareEndsOtherwise_Diverges"),
		},
	},
	{
		Name: "that a Prepare has failed is forgotten", File: "prepare.go",
		Old: "			t.recordParse(sql, &class).fail(answer)\n",
		New: "			_ = answer\n",
		Found: []Instrument{
			Programs(program.CockroachDB, "schema", 150, program.Shown),
			Test(driver+"/tests/replay", "TestReplay_PrepareEndsOtherwise_Diverges"),
		},
	},
	{
		Name: "that a row was read ahead is revealed, and forgotten", File: "rows.go",
		Old:   "{ r.rec.more = r.rec.more || r.ahead }",
		New:   "{}",
		Found: []Instrument{Test(kinds, "TestStatementRefusedForOpenRows_NoRowInTheReplay_Diverges")},
	},

	// The digest. Without its boundary for each row alone nothing goes unseen, since all rows of an answer have as
	// many values.
	{
		Name: "NULL is hashed like false", File: "internal/digest/digest.go",
		Old:   "			d.length(isNull)\n			continue\n",
		New:   "			value = []byte{0}\n",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},
	{
		Name: "NULL is hashed like an empty value", File: "internal/digest/digest.go",
		Old:   "			d.length(isNull)\n",
		New:   "			d.length(0)\n",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},
	{
		Name: "the lengths of values are not hashed", File: "internal/digest/digest.go",
		Old:   "		d.length(uint32(len(value)))\n",
		New:   "",
		Found: []Instrument{Scenarios(history.NotLinearizable)},
	},

	// The record.
	{
		Name: "a statement is forgotten in the replay", File: "replay.go",
		Old: "	records := t.history.records\n	if len(records) == 0 {\n",
		New: "	records := t.history.records\n	if len(records) > 2 {\n		records = append(records[:1:1], records[2:]...)\n	}\n	if len(records) == 0 {\n",
		Found: []Instrument{
			Scenarios(history.LostWrite),
			Programs(program.CockroachDB, "keys", 150, program.Shown, program.Order, program.Tables, program.Lost),
		},
	},
	{
		Name: "arguments are kept by reference", File: "compile.go",
		Old:   "	if t.explicit {\n		s.Values,",
		New:   "	if false {\n		s.Values,",
		Found: []Instrument{Scenarios(history.Duplicate, history.LostWrite)},
	},
	{
		Name: "what ran inside a savepoint that was rolled back is not replayed", File: "history.go",
		Old:   "	t.put(r)\n	return r\n",
		New:   "	for n := len(t.history.records) - 1; s.SQL == \"ROLLBACK TO SAVEPOINT s\" && n >= 0 && t.history.records[n].SQL != \"SAVEPOINT s\"; n-- {\n		t.unrecord(t.history.records[n])\n	}\n	t.put(r)\n	return r\n",
		Found: []Instrument{Scenarios(history.LostUpdate)},
	},
	{
		Name: "what ran before a savepoint that was rolled back is not replayed", File: "history.go",
		Old:   "	t.put(r)\n	return r\n",
		New:   "	for n := 1; s.SQL == \"ROLLBACK TO SAVEPOINT s\" && n < len(t.history.records); n++ {\n		if t.history.records[n].SQL == \"SAVEPOINT s\" {\n			t.history.records = append(t.history.records[:n-1:n-1], t.history.records[n:]...)\n		}\n	}\n	t.put(r)\n	return r\n",
		Found: []Instrument{Scenarios(history.LostWrite)},
	},
	{
		Name: "a rollback to a savepoint is not replayed", File: "history.go",
		Old:   "	t.put(r)\n	return r\n",
		New:   "	if s.SQL == \"ROLLBACK TO SAVEPOINT s\" {\n		return r\n	}\n	t.put(r)\n	return r\n",
		Found: []Instrument{Scenarios(history.DirtyRead)},
	},
	{
		Name: "RunTx keeps on record what fn did when it was called before", File: "runtx.go",
		Old:   "	t.reopen()\n	t.forget()\n",
		New:   "	t.reopen()\n",
		Found: []Instrument{Scenarios(history.DirtyRead)},
	},

	// The commit.
	{
		Name: "an ambiguous commit is replayed", File: "commit.go",
		Old:   "	case err != nil:\n		return c.refused(err)\n",
		New:   "	case err != nil:\n		return fault{err: &pgconn.PgError{Code: pgerr.SerializationFailure}, reach: wire.InStatement}\n",
		Found: []Instrument{Scenarios(history.Duplicate)},
	},
	{
		Name: "a commit without an answer is called not committed", File: "commit.go",
		Old:   "	if !ok {\n		return c.unknown(err)\n",
		New:   "	if !ok {\n		c.told = t.connectionLost(fault{err: err})\n		return fault{}\n",
		Found: []Instrument{Scenarios(history.DirtyRead), Matrix("single write", "told of an error, yet there is an effect")},
	},
	{
		Name: "a commit that lost is replayed without what ran before it", File: "commit.go",
		Old:   "	if _, f := c.t.replay(ctx, nil); f.err != nil {\n",
		New:   "	c.t.history.clear()\n	if f := (&handOverStep{c.t}).send(ctx); f.err != nil {\n",
		Found: []Instrument{Scenarios(history.PhantomCommit)},
	},
	{
		Name: "a RELEASE that failed is called committed", File: "commit.go",
		Old:   "	finishErr := rt.Finish()\n",
		New:   "	finishErr := rt.Finish()\n	if pgerr.IsConflict(err) {\n		t.rollback()\n		t.committed()\n	}\n",
		Found: []Instrument{Scenarios(history.PhantomCommit)},
	},
	{
		Name: "the commit of a failed transaction is called committed", File: "commit.go",
		Old:   "		t.notCommitted(OutcomeFailed)\n		return pgx.ErrTxCommitRollback\n	}\n	c := &",
		New:   "		t.rollback()\n		t.committed()\n		return nil\n	}\n	c := &",
		Found: []Instrument{Scenarios(history.PhantomCommit)},
	},

	// What may commit before the end.
	{
		Name: "SHOW COMMIT TIMESTAMP is thought not to commit", File: "internal/sqltext/classify.go",
		Old: "isKeyword(s.word(), \"timestamp\") {\n		return Class{Commit: CommitStays, Once: true}\n",
		New: "isKeyword(s.word(), \"timestamp\") {\n		return c\n",
		Found: []Instrument{Programs(
			program.CockroachDB, "endings", 40, program.Twice, program.Lost, program.Phantom, program.Rerun, program.Shown,
		)},
	},
	{
		Name: "the tag COMMIT in a replay is ignored", File: "replay.go",
		Old:   ", err == nil && t.explicit && tag.String() == sqlCommit:\n",
		New:   ":\n",
		Found: []Instrument{Test(kinds, "TestReplayThatCommits_IsAmbiguous")},
	},
	{
		Name: "a bare conflict comes out after something was committed", File: "tx_state.go",
		Old:   "		return conflict && t.kept\n",
		New:   "		return false\n",
		Found: []Instrument{Programs(program.CockroachDB, "endings", 150, program.Rerun)},
	},
	{
		Name: "standard_conforming_strings=off is thought on", File: "internal/wire/session.go",
		Old:   "\"standard_conforming_strings\") == \"off\"",
		New:   "\"standard_conforming_strings\") == \"no\"",
		Found: []Instrument{Test(kinds, "TestStringsOff_TextThatCommits_IsRunOnce")},
	},
	{
		Name: "RunTx believes that its order to commit was obeyed", File: "runtx.go",
		Old:   "	return false, err\n}\n\nvar errUnconfirmed",
		New:   "	return err == nil, err\n}\n\nvar errUnconfirmed",
		Found: []Instrument{Programs(program.CockroachDB, "keys", 150, program.Lost)},
	},
	{
		Name: "RunTx commits after fn has committed as text", File: "runtx.go",
		Old:   "	case r.tx != nil && r.tx.endedInside():\n		return errEndedInside\n",
		New:   "",
		Found: []Instrument{Programs(program.CockroachDB, "endings", 150, program.Phantom)},
	},
	{
		Name: "RunTx takes DDL that has committed for a commit of fn's", File: "runtx.go",
		Old:   "return t.state == stateDetached && t.ending != endedByDDL }",
		New:   "return t.state == stateDetached }",
		Found: []Instrument{Programs(program.NewerCockroachDB, "endings", 150, program.Misleading)},
	},
	{
		Name: "DDL that loses as the first statement is not retried", File: "attempt.go",
		Old:   "(f.class.Commits() || t.isFirstDDL(f))",
		New:   "f.class.Commits()",
		Found: []Instrument{Programs(program.NewerCockroachDB, "endings", 150, program.Unretried)},
	},
	{
		Name: "what was sent along with BEGIN is thought not to have run", File: "internal/wire/roundtrip.go",
		Old: "	if pgerr.Answer(err) == nil || s.Closed() {\n		return InStatement\n",
		New: "	if pgerr.Answer(err) == nil || s.Closed() {\n		return InOpening\n",
		Found: []Instrument{
			Programs(program.NewerCockroachDB, "endings", 150, program.Phantom, program.Rerun, program.Nameless),
		},
	},
	{
		Name: "Rollback says nil of what was committed", File: "rollback.go",
		Old:   "	case t.kept, t.state == stateCommitted:\n		return errKept\n",
		New:   "",
		Found: []Instrument{Programs(program.CockroachDB, "endings", 150, program.Phantom)},
	},

	// A transaction that has failed.
	{
		Name: "a transaction that failed keeps its locks until the application rolls back", File: "tx_state.go",
		Old:   "	t.rollbackEarly()\n	return f.err\n",
		New:   "	return f.err\n",
		Found: []Instrument{Test(commit, "TestRollback_OfATransactionThatFailed_IsSentBeforeTheApplicationAsks")},
	},
	{
		Name: "a transaction that diverged keeps its locks until the application rolls back", File: "tx_state.go",
		Old:   "	if t.runner == nil && !t.mustStep() {\n",
		New:   "	if false {\n",
		Found: []Instrument{Test(commit, "TestRollback_OfATransactionThatDiverged_IsSentBeforeTheApplicationAsks")},
	},
	{
		Name: "a transaction that failed is rolled back although the application has a savepoint", File: "rollback.go",
		Old: " || t.nested {\n",
		New: " {\n",
		Found: []Instrument{
			Test(commit, "TestRollback_OfATransactionThatFailed_IsLeftToTheApplication"),
			Programs(program.CockroachDB, "", 60, program.Misleading),
		},
	},
	{
		Name: "an application that goes on after the early ROLLBACK is outside its transaction", File: "rollback.go",
		Old:   "	if t.early != earlyDone {\n",
		New:   "	if t.early == earlyDone {\n		t.early = earlyUndone\n		return nil\n	}\n	if t.early != earlyDone {\n",
		Found: []Instrument{Test(errs, "TestFailedTransaction_EveryCall_IsRefused")},
	},
	{
		Name: "statements of a failed transaction reach the server", File: "tx_state.go",
		Old:   "	case t.state == stateFailed:\n		return errTxAborted\n",
		New:   "",
		Found: []Instrument{Test(errs, "TestFailedTransaction_EveryCall_IsRefused$/^a_divergence$/^Exec")},
	},
	{
		Name: "the pgx connection of a failed transaction is handed over", File: "tx.go",
		Old: "			t.session().Die() // nothing of a transaction that has failed must be committed\n",
		New: "			return\n",
		Found: []Instrument{
			Test(errs, "TestFailedTransaction_EveryCall_IsRefused$/^a_wait_that_ends$/^Raw,_by_pgx"),
			Test(statement, "TestRaw_CopyAfterAWaitThatEnded_CommitsNothing"),
		},
	},
	{
		Name: "a transaction that used the pgx connection is replayed without it", File: "tx.go",
		Old:   "	t.unreplayable(CauseRaw)\n",
		New:   "",
		Found: []Instrument{Test(statement, "TestRaw_ThenAConflict_IsNotReplayable")},
	},
	{
		Name: "a hook can use the connection of a transaction that is being retried", File: "tx_state.go",
		Old:   "	case t.state == stateRestarting:\n		return errRestarting\n",
		New:   "",
		Found: []Instrument{Test(errs, "TestRestartingTransaction_HookUsesItsConnection_IsRefused$/^Prepare")},
	},
	{
		Name: "an open transaction rests in the pool", File: "conn.go",
		Old:   "	if c.session.Closed() || c.session.Status() != wire.Idle {\n		return false\n",
		New:   "	if c.session.Closed() {\n		return false\n",
		Found: []Instrument{Test(kinds, "TestOpenTransaction_DoesNotRestInThePool")},
	},

	// Another connection.
	{
		Name: "what may be committed is run again on another connection", File: "failover.go",
		Old:   "f.class.Commit != sqltext.NoCommit && !t.lostBeforeCommit(f)\n",
		New:   "f.class.Commit == sqltext.CommitEnds && !t.lostBeforeCommit(f)\n",
		Found: []Instrument{Test(kinds, "TestConnectionLost_UnderWhatMayCommit_IsNotRunAgain")},
	},
	{
		Name: "what was set on the lost session is forgotten", File: "journal.go",
		Old:   "	if !j.pinned {\n",
		New:   "	if j.pinned {\n",
		Found: []Instrument{Test(kinds, "TestConnectionLost_SettingsAreMadeAgain")},
	},
	{
		Name: "a session that can't be made again is taken for one that can", File: "failover.go",
		Old:   "	case t.c.journal.pinned:\n",
		New:   "	case t.c.journal.pinned && t.attempt.number > 9:\n",
		Found: []Instrument{Test(kinds, "TestConnectionLost_TemporaryTable_EndsTheTransaction")},
	},
	{
		Name: "a session that can't be made again is replaced where a statement was not run", File: "failover.go",
		Old: "		return false, t.history.cause\n",
		New: "		return false, t.history.cause\n	case !t.explicit && f.refused:\n		return true, \"\"\n",
		Found: []Instrument{
			Test(failover, "TestFailover_OutsideATransaction_SessionCantBeMadeAgain_IsTold"),
		},
	},
	{
		Name: "what RunTx has undone on PostgreSQL is set on another session", File: "journal.go",
		Old:   "	if t.c.crdb && len(t.sets) > 0 {\n		for",
		New:   "	if len(t.sets) > 0 {\n		for",
		Found: []Instrument{Test(failover, "TestJournal_RunTxCallsAgain_OnlyWhatStaysIsMadeAgain")},
	},
	{
		Name: "a pooler that hangs up is thought to have sent nothing", File: "internal/pgerr/pooler.go",
		Old:   "	return isOfPooler(answer) && hasNoServer(answer.Message)\n",
		New:   "	return isOfPooler(answer)\n",
		Found: []Instrument{Test(failover, "TestFailover_OutsideATransaction_WriteIsPerhapsDone")},
	},
	{
		Name: "why a pooler hangs up is not looked at", File: "internal/pgerr/pooler.go",
		Old:   "	return isOfPooler(answer) && (slices",
		New:   "	return isOfPooler(answer) || (slices",
		Found: []Instrument{Test(failover, "TestPooler_OtherReasonToHangUp_IsTold")},
	},
	{
		Name: "a draining node's cancellation is thought to be somebody's", File: "internal/pgerr/pgerr.go",
		Old:   "	return answer.Code == queryCanceled && last",
		New:   "	return answer.Code == \"\" && last",
		Found: []Instrument{Test(failover, "TestFailover_StatementIsCancelledByADrain_Unseen")},
	},
	{
		Name: "a ping waits for too long", File: "conn.go",
		Old:   "context.WithTimeout(ctx, bound)\n",
		New:   "context.WithTimeout(ctx, 10*bound)\n",
		Found: []Instrument{Test(conns, "TestHang_WhileIdle_StatementRunsOnAnother")},
	},
	{
		Name: "a silent server's locks are waited for without a bound", File: "failover.go",
		Old:   "t.attempt.haunted = t.explicit",
		New:   "t.attempt.haunted = false",
		Found: []Instrument{Test(failover, "TestFailover_SilentServerKeepsLocks_WaitEndsWithinTheBounds")},
	},
	{
		Name: "after a silence the commit is waited for no longer than locks are", File: "commit.go",
		Old:   "	if t.attempt.haunted {\n",
		New:   "	if t.attempt.haunted && false {\n",
		Found: []Instrument{Test(failover, "TestFailover_SilentServerInCommit_SecondCommitIsWaitedFor")},
	},
	{
		Name: "after a silence everything is waited for no longer than locks are", File: "restart.go",
		Old:   "	session.AnswerBy(ctx, time.Time{})\n",
		New:   "",
		Found: []Instrument{Test(failover, "TestFailover_SilentServerGivesLocksUp_NothingElseIsBounded")},
	},
	{
		Name: "nothing is compared after the connection was lost", File: "replay.go",
		Old:   "	return wire.Answer{}, t.compareDone(ctx, n, r, a, err)\n",
		New:   "	if t.attempt.losses > 0 && err == nil {\n		_, err := a.Close()\n		return wire.Answer{}, err\n	}\n	return wire.Answer{}, t.compareDone(ctx, n, r, a, err)\n",
		Found: []Instrument{Test(kinds, "TestConnectionLost_RowHasChanged_Diverges")},
	},
	{
		Name: "a cancellation is taken for a lost connection", File: "restart.go",
		Old:   "	case t.hasLost(ctx, f):\n",
		New:   "	case pgerr.IsCancellation(f.err), t.hasLost(ctx, f):\n		ctx = context.WithoutCancel(ctx)\n",
		Found: []Instrument{Test(kinds, "TestConnectionLost_Cancelled_IsNotRunAgain")},
	},

	// The state of the session.
	{
		Name: "a SET after other statements is replayed", File: "history.go",
		Old:   "c.Session == sqltext.SessionSetMid || c.Session == sqltext.SessionSet && t.history.touched",
		New:   "c.Session == sqltext.SessionSetMid",
		Found: []Instrument{Test(kinds, "TestSetAfterOtherStatements_IsNotReplayed")},
	},
	{
		Name: "set_config is thought to change nothing", File: "internal/sqltext/session.go",
		Old:   "			session = max(session, SessionSetMid)\n",
		New:   "			session = max(session, SessionKept)\n",
		Found: []Instrument{Test(kinds, "TestSetAfterOtherStatements_IsNotReplayed")},
	},

	// Prepared statements, and what was learnt of them.
	{
		Name: "a statement that the server has lost stays lost", File: "prepare.go",
		Old:   "		p.Lost()\n",
		New:   "",
		Found: []Instrument{Test(kinds, "TestStatementLost_IsPreparedAnew")},
	},
	{
		Name: "a statement is thought to be on the server after another client's was found there", File: "internal/wire/prepared.go",
		Old:   "func (p *Prepared) Lost() { p.onServer = false }",
		New:   "func (p *Prepared) Lost() { p.onServer = !p.onServer }",
		Found: []Instrument{Test(prepare, "TestFirstRun_PreparedByAnother_CountsOnNoServer")},
	},
	{
		Name: "the columns of a prepared statement are believed, whoever has prepared it", File: "internal/wire/statement.go",
		Old:   "bool { return len(s.Prepared.Desc.Fields) > 0 }",
		New:   "bool { return false }",
		Found: []Instrument{Test(pooler, "TestNamePreparedByAnother_AfterAChangeOfType_ValuesAreThoseMeant")},
	},
	{
		Name: "what was learnt of a statement is not unlearnt", File: "cursor.go",
		Old: "			t.c.unlearn(p)\n		}\n	}\n	cu.end()",
		New: "			_ = p\n		}\n	}\n	cu.end()",
		Found: []Instrument{
			Test(prepare, "TestColumnRetyped_FailsOnceAtMost"), Programs(program.CockroachDB, "types", 150, program.Stuck),
		},
	},
	{
		Name: "what another connection has learnt is believed, whatever this one's server says",
		File: "internal/wire/unconfirmed.go",
		Old:  "	if believed.describes(desc) {\n",
		New:  "	if believed.describes(desc) || desc != nil {\n",
		Found: []Instrument{
			Test(prepare, "TestDrift_OnAConnectionThatDoesNotKnowTheText_IsUnseen"),
			Test(prepare, "TestShared_ChangedInATransaction_IsUndoneAndRunAnew"),
		},
	},
	{
		Name: "what was learnt is shared over another search_path and role", File: "shared.go",
		Old:   "	told = append(told, c.journal.sets...)\n",
		New:   "",
		Found: []Instrument{Test(prepare, "TestShared_SessionsThatReadATextOtherwise_AreRight")},
	},
	{
		Name: "a write that can't be undone goes by what another connection has learnt", File: "shared.go",
		Old:   "		return class.Reads\n",
		New:   "		return true\n",
		Found: []Instrument{Test(prepare, "TestShared_WhatCanNotBeUndone_IsAskedForFirst")},
	},
	{
		Name: "the DSN is read once", File: "connector.go",
		Old:   "	if c.cfg.dsn == \"\" {\n		return c.cfg.ConnConfig.Copy(), nil\n",
		New:   "	if true {\n		return c.cfg.ConnConfig.Copy(), nil\n",
		Found: []Instrument{Test(conns, "TestDSN_PasswordChanged_NewConnectionsHaveIt")},
	},
	{
		Name: "two statements have one name", File: "internal/wire/prepared.go",
		Old:   "	return NamePrefix + hex.EncodeToString(h.Sum(nil)[:size])\n",
		New:   "	return NamePrefix + hex.EncodeToString(h.Sum(nil)[:size])[:1]\n",
		Found: []Instrument{Programs(program.CockroachDB, "keys", 150, program.Shown, program.Tables, program.Order)},
	},
	{
		Name: "closed statements stay in a mode that promises to leave none", File: "stmt.go",
		Old:   "	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:\n",
		New:   "	case -pgx.QueryExecModeExec:\n",
		Found: []Instrument{Test(kinds, "TestModesWithoutPreparedStatements_LeaveNone")},
	},

	// The reason.
	{
		Name: "a timeout in a replay is called a divergence", File: "internal/pgerr/pgerr.go",
		Old: "code == lockNotAvailable || code == queryCanceled || code == internalError",
		New: "code == internalError",
		Found: []Instrument{
			Test(driver+"/tests/replay", "TestReplay_MeetsATimeout_SaysSo"),
			Programs(program.CockroachDB, "timeouts", 150, program.Misleading),
		},
	},
	{
		Name: "a restart by savepoint that failed is the transaction's failure", File: "opening.go",
		Old:   "	t.pool.savepoints.avoid()\n	t.pool.metrics().savepointRefused()\n	t.openFresh(false)\n	return true\n",
		New:   "	return false\n",
		Found: []Instrument{Test(restart, "TestRestart_FailsAfterTheSavepoint_BeginsAnew")},
	},
	{
		Name: "a savepoint that failed is the failure of the function that RunTx has called again", File: "opening.go",
		Old:   "t.state == stateRestarting || t.runBefore(f) == 0 && f.class.Commit == sqltext.NoCommit\n",
		New:   "t.state == stateRestarting && f.class.Commit != sqltext.CommitStays\n",
		Found: []Instrument{Test(runtx, "TestRunTx_CalledAtOnce_FailsAfterTheSavepoint_BeginsAnew")},
	},
	{
		Name: "what was done through Raw is forgotten before a schema change that loses", File: "tx.go",
		Old:   "	t.attempt.statements++ // at least one was run, and so what comes next is not the first\n",
		New:   "",
		Found: []Instrument{Test(restart, "TestDDLAfterRaw_Loses_IsAmbiguous")},
	},
	{
		Name: "what was only prepared counts as run after a restart by savepoint", File: "attempt.go",
		Old:   "return a.statements - a.prepared",
		New:   "return a.statements",
		Found: []Instrument{Test(restart, "TestRestart_FailsAfterTheSavepointAndPrepare_BeginsAnew")},
	},
	{
		Name: "RunTx never calls at once", File: "runtx.go",
		Old:   "	case ReasonWriteTooOld, ReasonSerializable:\n		return slices",
		New:   "	case ReasonForced:\n		return slices",
		Found: []Instrument{Test(runtx, "TestRunTx_ShownReadWasWrittenSince_CallsAtOnce")},
	},
	{
		Name: "RunTx calls at once although nothing was shown that others may have written", File: "runtx.go",
		Old:   "	return r.Class.Reads && r.hasShownRows() && !sqltext.HintsIn(r.Text()).Locks\n",
		New:   "	return r.Class.Reads || !sqltext.HintsIn(r.Text()).Locks\n",
		Found: []Instrument{Test(runtx, "TestRunTx_NothingUnlockedWasShown_Replays")},
	},
	{
		Name: "RunTx calls at once in the lane, without the locks that a replay takes", File: "runtx.go",
		Old:   "	if t.runner == nil || t.attempt.pass.Holds() {\n",
		New:   "	if t.runner == nil {\n",
		Found: []Instrument{Test(runtx, "TestRunTx_LosesAgainInTheLane_Replays")},
	},
	{
		Name: "a transaction that is nobody's to call again is not replayed", File: "runtx.go",
		Old:   "	if t.runner == nil || t.attempt.pass.Holds() {\n",
		New:   "	if t.attempt.pass.Holds() {\n",
		Found: []Instrument{Test(runtx, "TestBeginTx_ShownReadWasWrittenSince_Replays")},
	},
	{
		Name: "begin makes a savepoint", File: "opening.go",
		Old:   "	return t.opening.mayHave && !t.history.passive",
		New:   "	return t.c.crdb && !t.history.passive",
		Found: []Instrument{Test(restart, "TestRestartByBegin_Conversation_HasBeginCommitAndRollback")},
	},
	{
		Name: "begin asks for PRIORITY HIGH", File: "opening.go",
		Old:   "t.pool.restart != RestartBegin && ",
		New:   "",
		Found: []Instrument{Test(restart, "TestRestartByBegin_Conversation_HasBeginCommitAndRollback")},
	},
	{
		Name: "without retries a first schema change that loses is called ambiguous", File: "tx_state.go",
		Old:   "	return conflict && t.phase() == phaseEnded && !t.isFirstDDL(f)\n",
		New:   "	return conflict && t.phase() == phaseEnded\n",
		Found: []Instrument{Test(restart, "TestFirstDDL_LosesWithoutRetries_IsAConflict")},
	},
	{
		Name: "trouble with a setting on a new session is taken for a refusal", File: "failover.go",
		Old:   "other.err == nil || pgerr.RefusesSetting(other.err)",
		New:   "other.err == nil || pgerr.RefusesSetting(other.err) || true",
		Found: []Instrument{Test(failover, "TestJournal_SettingFailsOnNewSession_AnotherIsMadeUnlessRefused")},
	},
	{
		Name: "a transaction that has shown rows asks for PRIORITY HIGH", File: "attempt.go",
		Old:   "(t.runner != nil || !t.mayDiverge())",
		New:   "(t.runner != nil || t != nil)",
		Found: []Instrument{Test(restart, "TestRestart_AbortedAfterRows_PriorityOnlyInRunTx")},
	},
	{
		Name: "auto takes every version for an old one", File: "restart_mode.go",
		Old:   "	all.serializable = !v.since(26, 2)\n",
		New:   "",
		Found: []Instrument{Test(restart, "TestRestartAuto_ByVersionAndLevel_HasSavepoint")},
	},
	{
		Name: "auto does not ask for the isolation level", File: "restart_mode.go",
		Old:   "		return s.committed\n",
		New:   "		return s.serializable\n",
		Found: []Instrument{Test(restart, "TestRestartAuto_ByVersionAndLevel_HasSavepoint")},
	},

	// A commit that goes with its replay.
	{
		Name: "a count that was seen does not keep the commit from going with the replay", File: "commit_replay.go",
		Old:   "!o.end && !o.asked &&",
		New:   "!o.end &&",
		Found: []Instrument{Test(commit, "TestCommit_LosesAConflict_RoundTripsDependOnWhatWasSeen")},
	},
	{
		Name: "rows that were read do not keep the commit from going with the replay", File: "commit_replay.go",
		Old:   "	return !o.shown && o.rows == 0 && !o.more && !o.end &&",
		New:   "	return !o.more &&",
		Found: []Instrument{Test(commit, "TestCommit_LosesAConflict_RoundTripsDependOnWhatWasSeen")},
	},
	{
		Name: "what may commit does not keep the commit from going with the replay", File: "commit_replay.go",
		Old:   " || segmentLength(records) < len(records) {\n		return false\n	}\n	for _, r := range records {\n		if r.alone() || r.locked != nil || !r.isUnseen() {",
		New:   " {\n		return false\n	}\n	for _, r := range records {\n		if !r.isUnseen() {",
		Found: []Instrument{Test(commit, "TestCommit_LosesAConflict_RoundTripsDependOnWhatWasSeen")},
	},
	{
		Name: "a connection that is lost with the commit and its replay is replaced", File: "commit_replay.go",
		Old:   "	case reach == wire.Unsent, answer != nil && !pgerr.IsFatal(answer):\n",
		New:   "	case reach == wire.Unsent, answer == nil || !pgerr.IsFatal(answer):\n",
		Found: []Instrument{Test(commit, "TestCommit_WithItsReplay_AnswerIsLost_IsAmbiguous")},
	},
	{
		Name: "a commit goes with a replay that may wait for locks", File: "commit_replay.go",
		Old:   " && t.opening.atSavepoint && t.attempt.reason != ReasonAborted\n",
		New:   "\n",
		Found: []Instrument{Test(commit, "TestCommit_LosesAConflict_RoundTripsDependOnWhatWasSeen")},
	},
	{
		Name: "no statement runs between ROLLBACK TO and ROLLBACK", File: "cursor.go",
		Old:   "	t.rolledBackTo = tag.String() == sqlRollback\n",
		New:   "",
		Found: []Instrument{Test(commit, "TestRollback_AfterRollbackTo_StepsOnVersionsThatNeedIt")},
	},
	{
		Name: "a step that fails is taken for the rollback", File: "rollback.go",
		Old:   "sqlRollback); err == nil && s.Status() == wire.Idle {\n			return\n",
		New:   "sqlRollback); err == nil || s.Status() != wire.Idle {\n			return\n",
		Found: []Instrument{Test(commit, "TestRollback_TheStepFails_IsRolledBack")},
	},

	// The protection report.
	{
		Name: "a SET shows its value in the report", File: "internal/sqltext/shape.go",
		Old:   "		if verb := one.firstWord(); verb == \"\" || isOneOf(verb, verbsOfRows...) {\n",
		New:   "		if verb := one.firstWord(); verb != \"-\" {\n",
		Found: []Instrument{Test(sqltext, "TestShape_HasNoValues")},
	},
	{
		Name: "a backslash is read as the standard says in the report", File: "internal/sqltext/shape.go",
		Old:   "IndexByte(w.text(), '\\\\') >= 0:",
		New:   "IndexByte(w.text(), '\\\\') >= len(w.sql):",
		Found: []Instrument{Test(sqltext, "TestShape_HasNoValues")},
	},
	{
		Name: "a literal is shown in the report", File: "internal/sqltext/shape.go",
		Old:   "		case token == tokenLiteral, token == tokenParameter,",
		New:   "		case token == tokenParameter,",
		Found: []Instrument{Test(observe, "TestReport_HasNoSecret")},
	},
	{
		Name: "a statement that ends protection is not noticed", File: "history.go",
		Old:   "	t.inspect(&r.Statement)\n",
		New:   "",
		Found: []Instrument{Test(observe, "TestReport_EachCause_IsFoundWithItsText")},
	},
	{
		Name: "RunTx does not protect", File: "protection.go",
		Old:   " && (t.runner == nil || !b.cause.isOfReplay()) {\n",
		New:   " {\n",
		Found: []Instrument{Test(observe, "TestReport_EachCause_IsFoundWithItsText")},
	},
	{
		Name: "a session that can't be made again is protected", File: "protection.go",
		Old:   "	case t.c.journal.pinned:\n		t.expose(t.c.journal.by)\n	case t.policy.MaxFailovers == 0:\n		t.expose(blame{cause: CauseFailoversOff})\n	}\n	t.pool.ledger.count(ofTransaction",
		New:   "	case t.policy.MaxFailovers == 0:\n		t.expose(blame{cause: CauseFailoversOff})\n	}\n	t.pool.ledger.count(ofTransaction",
		Found: []Instrument{Test(observe, "TestReport_EachCause_IsFoundWithItsText")},
	},
	{
		Name: "the report's list grows without a bound", File: "ledger.go",
		Old:   "	if len(l.texts) >= mostTexts {\n",
		New:   "	if len(l.texts) > 10*mostTexts {\n",
		Found: []Instrument{Test(observe, "TestReport_ManyTexts_ListIsBounded")},
	},
	{
		Name: "the report forgets what is frequent", File: "ledger.go",
		Old:   "t.Count < least.Count ||",
		New:   "t.Count > least.Count ||",
		Found: []Instrument{Test(observe, "TestReport_ManyTexts_ListIsBounded")},
	},

	{
		Name: "what the server says at rest before it closes the connection is not read", File: "internal/wire/check.go",
		Old:   "		return s.listen()\n",
		New:   "		return ErrClosed\n",
		Found: []Instrument{Test(conns, "TestCommit_ServerHasEndedTheConnection_SaysWhy")},
	},
	{
		Name: "what the server has said with its latest answer is left for a ping to read", File: "internal/wire/check.go",
		Old:   "	if err := s.hear(ctx); err != nil {\n		return err\n	}\n",
		New:   "	if !s.Quiet() {\n		return s.ping(ctx)\n	}\n",
		Found: []Instrument{Test(conns, "TestCommit_FarewellCameWithTheAnswer_SaysWhy")},
	},
	{
		Name: "the conflict is forgotten when the connection is lost during its replay", File: "errors.go",
		Old:   "	return errors.Join(conflict, err)\n",
		New:   "	return err\n",
		Found: []Instrument{Test(restart, "TestConnectionClosedByTheServer_TheReasonIsFound")},
	},
	{
		Name: "a procedure that has lost is said to have committed nothing", File: "cursor.go",
		Old:   "	f.partly = f.reach == wire.InStatement && cu.partlyCommitted()\n",
		New:   "",
		Found: []Instrument{Test(driver+"/tests/statement", "TestOutside_MayHaveCommittedAPart_IsNotRunAgain")},
	},
	{
		Name: "rows of a write that can still lose are shown", File: "rows.go",
		Old:   "		r.keep(maxKeptAlone)\n",
		New:   "		r.ahead = r.read()\n",
		Found: []Instrument{Test(driver+"/tests/statement", "TestOutside_WriteWithRows_IsRunAgainUntilTheyAreShown")},
	},
	{
		Name: "rows of an attempt that was lost are kept", File: "cursor.go",
		Old:   "	cu.buffer, cu.buffered = nil, 0 // nothing of that was shown\n",
		New:   "",
		Found: []Instrument{Test(driver+"/tests/statement", "TestOutside_WriteWithRows_IsRunAgainUntilTheyAreShown")},
	},
	{
		Name: "a Parse counts as the statement that it is for", File: "attempt.go",
		Old:   "	if f.parsing {\n",
		New:   "	if false {\n",
		Found: []Instrument{Test(driver+"/tests/commit", "TestCommit_ParseOfDDLLoses_IsRunAgainIfThereWasNothingToCommit")},
	},
	{
		Name: "nobody notes that a Parse has committed", File: "prepare.go",
		Old: "	t.noteParsed(&class)\n",
		New: "",
		Found: []Instrument{
			Test(commit, "TestCommit_ConnectionLostAfterParseOfDDL_NothingIsRunTwice"),
			Programs(program.NewerCockroachDB, "endings", 500, program.Twice, program.Phantom),
		},
	},
	{
		Name: "what stands alone since its own Parse is run in the transaction", File: "conn.go",
		Old:   "	if t.state == stateDetached { // perhaps by its own Parse\n",
		New:   "	if false {\n",
		Found: []Instrument{Test(commit, "TestCommit_PreparedDDLLoses_IsRunAgain")},
	},
	{
		Name: "a read after a commit by DDL loses its connection, and nothing is said of the commit", File: "lone.go",
		Old:   "	if t.isAfterCommit() && t.within.ending == endedByDDL {\n",
		New:   "	if false {\n",
		Found: []Instrument{Test(commit, "TestCommit_ConnectionLostAfterParseOfDDL_NothingIsRunTwice")},
	},
	{
		Name: "what stands alone in a transaction is not run on another connection", File: "restart.go",
		Old:   "	case f.reach == wire.Unsent && t.within != nil && t.session().Closed():\n",
		New:   "	case false:\n",
		Found: []Instrument{Programs(program.NewerCockroachDB, "endings", 300, program.Nameless)},
	},
	{
		Name: "what stands alone in a transaction counts as not done once its context ends", File: "lone.go",
		Old:   "	ownDoing := pgerr.IsCancellation(f.err) && t.within == nil\n",
		New:   "	ownDoing := pgerr.IsCancellation(f.err)\n",
		Found: []Instrument{Test(commit, "TestCommit_PreparedDDLIsCancelled_IsAmbiguous")},
	},
	{
		Name: "rows of a read outside a transaction come from two points in time", File: "replay.go",
		Old:   "	if differs != nil {\n		return wire.Answer{}, diverged(n, r, differs, &a)\n	}\n	return a, err\n",
		New:   "	if differs != nil && t.explicit {\n		return wire.Answer{}, diverged(n, r, differs, &a)\n	}\n	return a, err\n",
		Found: []Instrument{Programs(program.CockroachDB, "keys", 100, program.Shown)},
	},
	{
		Name: "what may not be run twice is not run once", File: "failover.go",
		Old:   " || t.isStillToRun(f)\n",
		New:   "\n",
		Found: []Instrument{Test(conns, "TestReceipt_ServerLeftBeforeAStatementThatMayCommit_Unseen")},
	},
	{
		Name: "a read is told of a connection on which somebody has changed the session", File: "failover.go",
		Old:   "	case cause == CauseSession && !t.hasShown(): // it only reads, or was refused\n",
		New:   "	case false:\n",
		Found: []Instrument{Test(failover, "TestJournal_ReadOnASessionThatCantBeMadeAgain_RunsOnAnotherConnection")},
	},
	{
		Name: "what the server said before it closed the connection is forgotten", File: "internal/wire/lasterror.go",
		Old:   "		return s.last.first\n",
		New:   "		return err\n",
		Found: []Instrument{Test(restart, "TestConnectionClosedByTheServer_AfterAnError_TheReasonIsFound")},
	},
	{
		Name: "of a conflict after which the server leaves its leave alone is heard", File: "internal/wire/lasterror.go",
		Old:   "		return s.last.first\n",
		New:   "		return last\n",
		Found: []Instrument{Test(driver+"/tests/failover", "TestFailover_EndsWithAConflict_Unseen")},
	},
	{
		Name: "a commit that has lost with its connection is thought to be open", File: "failover.go",
		Old:   " && !t.lostBeforeCommit(f)\n",
		New:   "\n",
		Found: []Instrument{Test(driver+"/tests/failover", "TestFailover_EndsWithAConflict_Unseen")},
	},
	{
		Name: "PgBouncer's word for a server lost while it is written to is not known", File: "internal/pgerr/pooler.go",
		Old:   "	\"server connection closed\", // it found out while it passed on what the client had sent\n",
		New:   "",
		Found: []Instrument{Test(failover, "TestPooler_HasLostTheServer_Unseen")},
	},
	{
		Name: "who has committed as text is told to run the transaction again", File: "lone.go",
		Old:   "	if t.isAfterCommit() { // what was before it",
		New:   "	if t.isAfterCommit() && f.partly { // what was before it",
		Found: []Instrument{Test(conns, "TestReceipt_ServerLeftAfterACommitAsText_IsNotToldToRunAgain")},
	},
	{
		Name: "a connection that was reset counts as one that the server has ended", File: "internal/wire/rowreader.go",
		Old:   "	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {\n",
		New:   "	if err != nil && !errors.Is(err, io.ErrNoProgress) {\n",
		Found: []Instrument{Test(conns, "TestReceipt_ServerHasReadTheRequest_Ambiguous")},
	},
	{
		Name: "a request that was acknowledged counts as not received", File: "internal/wire/delivery.go",
		Old: "liveness.Unacknowledged(d.TCPConn) >= sent {\n",
		New: "liveness.Unacknowledged(d.TCPConn) < sent+1 {\n",
		Found: []Instrument{
			Test(conns, "TestReceipt_ServerHasReadTheRequest_Ambiguous"),
			Sockets("outside, in a row", "but the table should be"),
		},
	},
	{
		Name: "what was sent before counts with the request", File: "internal/wire/delivery.go",
		Old:   "	d.sent.Store(0)\n",
		New:   "",
		Found: []Instrument{Sockets("own COMMIT", "a server that ends at rest is noticed")},
	},
	{
		Name: "what a server said last does not end the connection", File: "internal/wire/lasterror.go",
		Old:   "		if pgerr.IsFatal(err) {\n",
		New:   "		if false {\n",
		Found: []Instrument{Sockets("own COMMIT", "a server that ends at rest is noticed", "ended with a word")},
	},
	{
		Name: "a request of which nothing could be written counts as sent", File: "internal/wire/delivery.go",
		Old:   "err != nil && sent == 0 {\n",
		New:   "err != nil && sent < 0 {\n",
		Found: []Instrument{Test(conns, "TestReceipt_ServerLeftBeforeTheRequest_Unseen")},
	},
	{
		Name: "a statement that the server never received is taken for one that was sent", File: "restart.go",
		Old: "	case f.reach != wire.Unsent && t.neverArrived(f.err):\n",
		New: "	case false:\n",
		Found: []Instrument{
			Test(conns, "TestReceipt_ServerLeftBeforeTheRequest_Unseen"),
			Sockets("own COMMIT", "a server that ends at rest is noticed"),
		},
	},
	{
		Name: "a commit that the server never received is taken for one that was sent", File: "commit.go",
		Old: "	if c.t.neverArrived(err) {\n",
		New: "	if c.t.neverArrived(err) && false {\n",
		Found: []Instrument{
			Test(conns, "TestReceipt_ServerLeftBeforeTheCommitWithoutRetries_NothingIsCommitted"),
			Sockets("own restart savepoint", "a server that ends at rest is noticed"),
		},
	},
	{
		Name: "what a transaction has set is expected of a new session", File: "journal.go",
		Old:   "	if unset == nil {\n",
		New:   "	if true {\n",
		Found: []Instrument{Sockets("SET LOCAL in the middle", "a server that ends at rest is noticed")},
	},
	{
		Name: "a transaction that has set something goes to any session", File: "journal.go",
		Old:   "	if unset == nil {\n",
		New:   "	if unset != nil {\n		return \"\"\n	}\n	if unset == nil {\n",
		Found: []Instrument{Test(failover, "TestJournal_DefaultHasChanged_EndsTheTransaction")},
	},
	{
		Name: "a transaction of a session with state begins on a connection that is closed", File: "conn.go",
		Old:   " && !c.journal.pinned\n",
		New:   "\n",
		Found: []Instrument{Test(conns, "TestLiveness_ServerLeftWhileIdle_WhatCanNotMoveIsNotBegunThere")},
	},
	{
		Name: "a statement that its node has cancelled in going away is thought cancelled by somebody", File: "internal/wire/answer.go",
		Old:   "	a.err = a.s.reason(a.ctx, a.err)\n",
		New:   "",
		Found: []Instrument{Test(failover, "TestFailover_StatementIsCancelledByADrain_Unseen")},
	},
	{
		Name: "a login is not tried again that a pooler refuses with the server's reason", File: "dial.go",
		Old: "	case fleet.Unreachable:\n		return c.pool.well",
		New: "	case fleet.Unreachable:\n		answer, ok := errors.AsType[*pgconn.PgError](err)\n" +
			"		return (!ok || pgerr.NeverSent(answer)) && c.pool.well",
		Found: []Instrument{Test(failover, "TestPooler_HasNoServerAtTheLogin_IsDialledAgain")},
	},
	{
		Name: "a pool gives up when a connection is lost while it tries out the table of markers", File: "dial.go",
		Old:   "		lost := l.Closed()\n",
		New:   "		lost := false\n",
		Found: []Instrument{Test(once, "TestTableTriedOut_ConnectionIsLost_TriesAnother")},
	},
	{
		Name: "the server's errors come in a type of the driver's own", File: "cursor.go",
		Old:   "	cu.over, cu.err = true, err\n	cu.rec.settle()\n	t.noteSession(",
		New:   "	cu.over, cu.err = true, &quietError{\"it failed\", err}\n	cu.rec.settle()\n	t.noteSession(",
		Found: []Instrument{Test(errs, "TestErrors_OfStatements_AreTheServers")},
	},
	{
		Name: "a loop of the application's own goes back though its RELEASE may have committed", File: "loop.go",
		Old: " && !t.mayHaveCommitted(f)\n",
		New: "\n",
		Found: []Instrument{
			Test(failover, "TestLoop_ConnectionLostAtTheRelease_Ambiguous"),
			Programs(program.CockroachDB, "loops", 100, program.Twice, program.Phantom),
		},
	},
	{
		Name: "a loop of the application's own goes on, on another connection, without going back", File: "loop.go",
		Old:   " || !t.session().Classify(sql).GoesBack {\n",
		New:   " {\n",
		Found: []Instrument{Test(failover, "TestLoop_ConnectionLost_IsToldAsAConflict")},
	},
	{
		Name: "in the simple protocol the application's RELEASE is not known to have committed", File: "cursor.go",
		Old:   "	if cu.t.explicit && class.Several && (",
		New:   "	if cu.t.explicit && (",
		Found: []Instrument{Test(failover, "TestLoop_LostAtEachStatement_CommitsOnce")},
	},
	{
		Name: "of the application's RELEASE that was carried out nobody knows", File: "cursor.go",
		Old:   "	case class.Releases && t.loop.savepoint != \"\":\n",
		New:   "	case class.Releases && t.loop.savepoint != \"\" && false:\n",
		Found: []Instrument{Test(failover, "TestLoop_LostAtEachStatement_CommitsOnce")},
	},
	{
		Name: "a marker that can't be placed before the application's RELEASE ends its loop", File: "tx_state.go",
		Old:   "	case t.goesBackAtRelease(f):\n",
		New:   "	case t.goesBackAtRelease(f) && false:\n",
		Found: []Instrument{Test(failover, "TestLoop_MarkerOfItsRelease_CantBePlaced_GoesBack")},
	},
	{
		Name: "another connection is not given the savepoint of the application's loop", File: "opening.go",
		Old:   "	if t.loop.savepoint != \"\" {\n",
		New:   "	if t.loop.savepoint != \"\" && false {\n",
		Found: []Instrument{Test(failover, "TestLoop_BeginsOnTheOtherConnectionWithItsSavepoint")},
	},
	{
		Name: "a hot standby's conflict is retried like any other", File: "attempt.go",
		Old:   "PG.ParameterStatus(\"in_hot_standby\") == \"on\"",
		New:   "PG.ParameterStatus(\"in_hot_standby\") == \"yes\"",
		Found: []Instrument{Test(restart, "TestRestart_OnAHotStandby_GivesUpSoon")},
	},

	// Pools, the network, the lane.
	{
		Name: "connections of Open have a lane each", File: "driver.go",
		Old:   "	c := opened.connectors[dsn]\n	if c == nil {\n",
		New:   "	var c *Connector\n	if c == nil {\n",
		Found: []Instrument{Test(kinds, "TestDriverOpen_OneLane")},
	},
	{
		Name: "a connection that has rested is not pinged", File: "conn.go",
		Old: "after > 0 && idle >= after {\n",
		New: "after < 0 && idle >= after {\n",
		Found: []Instrument{
			Test(conns, "TestRest_FlowIsGone_StatementRunsOnAnother"), Test(kinds, "TestRestedConnection_IsPinged"),
		},
	},
	{
		Name: "the lane on CockroachDB is as wide as on PostgreSQL", File: "internal/lane/lane.go",
		Old:   "turns{places: 1},",
		New:   "turns{places: abreast},",
		Found: []Instrument{Test(driver+"/internal/lane", "TestLane_NotSaidOverWhat_IsForOneOnCockroachDB")},
	},
	{
		Name: "the lane keeps what nobody fights over any more", File: "internal/lane/lane.go",
		Old:   "			delete(l.over, o)\n",
		New:   "",
		Found: []Instrument{Test(driver+"/internal/lane", "TestLane_LostOverTheSame_TakeTurns")},
	},
	{
		Name: "crdbsim rewords the conflicts of a PostgreSQL", File: "internal/crdbsim/errors.go",
		Old:   "	if c.sim.cfg.PostgreSQL {\n		return e\n",
		New:   "	if false {\n		return e\n",
		Found: []Instrument{Test(driver+"/internal/crdbsim", "TestPostgreSQLConflict")},
	},
	{
		Name: "a reader keeps its place in the lane while its rows are read", File: "rows.go",
		Old:   "	r.t.nothingToLose()\n",
		New:   "",
		Found: []Instrument{Test(driver+"/tests/lane", "TestLane_ReaderWithItsFirstRow_LeavesIt")},
	},
	{
		Name: "a reader that has lost amid its rows keeps its place in the lane", File: "cursor.go",
		Old:   "		cu.t.nothingToLose()\n",
		New:   "",
		Found: []Instrument{Test(driver+"/tests/lane", "TestLane_ReaderThatLostAmidItsRows_LeavesIt")},
	},
	{
		Name: "what calls an unknown function is thought to read only", File: "internal/sqltext/reads.go",
		Old:   "callsWriter(last):\n			return false\n",
		New:   "callsWriter(last) && false:\n			return false\n",
		Found: []Instrument{Test(driver+"/internal/sqltext", "TestClassify_Reads")},
	},
	{
		Name: "hooks get the context by which RunTx finds its transaction", File: "runtx.go",
		Old:   "	if ctx.Value(runnerKey{}) == nil {\n		return ctx\n	}\n	return context.WithValue(ctx, runnerKey{}, nil)\n",
		New:   "	return ctx\n",
		Found: []Instrument{Test(kinds, "TestHooksOwnTransaction_IsNotRunTxs")},
	},
	{
		Name: "a host without a port has PostgreSQL's", File: "internal/dsnurl/url.go",
		Old:   "			ports[i] = cmp.Or(p, fallback)\n",
		New:   "			ports[i] = cmp.Or(p, \"5432\")\n",
		Found: []Instrument{Test(driver, "TestDSN_EachForm_IsParsed")},
	},

	// Pinned values.
	{
		Name: "what a pinned statement returns is not compared", File: "replay.go",
		Old: "	if differs = r.judge(differs, err); differs != nil {\n",
		New: "	if differs = r.judge(differs, err); differs != nil && r.pinned() == nil {\n",
		Found: []Instrument{
			Test(replay, "TestPinned_RowThatSomebodyElseChanges_Diverges"),
			Programs(program.CockroachDB, births, 150, program.Shown, program.Tables),
		},
	},
	{
		Name: "the values of another row are pinned", File: "pin.go",
		Old: "p.values[place.Row*len(p.columns)+at[place.Column]])\n",
		New: "p.values[(rows-1-place.Row)*len(p.columns)+at[place.Column]])\n",
		Found: []Instrument{
			Test(replay, "TestPinned_Statement_CarriesWhatWasShown"),
			Programs(program.CockroachDB, births, 150, program.Needless),
		},
	},
	{
		Name: "the values of another row are pinned, and not compared", File: "pin.go",
		Old:   "p.values[place.Row*len(p.columns)+at[place.Column]])\n	}\n",
		New:   "p.values[(rows-1-place.Row)*len(p.columns)+at[place.Column]])\n	}\n	r.rows, r.end = 0, false\n",
		Found: []Instrument{Programs(program.CockroachDB, births, 150, program.Tables, program.Shown)},
	},
	{
		Name: "the values of the first row alone are pinned", File: "internal/sqltext/insert.go",
		Old:   "		w.tuple(row, row < rows)\n",
		New:   "		w.tuple(row, row < min(rows, 1))\n",
		Found: []Instrument{Programs(program.CockroachDB, births, 150, program.Needless)},
	},
	{
		Name: "a pinned statement inserts the rows alone that were shown", File: "internal/sqltext/insert.go",
		Old:   "	for row := range in.tuples {\n		w.tuple(row, row < rows)\n	}\n",
		New:   "	for row := range rows {\n		w.tuple(row, true)\n	}\n	w.upTo(w.copied + 1)\n	w.copied = in.tuples[len(in.tuples)-1].end + 1\n",
		Found: []Instrument{Programs(program.CockroachDB, births, 150, program.Tables, program.Needless)},
	},
	{
		Name: "a column is pinned that was not shown, but another under its name", File: "internal/sqltext/insert.go",
		Old:   "		return returned == \"\" || returned == column\n",
		New:   "		return true\n",
		Found: []Instrument{Test(driver+"/internal/sqltext", "TestInsert_Fits_IsTheAnswer")},
	},
	{
		Name: "a default may do anything", File: "pin_catalog.go",
		Old:   "	case kind == sqltext.DefaultUnknown, kind",
		New:   "	case kind",
		Found: []Instrument{Test(replay, "TestPin_GeneratedValuesShown_AreStoredOrLeftAlone/PostgreSQL/the_number_of_a_counter$")},
	},
	{
		Name: "a timeout of the catalogue's is held against a text for good", File: "pin_catalog.go",
		Old:   "	case pgerr.IsInvalid(err):\n",
		New:   "	case pgerr.IsInvalid(err), true:\n",
		Found: []Instrument{Test(replay, "TestPinned_CatalogueDoesNotAnswer_IsAskedAgainIfItMayAnswer")},
	},
	{
		Name: "triggers are not looked for", File: "pin_catalog.go",
		Old: "AND NOT t.tgisinternal AND t.tgtype & 7 = 7) `",
		New: "AND NOT t.tgisinternal AND t.tgtype & 7 > 7) `",
		Found: []Instrument{
			Test(replay, "TestPin_GeneratedValuesShown_AreStoredOrLeftAlone/PostgreSQL/the_number_of_a_counter,_by_a_trigger$"),
		},
	},
	{
		Name: "the catalogue's answer is not waited for", File: "pin_catalog.go",
		Old:   "	case texts.exclude(text, r.pins.sent, says.may):\n		return errUnpinned\n",
		New:   "	case texts.exclude(text, r.pins.sent, says.may):\n",
		Found: []Instrument{Test(replay, "TestPinned_ColumnNotInTheCatalogue_IsLeftAlone")},
	},
	{
		Name: "an error of a pinned statement is the application's", File: "replay.go",
		Old:   "	case r.pinned() != nil && t.unpinAfter(r, tag, differs, err):\n		return errUnpinned\n",
		New:   "",
		Found: []Instrument{Test(replay, "TestPinned_Error_IsNotTheApplications")},
	},
	{
		Name: "sequences go on when something reads their latest value", File: "pin.go",
		Old:   "return r.Class.DDL || readsLastValue(r) })",
		New:   "return r.Class.DDL })",
		Found: []Instrument{Test(replay, "TestPin_GeneratedValuesShown_AreStoredOrLeftAlone/PostgreSQL/currval_in_a_later_statement")},
	},

	{
		Name: "pin: the key of a row that was updated may be given to a new one", File: "internal/sqltext/insert.go",
		Old: "p.end() && (p.isNew || !p.in.Upserts)\n",
		New: "p.end()\n",
		Found: []Instrument{
			Test(replay, "TestPin_GeneratedValuesShown_AreStoredOrLeftAlone/PostgreSQL/"+
				"ON_CONFLICT_DO_UPDATE,_by_which_a_row_may_be_an_old_one$"),
		},
	},
	{
		Name: "pin: a row of a query that was not read is given no value", File: "internal/sqltext/insert.go",
		Old:   "		return rows == written\n",
		New:   "		return true\n",
		Found: []Instrument{Test(replay, "TestPin_RowsOfAQuery_ArePinnedIfAllWereRead/not_the_last$")},
	},
	{
		Name: "pin: rows that one makes are given the same value", File: "internal/sqltext/insert.go",
		Old:   "	return written == in.Rows && (",
		New:   "	return rows <= in.Rows && (",
		Found: []Instrument{Test(replay, "TestPin_RowsOfAQuery_ArePinnedIfAllWereRead/one,_of_VALUES$")},
	},
	{
		Name: "pin: more rows may be written than were shown", File: "pin.go",
		Old:   "tag.RowsAffected() == r.affected) {\n",
		New:   "tag.RowsAffected() > 0) {\n",
		Found: []Instrument{Test(replay, "TestPinned_OtherNumberOfRows_IsNotCommitted")},
	},
	{
		Name: "pin: an update may read the value that is pinned", File: "internal/sqltext/insert_conflict.go",
		Old:   "		return slices.Contains(p.in.columns, name)\n",
		New:   "		return name != \"\" || slices.Contains(p.in.columns, name)\n",
		Found: []Instrument{Test(driver+"/internal/sqltext", "TestInsert_AnythingElse_IsLeftAlone")},
	},

	// Learned locks.
	{
		Name: "locks: a text with DISTINCT locks", File: "internal/sqltext/lock.go",
		Old: `	if !p.keyword("select") || !p.columns()`,
		New: `	if !p.keyword("select") || p.isNextWord("distinct") && false || !p.columns()`,
		Found: []Instrument{
			Test(sqltext, "TestKeyRead_AnythingElse_IsLeftAlone"),
			Programs(program.CockroachDB, "locks", 60, program.WrongLock),
		},
	},
	{
		Name: "locks: a lock is added after the comment at the end", File: "internal/sqltext/lock.go",
		Old:   `r.sql[:r.end] + " FOR UPDATE" + r.sql[r.end:]`,
		New:   `r.sql + " FOR UPDATE"`,
		Found: []Instrument{Test(sqltext, "TestKeyRead_Locking_AddsTheLockAlone")},
	},
	{
		Name: "locks: a text is learned without a write", File: "lock_learn.go",
		Old:   "func(w *record) bool { return writesRow(w, r, read) }\n",
		New:   "func(w *record) bool { return writesRow(w, r, read) || true }\n",
		Found: []Instrument{Test(replay, "TestLocks_AnythingElse_IsNotLearned")},
	},
	{
		Name: "locks: a write of another row will do", File: "lock_learn.go",
		Old:   "		bytes.Equal(w.Values[a], r.Values[b])\n",
		New:   "		(bytes.Equal(w.Values[a], r.Values[b]) || true)\n",
		Found: []Instrument{Test(replay, "TestLocks_AnythingElse_IsNotLearned/another_row_is_written")},
	},
	{
		Name: "locks: READ COMMITTED locks too", File: "lock.go",
		Old: "	return t.opening.snapshot && !t.opening.readOnly",
		New: "	return !t.opening.readOnly",
		Found: []Instrument{
			Test(replay, "TestLocks_AnythingElse_IsNotLearned"),
			Test(replay, "TestLocks_TransactionThatMustNotLock_RunsTheTextAsItIs"),
		},
	},
	{
		Name: "locks: a table with row-level security is locked", File: "lock_key.go",
		Old:   "AND NOT c.relrowsecurity ` +",
		New:   "` +",
		Found: []Instrument{Test(replay, "TestLocks_OnADatabase_OnlyReadsByUniqueKeyLock")},
	},
	{
		Name: "locks: one column of a key is enough", File: "lock_key.go",
		Old: "= has && (known || !met)\n",
		New: "= has || known || met && false\n",
		Found: []Instrument{
			Test(replay, "TestLocks_NoUniqueKey_IsNotLearned"),
			Programs(program.CockroachDB, "locks", 60, program.WrongLock),
		},
	},
	{
		Name: "locks: that a locked read finds no row is believed", File: "lock.go",
		Old:   "cu.rec.locked != nil && rows == 0 &&",
		New:   "cu.rec.locked != nil && rows < 0 &&",
		Found: []Instrument{Test(replay, "TestLocks_NoRow_IsReadAgainWithoutTheLock")},
	},
	{
		Name: "locks: an error of a locked read is the application's", File: "cursor.go",
		Old: "	if cu.t.unlocks(cu.ctx, cu.rec, f) {\n",
		New: "	if cu.rec == nil && cu.t.unlocks(cu.ctx, cu.rec, f) {\n",
		Found: []Instrument{
			Test(replay, "TestLocks_Error_IsNotTheApplications"),
			Programs(program.CockroachDB, "locks", 60, program.WrongLock),
		},
	},
	{
		Name: "locks: a text goes on locking after an error", File: "lock_text.go",
		Old: "	locked := text.stage == lockLearned\n	text.bar(time.Now())\n",
		New: "	locked := text.stage == lockLearned\n",
		Found: []Instrument{
			Test(replay, "TestLocks_Error_IsNotTheApplications"),
			Programs(program.CockroachDB, "locks", 200, program.WrongLock),
		},
	},
	{
		Name: "locks: what does not pay goes on", File: "lock_text.go",
		Old:   "	if change != \"\" {\n		text.bar",
		New:   "	if change == LockLearned {\n		text.bar",
		Found: []Instrument{Test(replay, "TestLocks_ThatDoNotPay_AreUnlearned")},
	},
	{
		Name: "locks: RunTx learns from every conflict", File: "lock_learn.go",
		Old:   "	return !f.earlier && (reason ==",
		New:   "	return !f.earlier && (reason != ReasonOther || reason ==",
		Found: []Instrument{Test(replay, "TestLocks_RunTxThatLostOtherwise_DoesNotLock")},
	},
	{
		Name: "locks: RunTx learns nothing by PostgreSQL's words", File: "lock_learn.go",
		Old:   "(reason == ReasonWriteTooOld || reason == ReasonSerializationFailure)",
		New:   "reason == ReasonWriteTooOld",
		Found: []Instrument{Test(replay, "TestLocks_RunTxThatCameTooLateOnPostgreSQL_LocksFromThenOn")},
	},
	{
		Name: "locks: RunTx learns on every server", File: "lock.go",
		Old:   "	if t.runner != nil && (t.c.crdb || learned.elsewhere != nil) {\n",
		New:   "	if t.runner != nil {\n",
		Found: []Instrument{Test(replay, "TestLocks_RunTxThatLostOtherwise_DoesNotLock")},
	},
	{
		Name: "lane: the next enters on PostgreSQL while the commit is under way", File: "attempt.go",
		Old:   "	if t.c.crdb && !t.opening.high && t.attempt",
		New:   "	if !t.opening.high && t.attempt",
		Found: []Instrument{Test(lane, "TestLane_CommitUnderWay_TheNextEnters")},
	},
	{
		Name: "lane: those that have lost other rows take turns on PostgreSQL", File: "lost_over.go",
		Old:   "	if row := lost.row(); row != \"\" {\n",
		New:   "	if row := lost.table(); row != \"\" {\n",
		Found: []Instrument{Test(lane, "TestLane_LostAnotherRow_DoesNotWaitOnPostgreSQL")},
	},
	{
		Name: "lane: a row is its table and columns, whatever their values", File: "lost_over.go",
		Old:   "		case i < len(r.Values):\n",
		New:   "		case i < 0:\n",
		Found: []Instrument{Test(lane, "TestLane_LostRowOfAnArgument_TakesTurns")},
	},
	{
		Name: "lane: those that have lost other rows don't wait on CockroachDB", File: "lost_over.go",
		Old:   "	if t.c.crdb || n == 0 {",
		New:   "	if n == 0 {",
		Found: []Instrument{Test(lane, "TestLane_LostAnotherRow_DoesNotWaitOnPostgreSQL")},
	},
	{
		Name: "lane: a deadlock is no reason to take turns over the table", File: "lost_over.go",
		Old:   "	if reasonOf(conflict) == ReasonDeadlock {\n",
		New:   "	if false {\n",
		Found: []Instrument{Test(lane, "TestLane_DeadlockOverAnUnknownRow_TurnsAreOverTheTable")},
	},
	{
		Name: "lane: whatever is lost over an unknown row, turns are over the table", File: "lost_over.go",
		Old:   "	if reasonOf(conflict) == ReasonDeadlock {\n",
		New:   "	if true {\n",
		Found: []Instrument{Test(lane, "TestLane_DeadlockOverAnUnknownRow_TurnsAreOverTheTable")},
	},
	{
		Name: "lane: turns are over the row alone that was lost", File: "lost_over.go",
		Old:   "			rows = append(rows, row)\n",
		New:   "",
		Found: []Instrument{Test(lane, "TestLane_LostARow_TakesTurnsOverItsOtherRowsToo")},
	},
	{
		Name: "lane: turns are over rows that were only read", File: "lost_over.go",
		Old:   " || !sqltext.AwaitsRows(r.SQL) {\n",
		New:   " {\n",
		Found: []Instrument{Test(lane, "TestLane_LostARow_TakesTurnsOverItsOtherRowsToo")},
	},
	{
		Name: "lane: one over several things enters when one is free", File: "internal/lane/lane.go",
		Old:   "	return !slices.ContainsFunc(p.turns, func(t *turns) bool { return !t.isFree() })\n",
		New:   "	return slices.ContainsFunc(p.turns, func(t *turns) bool { return t.isFree() })\n",
		Found: []Instrument{Test(driver+"/internal/lane", "TestLane_OverSeveral_WaitsUntilAllAreFree")},
	},
	{
		Name: "lane: one that can't go keeps those after it from going", File: "internal/lane/lane.go",
		Old:   "			i++\n",
		New:   "			i = len(t.queue)\n",
		Found: []Instrument{Test(driver+"/internal/lane", "TestLane_OverSeveral_WaitsUntilAllAreFree")},
	},
	{
		Name: "lane: what was taken over stays in the way elsewhere", File: "internal/lane/lane.go",
		Old:   "		v.advance()\n",
		New:   "",
		Found: []Instrument{Test(driver+"/internal/lane", "TestLane_OverSeveral_TakesOverAllThatIsInItsWay")},
	},
	{
		Name: "lane: one of those in the way is old enough to be taken over", File: "internal/lane/lane.go",
		Old:   " || time.Since(t.holders[0].since) < bound) {\n",
		New:   ") {\n",
		Found: []Instrument{Test(driver+"/internal/lane", "TestLane_OverSeveral_TakesOverAllThatIsInItsWay")},
	},
	{
		Name: "lane: a first statement waits for nobody", File: "contested.go",
		Old:   "	row := t.contestedRow(r)\n",
		New:   "	row := \"\"\n",
		Found: []Instrument{Test(lane, "TestLane_FirstStatementOfAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a plain read waits for those that write the row", File: "contested.go",
		Old:   " || !sqltext.AwaitsRows(r.SQL) && !t.readsToWrite(r) {\n",
		New:   " || sqltext.AwaitsRows(r.SQL) && false {\n",
		Found: []Instrument{Test(lane, "TestLane_FirstStatementOfAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a later statement waits too, with locks held", File: "contested.go",
		Old:   "	if t.opening.sent {\n",
		New:   "	if false {\n",
		Found: []Instrument{Test(lane, "TestLane_LaterStatementOfAContestedRow_BeginsAnewInItsTurn")},
	},
	{
		Name: "lane: a transaction that has shown rows begins anew before it has lost", File: "contested.go",
		Old:   " && !t.mayDiverge() }\n",
		New:   " }\n",
		Found: []Instrument{Test(lane, "TestLane_LaterStatementThatCannotBeginAnew_DoesNotWait")},
	},
	{
		Name: "lane: one that has shown rows begins anew in RunTx", File: "contested.go",
		Old:   " && !t.mayDiverge() }\n",
		New:   " && (t.runner != nil || !t.mayDiverge()) }\n",
		Found: []Instrument{Test(lane, "TestLane_LaterStatementInRunTx_DoesNotBeginAnewAfterRows")},
	},
	{
		Name: "lane: a read to write a contested row waits for nobody", File: "contested.go",
		Old:   " && !t.readsToWrite(r) {\n",
		New:   " {\n",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a text is for a write before that is sure", File: "reads_to_write.go",
		Old:   "sureEnough, readAlone = 32, 16, 3\n",
		New:   "sureEnough, readAlone = 32, 15, 3\n",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a text must be surer than it can be for a write", File: "reads_to_write.go",
		Old:   ".Load() >= sureEnough",
		New:   ".Load() > mostSure",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: reads that are for no write take as little as the others add", File: "reads_to_write.go",
		Old:   "-readAlone, 0",
		New:   "-1, 0",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a text that was for writes is so for ever", File: "reads_to_write.go",
		Old:   "count.Load()+1, mostSure",
		New:   "count.Load()+1, 1000",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a text that was for no writes is so for ever", File: "reads_to_write.go",
		Old:   "-readAlone, 0",
		New:   "-readAlone, -1000",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a transaction that only reads waits to write", File: "reads_to_write.go",
		Old:   "	return !t.opening.readOnly && t.pool",
		New:   "	return t.pool",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteInOneThatOnlyReads_DoesNotWait")},
	},
	{
		Name: "lane: what a transaction reads that only reads is for no write", File: "reads_to_write.go",
		Old:   "	if t.c.crdb || t.opening.readOnly || ",
		New:   "	if t.c.crdb || ",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteInOneThatOnlyReads_DoesNotWait")},
	},
	{
		Name: "lane: a locking read that is not to wait waits to write", File: "reads_to_write.go",
		Old:   " && sqltext.ParseKeyRead(r.SQL) != nil\n",
		New:   "\n",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a read is for a write while nothing is contested", File: "reads_to_write.go",
		Old:   " || !t.pool.contested.latest.within(contestedLasts) {\n",
		New:   " {\n",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteWithoutContest_IsNotLearned")},
	},
	{
		Name: "lane: a read is for a write of any row", File: "reads_to_write.go",
		Old:   "slices.Contains(written, row)",
		New:   "len(written) > 0",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a read is for a write that was before it", File: "reads_to_write.go",
		Old:   "range slices.Backward(t.firstRecords()) {",
		New:   "range slices.All(t.firstRecords()) {",
		Found: []Instrument{Test(lane, "TestLane_ReadToWriteAContestedRow_WaitsForItsTurn")},
	},
	{
		Name: "lane: a transaction that has failed begins anew", File: "contested.go",
		Old:   "{ return t.phase() == phaseBlock && ",
		New:   "{ return ",
		Found: []Instrument{Test(lane, "TestLane_LaterStatementThatCannotBeginAnew_DoesNotWait")},
	},
	{
		Name: "lane: one that diverges when it begins anew in its turn has lost nothing", File: "contested.go",
		Old: "	t.attempt.why = errAwaitsRow\n",
		New: "",
		Found: []Instrument{
			Test(lane, "TestLane_BeginsAnewAndDiverges_IsToldAConflict"),
			Programs(program.PostgreSQL, "rows to wait for", 400, program.Reasonless),
		},
	},
	{
		Name: "lane: it begins anew although its turn has come", File: "contested.go",
		Old:   " || t.attempt.pass.Holds() && t.attempt.pass.IsOver([]string{row}) {\n",
		New:   " {\n",
		Found: []Instrument{Test(lane, "TestLane_LaterStatementThatCannotBeginAnew_DoesNotWait")},
	},
	{
		Name: "lane: it waits for its turn with locks held", File: "contested.go",
		Old:   "	if err := t.giveUpLocks(ctx); err != nil {\n		return err\n	}\n	t.leaveLane()\n",
		New:   "	t.leaveLane()\n",
		Found: []Instrument{Test(lane, "TestLane_LaterStatementOfAContestedRow_BeginsAnewInItsTurn")},
	},
	{
		Name: "lane: it waits for its turn in the way of others", File: "contested.go",
		Old:   "	t.leaveLane()\n	err := t.enterLane",
		New:   "	err := t.enterLane",
		Found: []Instrument{Test(lane, "TestLane_BeginsAnewWithATurn_GivesItUp")},
	},
	{
		Name: "lane: a first statement waits without retries", File: "contested.go",
		Old:   " || !t.restartable() || t.policy.LaneWait == 0 ||\n",
		New:   " || t.policy.LaneWait == 0 ||\n",
		Found: []Instrument{Test(lane, "TestLane_ContestedRowWithoutRetries_DoesNotWait")},
	},
	{
		Name: "lane: a row that is waited for is not contested", File: "attempt.go",
		Old:   "	t.pool.contested.note(over)\n	metrics.laneWaiting(1)\n",
		New:   "	metrics.laneWaiting(1)\n",
		Found: []Instrument{Test(lane, "TestLane_RowIsNotContestedAnyMore_NobodyTakesTurns")},
	},
	{
		Name: "lane: rows that were waited for are not contested", File: "attempt.go",
		Old:   "	metrics.laneWaiting(-1)\n	t.pool.contested.note(over)\n",
		New:   "	metrics.laneWaiting(-1)\n",
		Found: []Instrument{Test(lane, "TestLane_LaterStatementOfAContestedRow_BeginsAnewInItsTurn")},
	},
	{
		Name: "lane: it begins anew although it may not wait", File: "contested.go",
		Old:   " || t.policy.LaneWait == 0 ||\n",
		New:   " ||\n",
		Found: []Instrument{Test(lane, "TestLane_TurnFromTheStartNeverEnds_GoesAfterLaneWait")},
	},
	{
		Name: "lane: a row is contested for ever", File: "contested.go",
		Old:   "	if row == \"\" || !t.pool.contested.rows.of(row).within(contestedLasts) {\n",
		New:   "	if row == \"\" {\n",
		Found: []Instrument{Test(lane, "TestLane_RowIsNotContestedAnyMore_NobodyTakesTurns")},
	},
	{
		Name: "lane: a wait before the first statement counts as sent", File: "cursor.go",
		Old:   "		cu.carryOn(fault{err: err, reach: wire.Unsent})\n		return\n	}\n	if f := cu.send",
		New:   "		cu.carryOn(fault{err: err, reach: wire.InStatement})\n		return\n	}\n	if f := cu.send",
		Found: []Instrument{Test(lane, "TestLane_CancelledBeforeItsTurn_TheTransactionGoesOn")},
	},
	{
		Name: "lane: who loses for the first time in its turn waits", File: "attempt.go",
		Old:   "		if t.attempt.number == 1 {",
		New:   "		if false {",
		Found: []Instrument{Test(lane, "TestLane_LosesInItsTurnFromTheStart_BeginsAtOnce")},
	},
	{
		Name: "lane: a transaction that has failed keeps its turn", File: "rollback.go",
		Old:   "	t.leaveLane()\n}\n\n// leave has",
		New:   "}\n\n// leave has",
		Found: []Instrument{Test(lane, "TestLane_TurnFromTheStartEnds_TheNextGoesOn")},
	},
	{
		Name: "lane: who has lost another row keeps its turn", File: "attempt.go",
		Old:   "	if before.Holds() && before.IsOver(over) {\n",
		New:   "	if before.Holds() {\n",
		Found: []Instrument{Test(lane, "TestLane_LosesSomethingElseInTheLane_LeavesItsTurn")},
	},
	{
		Name: "lane: what was lost is forgotten when RunTx calls its function again", File: "runtx.go",
		Old:   "	t.reopen()\n	t.forget()\n	t.goesBack()\n",
		New:   "	t.reopen()\n	at.over = nil\n	t.forget()\n	t.goesBack()\n",
		Found: []Instrument{Test(lane, "TestLane_RunTxLostARow_TakesTurns")},
	},
	{
		Name: "runtx: what PostgreSQL has lost at the commit is called at once", File: "runtx.go",
		Old:   "		return at != PlaceCommit && ",
		New:   "		return ",
		Found: []Instrument{Test(runtx, "TestRunTx_LostOnPostgreSQL_CallsAtOnceUnlessItWasTheCommit")},
	},
	{
		Name: "lane: a place is yielded any number of times", File: "attempt.go",
		Old:   "t.attempt.yields < mostYields &&",
		New:   "t.attempt.yields >= 0 &&",
		Found: []Instrument{Test(runtx, "TestRunTx_CalledAtOnceAndThenReplayed_IsBounded")},
	},
	{
		Name: "lane: who has lost a commit waits at the end", File: "internal/lane/lane.go",
		Old:   "	if before != nil && before.yielded {\n",
		New:   "	if before != nil && !before.yielded {\n",
		Found: []Instrument{Test(lane, "TestLane_CommitLost_GoesBeforeThoseWhoWait")},
	},
	{
		Name: "runtx: unchanged code goes without the savepoint too", File: "calm.go",
		Old:   "	if t.runner != nil && t.opening.savepoint &&",
		New:   "	if t.opening.savepoint &&",
		Found: []Instrument{Test(runtx, "TestRunTx_WhileNothingConflicts_GoesWithoutSavepoint")},
	},
	{
		Name: "runtx: a conflict does not bring the savepoint back", File: "calm.go",
		Old:   "func (c *calm) disturbed() { c.commits.Store(0) }\n",
		New:   "func (c *calm) disturbed() {}\n",
		Found: []Instrument{Test(runtx, "TestRunTx_WhileNothingConflicts_GoesWithoutSavepoint")},
	},
	{
		Name: "runtx: it goes back to a savepoint that was left out", File: "calm.go",
		Old:   "		t.opening.mayHave, t.opening.savepoint = false, false\n",
		New:   "		t.opening.savepoint = false\n",
		Found: []Instrument{Test(runtx, "TestRunTx_WithoutSavepoint_BeginsAnew")},
	},
	{
		Name: "locks: what is known of texts grows without a bound", File: "lock_text.go",
		Old:   "l.bytes += size; l.bytes > mostTextBytes {",
		New:   "l.bytes += size; l.bytes < 0 {",
		Found: []Instrument{Test(driver, "TestLockTexts_ManyTexts_TakeBoundedMemory")},
	},
	{
		Name: "locks: a replay without the lock is not compared", File: "replay.go",
		Old:   "	case t.unlocksAgain(ctx, r, differs, err):\n		a.Discard()\n		return errUnlocked\n",
		New:   "	case t.unlocksAgain(ctx, r, differs, err):\n		a.Discard()\n		return nil\n",
		Found: []Instrument{Test(replay, "TestLocks_LockedReadInAReplay")},
	},

	{
		Name: "locks: a transaction that only reads locks", File: "lock.go",
		Old:   "t.opening.snapshot && !t.opening.readOnly &&",
		New:   "t.opening.snapshot &&",
		Found: []Instrument{Programs(program.CockroachDB, "locks", 30, program.WrongLock)},
	},
	{
		Name: "locks: rows that others have locked are skipped", File: "internal/sqltext/lock.go",
		Old:   `r.sql[:r.end] + " FOR UPDATE" + r.sql[r.end:]`,
		New:   `r.sql[:r.end] + " FOR UPDATE SKIP LOCKED" + r.sql[r.end:]`,
		Found: []Instrument{Programs(program.CockroachDB, "locks", 30, program.WrongLock)},
	},
	{
		Name: "locks: what a locked read returns in a replay is not compared", File: "replay.go",
		Old:   "	if differs = r.judge(differs, err); differs != nil {\n",
		New:   "	if differs = r.judge(differs, err); differs != nil && r.locked == nil {\n",
		Found: []Instrument{Programs(program.CockroachDB, "locks", 500, program.Shown)},
	},
	{
		Name: "locks: a statement that is to run without the lock keeps it", File: "lock.go",
		Old:   "	t.rerecord(r, &plain)\n",
		New:   "	_ = plain\n",
		Found: []Instrument{Programs(program.CockroachDB, "locks", 200, program.WrongLock)},
	},

	// The simulator: what it does not do as CockroachDB does, the tests of the driver can't find.
	{
		Name: "crdbsim: a ROLLBACK undoes a SET", File: "internal/crdbsim/txn.go",
		Old:   "	c.restoreAll()\n	c.status, c.tx = 'I', txn{}\n",
		New:   "	c.status, c.tx = 'I', txn{}\n",
		Found: []Instrument{Test(crdbsim, "TestSetSurvives_HoweverItIsUndone")},
	},
	{
		Name: "crdbsim: a restart undoes a SET", File: "internal/crdbsim/savepoint.go",
		Old:   "	c.restoreAll()\n	c.queueHidden(c.tx.begin)\n",
		New:   "	c.queueHidden(c.tx.begin)\n",
		Found: []Instrument{Test(crdbsim, "TestTraces$/^set_in_transaction")},
	},
	{
		Name: "crdbsim: SHOW COMMIT TIMESTAMP leaves the transaction open", File: "internal/crdbsim/commit_timestamp.go",
		Old:   "		if e, err := c.commitAndWait(); e != nil || err != nil {\n			return reply{failed: e}, err\n		}\n",
		New:   "",
		Found: []Instrument{Test(crdbsim, "TestShowCommitTimestamp_ThenRelease")},
	},
	{
		Name: "crdbsim: a kept session outlives its role's grants", File: "internal/crdbsim/spares.go",
		Old:   "u.unchanged() {",
		New:   "u.unchanged() || true {",
		Found: []Instrument{Test(crdbsim, "TestSpareIsAsNew$/^setting_of_the_role")},
	},

	// The transaction as such.
	{
		Name: "BEGIN is not sent", File: "opening.go",
		Old:   "	statements = append(statements, begin)\n",
		New:   "	statements = append(statements, \"SELECT 1\")\n",
		Found: []Instrument{ScenariosOn("PostgreSQL", history.IntermediateRead, history.DirtyRead)},
	},
	{
		Name: "a rollback commits", File: "rollback.go",
		Old:   "s.Control(ctx, sqlRollback); err",
		New:   "s.Control(ctx, sqlCommit); err",
		Found: []Instrument{Scenarios(history.DirtyRead)},
	},

	// Behind a pooler.
	{
		Name: "the name of a prepared statement is not made of its text", File: "internal/wire/prepared.go",
		Old:   "	_, _ = io.WriteString(h, desc.SQL)\n",
		New:   "	_, _ = io.WriteString(h, desc.SQL[:0])\n",
		Found: []Instrument{Programs(program.Pooled, "keys", 60, program.Shown, program.Lost, program.Tables)},
	},

	// Rows that are cut out of the stream.
	{
		Name: "a row overtakes those that pgproto3 has read", File: "internal/wire/rowreader.go",
		Old:   " || r.frontend.ReadBufferLen() > 0 {",
		New:   " {",
		Found: []Instrument{Test(wire, "FuzzRowReader")},
	},
	{
		Name: "NULL in a later row is an empty string", File: "internal/wire/rowreader.go",
		Old:   "			r.values[i] = nil\n",
		New:   "			r.values[i] = body[:0]\n",
		Found: []Instrument{Test(wire, "FuzzRowReader")},
	},

	// An sql.Conn whose connection was lost.
	{
		Name: "an sql.Conn of which Ping finds the connection lost is of no more use", File: "conn.go",
		Old:   "	if c.tx == nil && ctx.Err() == nil {\n		return c.revive(ctx)\n	}\n",
		New:   "",
		Found: []Instrument{Test(failover, "TestRevive_Ping_GoesOnElsewhere")},
	},
	{
		Name: "an sql.Conn that has lost its connection is of no more use", File: "failover.go",
		Old: "	case !policy.enabled(), policy.MaxFailovers == 0, c.lone.rows != nil:\n",
		New: "	case !policy.enabled(), policy.MaxFailovers >= 0, c.lone.rows != nil:\n",
		Found: []Instrument{
			Test(failover, "TestRevive_AfterALoss_GoesOnElsewhere"),
			Programs(program.Cluster, "endings", 120, program.Stranded),
		},
	},
	{
		Name: "an sql.Conn goes on without what its session held", File: "failover.go",
		Old:   "	case c.journal.pinned:\n		return &ConnectionLostError{Cause: CauseSession, err",
		New:   "	case c.journal.pinned && c.tx != nil:\n		return &ConnectionLostError{Cause: CauseSession, err",
		Found: []Instrument{Test(failover, "TestRevive_TiedToTheSession_IsABadConnection")},
	},
	{
		Name: "an sql.Conn is tied for ever to a server that is away", File: "failover.go",
		Old:   "	if isHopeless(err) { // else the sql.Conn",
		New:   "	if err != nil { // else the sql.Conn",
		Found: []Instrument{Test(failover, "TestRevive_NoServer_SaysWhyAndIsTriedAgain")},
	},

	// Statements that go past pgconn's ResultReader.
	{
		Name: "the columns of a statement that goes alone are those of before", File: "internal/wire/exchange.go",
		Old: "	if slices.EqualFunc(e.known, columns, isField) {\n",
		New: "	if len(e.known) > 0 || slices.EqualFunc(e.known, columns, isField) {\n",
		Found: []Instrument{
			Test(wire, "TestExchange_IsAsPgconn"),
			Test(pooler, "TestNamePreparedByAnother_AfterAChangeOfType_ValuesAreThoseMeant"),
		},
	},
	{
		Name: "an error after the tag is no error", File: "internal/wire/exchange.go",
		Old:   "	if e.err == nil {\n		e.err = err\n",
		New:   "	if e.err == nil && (err == nil || tag == e.tag) {\n		e.err = err\n",
		Found: []Instrument{Test(wire, "TestExchange_IsAsPgconn")},
	},
	{
		Name: "what a context has cut off goes on on the server", File: "internal/wire/exchange.go",
		Old:   "	_, err := e.pg.ExecParams(unwatched{e.ctx}, \"\", nil, nil, nil, nil).Close()\n	return err\n",
		New:   "	_ = e.pg.Close(unwatched{e.ctx})\n	return e.ctx.Err()\n",
		Found: []Instrument{Test(wire, "TestExchange_IsAsPgconn")},
	},
	{
		Name: "a write that takes long is waited for without reading", File: "internal/wire/exchange_send.go",
		Old:   "			e.background.Start()\n",
		New:   "			_ = e.background\n",
		Found: []Instrument{Test(wire, "TestExchange_ServerWritesFirst_IsRead")},
	},
	{
		Name: "the connection is lent while rows are read", File: "internal/wire/session.go",
		Old:   "	if e := &s.exchange; e.open && e.lent == nil {\n",
		New:   "	if e := &s.exchange; e.open && e.lent != nil {\n",
		Found: []Instrument{Test(conns, "TestRaw_WhileRowsAreOpen_IsBusy")},
	},
	{
		Name: "a write is not described, whatever it returns", File: "internal/wire/prepared.go",
		Old:   "len(desc.Fields) == 0 && sqltext.ChangesRows(sql)",
		New:   "sqltext.ChangesRows(sql)",
		Found: []Instrument{Test(prepare, "TestShared_InATransaction_IsDescribedPreparedAndRunInOneRoundTrip")},
	},

	// Answers that do not fit what was sent.
	{
		Name: "a single statement may be answered twice", File: "internal/wire/answer.go",
		Old:   "a.Statements > 1 && !st.Class.Several",
		New:   "a.Statements > 2 && !st.Class.Several",
		Found: []Instrument{Test(statement, "TestNonsense_TwoAnswersToOneStatement_AreNoSuccess")},
	},
	{
		Name: "a count of rows is an answer to COMMIT", File: "internal/wire/roundtrip.go",
		Old:   "strings.HasPrefix(sql, \"SELECT\") || !strings.ContainsAny(tag, \"0123456789\")",
		New:   "true",
		Found: []Instrument{Test(fuzz, "FuzzServerAnswers")},
	},
	{
		Name: "a write that is answered with COMMIT is a RELEASE", File: "cursor.go",
		Old:   "	case class.Commit == sqltext.CommitStays:\n",
		New:   "	case class.Commit != sqltext.CommitEnds:\n",
		Found: []Instrument{Test(fuzz, "FuzzServerAnswers")},
	},
	{
		Name: "a connection that answers nonsense to the commit is used again", File: "commit.go",
		Old:   "	if errors.Is(err, wire.ErrProtocol) {\n		t.session().Die()\n",
		New:   "	if errors.Is(err, wire.ErrProtocol) {\n		_ = t.session()\n",
		Found: []Instrument{Test(statement, "TestNonsense_OtherAnswerToCommit_IsNoSuccess")},
	},

	// Arguments that are encoded without pgtype's plans.
	{
		Name: "an empty string as the first argument is NULL", File: "internal/wire/encode.go",
		Old:   "e.bytes == nil || cap(e.bytes)",
		New:   "cap(e.bytes)",
		Found: []Instrument{Test(wire, "TestEncode_AnyArguments_AsPgx")},
	},
	{
		Name: "an integer is cut to the size of its parameter", File: "internal/wire/encode.go",
		Old:   " && math.MinInt32 <= n && n <= math.MaxInt32:",
		New:   " && math.MinInt32 < math.MaxInt32:",
		Found: []Instrument{Test(wire, "TestEncode_AnyArguments_AsPgx")},
	},

	// Exactly once.
	{
		Name: "the outcome of a commit is asked for by reading", File: "marker_table.go",
		Old: "	return \"INSERT INTO \" + k.name + \" AS m (id, refused) \" +\n" +
			"		\"SELECT $1::UUID, true FROM \" + k.name + \" AS e WHERE e.id = $2::UUID \" +\n" +
			"		\"ON CONFLICT (id) DO UPDATE SET refused = m.refused RETURNING m.refused\"\n",
		New:   "	return \"SELECT coalesce((SELECT refused FROM \" + k.name + \" AS m WHERE id = $1::UUID AND $2::UUID IS NOT NULL), true)\"\n",
		Found: []Instrument{Test(once, "TestCommit_ArrivesAfterTheQuestion_IsNotCarriedOut")},
	},
	{
		Name: "the replay keeps the key of the commit that was refused", File: "marker.go",
		Old:   "	m := &marker{table: t.pool.marks, known: known, key: newUID(), at: time.Now()}\n",
		New:   "	m := &marker{table: t.pool.marks, known: known, key: uid{1: byte(len(t.c.pool.dbName))}, at: time.Now()}\n",
		Found: []Instrument{Test(once, "TestRunTx_AnswerLost_IsCarriedOutOnce")},
	},
	{
		Name: "a marker is placed although the table was truncated", File: "marker_table.go",
		Old:   "CASE WHEN pg_relation_filenode('\" + m.known.name +\n		\"'::REGCLASS) = $2 THEN false END",
		New:   "CASE WHEN pg_relation_filenode('\" + m.known.name +\n		\"'::REGCLASS) IS NOT NULL OR $2 IS NULL THEN false END",
		Found: []Instrument{Test(once, "TestTableTruncated_RefusedCommitArrives_IsNotCarriedOut")},
	},
}
