package crdbmodel_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

func TestRead_OfAnIntentBelow_WaitsAndSeesTheCommit(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		reader := b.query("SELECT v FROM kv WHERE k = 1").waits()
		a.commit()
		reader.succeeds()
		require.EqualValues(s, 1, reader.n)
	})
}

func TestRead_OfAnIntentAbove_SeesWhatWasBefore(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		b.sees(0, "SELECT v FROM kv WHERE k = 5") // which fixes its timestamp
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.sees(0, "SELECT v FROM kv WHERE k = 1")
		a.commit()
		b.sees(0, "SELECT v FROM kv WHERE k = 1")
		b.commit()
		b.sees(1, "SELECT v FROM kv WHERE k = 1")
	})
}

func TestWrite_OfWhatWasReadAndHasChanged_Conflicts(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.sees(0, "SELECT v FROM kv WHERE k = 1")
		b.must("UPDATE kv SET v = 100 WHERE k = 1")
		b.commit()
		a.fails("40001", "RETRY_WRITE_TOO_OLD", "UPDATE kv SET v = 1 WHERE k = 1")
		a.fails("25P02", "", "SELECT v FROM kv WHERE k = 1")
		a.must("ROLLBACK TO SAVEPOINT cockroach_restart")
		a.sees(100, "SELECT v FROM kv WHERE k = 1")
		a.must("UPDATE kv SET v = 101 WHERE k = 1")
		a.commit()
	})
}

func TestWrite_OfWhatHasChanged_NothingReadHas_Refreshes(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.sees(0, "SELECT v FROM kv WHERE k = 5")
		b.must("UPDATE kv SET v = 100 WHERE k = 1")
		b.commit()
		a.must("UPDATE kv SET v = v + 1 WHERE k = 1")
		a.commit()
		a.sees(101, "SELECT v FROM kv WHERE k = 1")
		require.NotZero(s, s.server.Counts().Refreshed)
	})
}

func TestWriteSkew_OneCommitConflicts(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.sees(0, "SELECT v FROM kv WHERE k = 1")
		b.sees(0, "SELECT v FROM kv WHERE k = 2")
		a.must("UPDATE kv SET v = 1 WHERE k = 2")
		b.must("UPDATE kv SET v = 1 WHERE k = 1")
		// a has moved above b's read, and its own read does not hold there: b's intent is in between.
		a.fails("40001", "RETRY_SERIALIZABLE", "RELEASE SAVEPOINT cockroach_restart")
		b.commit()
		a.must("ROLLBACK TO SAVEPOINT cockroach_restart")
		a.sees(1, "SELECT v FROM kv WHERE k = 1")
		a.commit()
	})
}

func TestPhantom_InsertIntoASpanThatWasRead_Conflicts(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.sees(10, "SELECT count(*) FROM kv")
		b.sees(10, "SELECT count(*) FROM kv")
		a.must("INSERT INTO kv VALUES (20, 1)")
		b.must("INSERT INTO kv VALUES (30, 1)")
		a.fails("40001", "RETRY_SERIALIZABLE", "RELEASE SAVEPOINT cockroach_restart")
		b.commit()
	})
}

func TestCommit_ThatConflicts_ByCommit_EndsTheTransaction(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.sees(0, "SELECT v FROM kv WHERE k = 1")
		b.sees(0, "SELECT v FROM kv WHERE k = 2")
		a.must("UPDATE kv SET v = 1 WHERE k = 2")
		b.must("UPDATE kv SET v = 1 WHERE k = 1")
		a.fails("40001", "RETRY_SERIALIZABLE", "COMMIT")
		require.EqualValues(s, 'I', a.conn.PgConn().TxStatus())
	})
}

func TestRelease_ThenOnlyCommitIsLeft(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, _ := s.two()
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		a.must("RELEASE SAVEPOINT cockroach_restart")
		require.EqualValues(s, 'T', a.conn.PgConn().TxStatus())
		a.fails("25000", "committed", "SELECT v FROM kv WHERE k = 1")
		a.must("COMMIT")
	})
}

func TestSavepoint_RestartSavepointLate_IsRefused(t *testing.T) {
	tell(t, nil, func(s *story) {
		a := s.connect()
		a.must("BEGIN")
		a.sees(0, "SELECT v FROM kv WHERE k = 1")
		a.fails("42601", "first statement", "SAVEPOINT cockroach_restart")
	})
}

func TestServerRetry_OfTheFirstStatement_IsUnseen(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must("BEGIN")
		b.must("BEGIN PRIORITY HIGH")
		b.must("UPDATE kv SET v = 5 WHERE k = 9")
		first := a.goes("UPDATE kv SET v = v + 1").waits() // has locked rows 0 to 8
		b.must("UPDATE kv SET v = 4 WHERE k = 0")          // and is aborted by this
		b.must("COMMIT")
		first.succeeds()
		a.must("COMMIT")
		a.sees(19, "SELECT sum(v) FROM kv")
		require.EqualValues(s, 1, s.server.Counts().ServerRetries)
	})
}

