package crdbmodel_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

func TestLock_SecondBlindWriter_WaitsAndDoesNotConflict(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.must("UPDATE kv SET v = v + 1 WHERE k = 1")
		waiter := b.goes("UPDATE kv SET v = v + 10 WHERE k = 1").waits()
		a.commit()
		waiter.succeeds()
		b.commit()
		a.sees(11, "SELECT v FROM kv WHERE k = 1")
	})
}

func TestLock_ManyWaiters_GetItInTheOrderOfTheirArrival(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		c := s.connect()
		c.must("BEGIN")
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		second := b.goes("UPDATE kv SET v = 2 WHERE k = 1").waits()
		third := c.goes("UPDATE kv SET v = 3 WHERE k = 1").waits()
		a.commit()
		second.succeeds()
		third.waits()
		b.commit()
		third.succeeds()
	})
}

func TestLock_ForUpdate_IsExclusive(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.sees(0, "SELECT v FROM kv WHERE k = 1 FOR UPDATE")
		waiter := b.query("SELECT v FROM kv WHERE k = 1 FOR UPDATE").waits()
		a.must("UPDATE kv SET v = 5 WHERE k = 1")
		a.commit()
		waiter.succeeds()
		require.EqualValues(s, 5, waiter.n, "it sees what it has waited for")
	})
}

func TestLock_AfterConflict_StaysUntilRollback(t *testing.T) {
	for _, restart := range []string{"ROLLBACK TO SAVEPOINT cockroach_restart", "ROLLBACK"} {
		t.Run(restart, func(t *testing.T) {
			tell(t, nil, func(s *story) {
				a, b := s.two()
				other := s.connect()
				a.sees(0, "SELECT v FROM kv WHERE k = 1")
				a.must("UPDATE kv SET v = 1 WHERE k = 2")
				b.must("UPDATE kv SET v = 1 WHERE k = 1")
				b.commit()
				a.fails("40001", "WRITE_TOO_OLD", "UPDATE kv SET v = 2 WHERE k = 1")
				waiter := other.goes("UPDATE kv SET v = 7 WHERE k = 2").waits()
				a.must(restart)
				if restart == "ROLLBACK" {
					waiter.succeeds()
					return
				}
				waiter.waits()
				a.must("UPDATE kv SET v = 3 WHERE k = 2")
				a.commit()
				waiter.succeeds()
			})
		})
	}
}

func TestLock_UndoneWrite_StaysLocked(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.must("SAVEPOINT mine")
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		a.must("ROLLBACK TO SAVEPOINT mine")
		a.sees(0, "SELECT v FROM kv WHERE k = 1")
		waiter := b.goes("UPDATE kv SET v = v + 2 WHERE k = 1").waits()
		a.must("RELEASE SAVEPOINT mine")
		a.commit()
		waiter.succeeds()
		b.commit()
		a.sees(2, "SELECT v FROM kv WHERE k = 1")
	})
}

func TestDeadlock_OneIsAbortedAfterTheDelay_AndItsLocksGo(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.must("UPDATE kv SET v = 1 WHERE k = 2")
		first := a.goes("UPDATE kv SET v = 1 WHERE k = 2").waits()
		second := b.goes("UPDATE kv SET v = 1 WHERE k = 1").waits()
		time.Sleep(40 * time.Millisecond)
		first.waits()
		time.Sleep(30 * time.Millisecond)
		winner, loser := first, second
		if first.ends() != nil {
			winner, loser = second, first
		}
		winner.succeeds()
		requireFailure(s, loser.ends(), "40001", "ABORT_REASON_PUSHER_ABORTED")
		require.EqualValues(s, 1, s.server.Counts().Deadlocks)
		loser.must("ROLLBACK TO SAVEPOINT cockroach_restart")
		winner.commit()
		loser.must("UPDATE kv SET v = 2 WHERE k = 1")
		loser.commit()
	})
}

func TestDeadlock_AmongPriorityHigh_OneIsAborted(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must("BEGIN PRIORITY HIGH")
		b.must("BEGIN PRIORITY HIGH")
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.must("UPDATE kv SET v = 1 WHERE k = 2")
		first := a.goes("UPDATE kv SET v = 1 WHERE k = 2").waits() // among equals it waits
		second := b.goes("UPDATE kv SET v = 1 WHERE k = 1").waits()
		time.Sleep(100 * time.Millisecond)
		require.NotEqual(s, first.ends() == nil, second.ends() == nil, "one of the two")
	})
}

func TestPriorityHigh_Writer_AbortsTheHolderAtOnce(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must("BEGIN")
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.must("BEGIN PRIORITY HIGH")
		b.goes("UPDATE kv SET v = 2 WHERE k = 1").succeeds()
		a.fails("40001", "ABORTED", "SELECT v FROM kv WHERE k = 5")
		b.must("COMMIT")
		b.sees(2, "SELECT v FROM kv WHERE k = 1")
	})
}

func TestPriorityHigh_InTheQueue_AbortsWhoGetsTheLockBefore(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b, c := s.connect(), s.connect(), s.connect()
		a.must("BEGIN PRIORITY HIGH")
		b.must("BEGIN")
		c.must("BEGIN PRIORITY HIGH")
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.sees(0, "SELECT v FROM kv WHERE k = 5") // from here on the server does not retry it
		before := b.goes("UPDATE kv SET v = 2 WHERE k = 1").waits()
		high := c.goes("UPDATE kv SET v = 3 WHERE k = 1").waits()
		a.must("COMMIT")
		high.succeeds()
		requireFailure(s, before.ends(), "40001", "ABORTED")
	})
}

func TestPriorityHigh_Reader_PushesTheHolder(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must("BEGIN")
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.must("BEGIN PRIORITY HIGH")
		reader := b.query("SELECT v FROM kv WHERE k = 1")
		reader.succeeds()
		require.Zero(s, reader.n)
		b.must("COMMIT")
		a.must("COMMIT")
		require.EqualValues(s, 1, s.server.Counts().Pushed)
	})
}

func TestPriorityHigh_AgainstACommit_Waits(t *testing.T) {
	tell(t, func(cfg *crdbmodel.Config) { cfg.Commit = time.Second }, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must("BEGIN")
		a.must("UPDATE kv SET v = v + 1 WHERE k = 1")
		committing := a.goes("COMMIT").waits()
		b.must("BEGIN PRIORITY HIGH")
		waiter := b.goes("UPDATE kv SET v = v + 1 WHERE k = 1").waits()
		time.Sleep(time.Second)
		committing.succeeds()
		waiter.succeeds()
		require.Zero(s, s.server.Counts().Overridden)
	})
}

func TestLock_ClientThatWaits_GoesAway_AndItsPlaceIsGone(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		c := s.connect()
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		gone := b.goes("UPDATE kv SET v = 2 WHERE k = 1").waits()
		waiter := c.goes("UPDATE kv SET v = 3 WHERE k = 1").waits()
		_ = b.conn.PgConn().Conn().Close()
		require.Error(s, gone.ends())
		a.commit()
		waiter.succeeds()
	})
}