func TestServerRetry_OfABatch_IncludesItsCommit(t *testing.T) {
	tell(t, nil, func(s *story) {
		const clients, rounds = 8, 10
		var all []*promise
		for range clients {
			c := s.connect()
			all = append(all, c.start("batches", func(*promise) error {
				for range rounds {
					b := &pgx.Batch{}
					b.Queue("BEGIN")
					b.Queue("SELECT v FROM kv WHERE k = 1")
					b.Queue("UPDATE kv SET v = v + 1 WHERE k = 1")
					b.Queue("COMMIT")
					if err := c.conn.SendBatch(c.Context(), b).Close(); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		time.Sleep(10 * time.Second)
		for _, p := range all {
			p.succeeds()
		}
		s.connect().sees(clients*rounds, "SELECT v FROM kv WHERE k = 1")
		require.NotZero(s, s.server.Counts().ServerRetries)
	})
}

func TestServerRetry_AfterAnAnswerWasSent_IsNone(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.two()
		a.sees(0, "SELECT v FROM kv WHERE k = 1")
		b.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.commit()
		a.fails("40001", "RETRY_WRITE_TOO_OLD", "UPDATE kv SET v = 1 WHERE k = 1")
		require.Zero(s, s.server.Counts().ServerRetries)
	})
}

func buffered(cfg *crdbmodel.Config) { cfg.Buffered = true }

func TestBuffered_LockAlone_StopsWritersButNoReaders(t *testing.T) {
	tell(t, buffered, func(s *story) {
		a, b := s.two()
		c := s.connect()
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		a.sees(1, "SELECT v FROM kv WHERE k = 1") // its own
		b.sees(0, "SELECT v FROM kv WHERE k = 1")
		waiter := c.goes("UPDATE kv SET v = v + 1 WHERE k = 1").waits()
		a.commit()
		waiter.succeeds()
		c.sees(2, "SELECT v FROM kv WHERE k = 1")
	})
}

func TestBuffered_ReadOfWhatIsBuffered_MovesTheCommitAboveIt(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		tellOnce(t, buffered, func(s *story) {
			a, b := s.two()
			a.sees(0, "SELECT v FROM kv WHERE k = 2")
			if restarted {
				a.must("ROLLBACK TO SAVEPOINT cockroach_restart")
			}
			a.must("UPDATE kv SET v = 1 WHERE k = 1")
			if restarted { // then nothing is buffered, and the reader waits
				reader := b.query("SELECT v FROM kv WHERE k = 1").waits()
				a.commit()
				reader.succeeds()
				return
			}
			b.sees(0, "SELECT v FROM kv WHERE k = 1")
			before := s.server.Counts().Refreshed
			a.commit()
			require.Equal(s, before+1, s.server.Counts().Refreshed)
			b.sees(0, "SELECT v FROM kv WHERE k = 1")
		})
	}
}

const beginReadCommitted = "BEGIN ISOLATION LEVEL READ COMMITTED"

func TestReadCommitted_WriteOfWhatHasChanged_DoesNotConflict(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must(beginReadCommitted)
		a.sees(0, "SELECT v FROM kv WHERE k = 1")
		b.must("UPDATE kv SET v = 100 WHERE k = 1")
		a.sees(100, "SELECT v FROM kv WHERE k = 1")
		b.must("UPDATE kv SET v = 200 WHERE k = 1")
		a.must("UPDATE kv SET v = v + 1 WHERE k = 1")
		a.must("COMMIT")
		a.sees(201, "SELECT v FROM kv WHERE k = 1")
	})
}

func TestReadCommitted_StatementThatComesTooLate_IsRetriedAlone(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must(beginReadCommitted)
		a.must("UPDATE kv SET v = 7 WHERE k = 5")
		b.must("BEGIN")
		b.must("UPDATE kv SET v = 1 WHERE k = 9")
		late := a.goes("UPDATE kv SET v = v + 1").waits() // has read rows 0 to 8
		b.must("COMMIT")
		late.succeeds()
		a.must("COMMIT")
		a.sees(18, "SELECT sum(v) FROM kv")
	})
}

func TestReadCommitted_Holder_DoesNotStopReaders(t *testing.T) {
	tell(t, nil, func(s *story) {
		a, b := s.connect(), s.connect()
		a.must(beginReadCommitted)
		a.must("UPDATE kv SET v = 1 WHERE k = 1")
		b.sees(0, "SELECT v FROM kv WHERE k = 1")
		a.must("COMMIT")
		b.sees(1, "SELECT v FROM kv WHERE k = 1")
	})
}
