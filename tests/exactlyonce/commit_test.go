package exactlyonce_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

const (
	committed = cockroachdb.CommitAnswerCommitted
	refused   = cockroachdb.CommitAnswerRefused
	unknown   = cockroachdb.CommitAnswerUnknown
)

// A loss is a way in which the answer to a commit is lost, and what became of the commit.
type loss struct {
	action crdbsim.Action
	answer cockroachdb.CommitAnswer
}

var losses = map[string]loss{
	"carried out, and the connection lost":     {crdbsim.Action{Then: crdbsim.ExecuteCut}, committed},
	"half of its answer":                       {crdbsim.Action{Then: crdbsim.ExecuteHalf}, committed},
	"not carried out, and the connection lost": {crdbsim.Action{Then: crdbsim.Cut}, refused},
	"carried out, answered with 40003": {
		crdbsim.Action{Then: crdbsim.ExecuteFail, Error: completionUnknown}, committed,
	},
	"not carried out, answered with 40003": {crdbsim.Action{Then: crdbsim.Fail, Error: completionUnknown}, refused},
	"the node goes down":                   {crdbsim.Action{Then: crdbsim.Fail, Error: goesDown}, refused},
}

var (
	completionUnknown = crdbsim.Error{Code: "40003", Message: "result is ambiguous"}
	timedOut          = crdbsim.Error{Code: "57014", Message: "query execution canceled due to statement timeout"}
	goesDown          = crdbsim.Error{Severity: "FATAL", Code: "57P01", Message: "server is shutting down"}
)

// strike is a fault at the commit, once.
func strike(a crdbsim.Action) *crdbsim.Fault { return crdbsim.On(onCommit, a) }

func TestCommit_AnswerLost_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.eachLoss(t, func(t *testing.T, loss loss) {
			tx := s.begin(t, t.Context(), nil)
			s.inject(strike(loss.action))
			require.NoError(t, tx.Commit())
			s.wants(t, 1, loss.answer)
			tx = s.begin(t, t.Context(), nil)
			require.NoError(t, tx.Commit())
			s.wants(t, 2, loss.answer)
		})
	})
}

// On CockroachDB a statement_timeout can hide that the commit was carried out; on PostgreSQL it was not.
func TestCommit_StatementTimeout_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	for _, then := range []crdbsim.Then{crdbsim.Fail, crdbsim.ExecuteFail} {
		s := newTestbed(t, crdbsim.Config{})
		tx := s.begin(t, t.Context(), nil)
		s.inject(strike(crdbsim.Action{Then: then, Error: timedOut}))
		require.NoError(t, tx.Commit())
		s.wants(t, 1, map[crdbsim.Then]cockroachdb.CommitAnswer{crdbsim.Fail: refused, crdbsim.ExecuteFail: committed}[then])
	}
}

// What was shown stays true: a replay after the refusal has to show the same.
func TestCommit_Refused_ReplayShowsAnother_Diverges(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		tx := s.begin(t, t.Context(), nil)
		var n int
		require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT n FROM accounts WHERE id = 2").Scan(&n))
		s.inject(strike(crdbsim.Action{Then: crdbsim.Cut}))
		s.inject(crdbsim.On(onAsking, crdbsim.Action{Call: func() {
			_, err := s.plain.ExecContext(context.Background(), add, 2)
			assert.NoError(t, err)
		}}))
		var diverged *cockroachdb.DivergenceError
		require.ErrorAs(t, tx.Commit(), &diverged)
		s.wants(t, 0, refused)
	})
}

func TestCommit_EveryIsolationLevel_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
		for name, lose := range map[string]func(*testing.T, *testbed){
			"carried out":     func(_ *testing.T, s *testbed) { s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut})) },
			"not carried out": func(_ *testing.T, s *testbed) { s.inject(strike(crdbsim.Action{Then: crdbsim.Cut})) },
			"arrives late":    func(t *testing.T, s *testbed) { s.arrivesLate(t, func() {}) },
		} {
			t.Run(level.String()+"/"+name, func(t *testing.T) {
				t.Parallel()
				servers(t, func(t *testing.T, s *testbed) {
					tx := s.begin(t, t.Context(), &sql.TxOptions{Isolation: level})
					lose(t, s)
					require.NoError(t, tx.Commit())
					assert.Equal(t, 1, s.number(t, "SELECT n FROM accounts WHERE id = 1"))
				})
			})
		}
	}
}

// The commit comes to the server after the question was answered: it must fail then.
func TestCommit_ArrivesAfterTheQuestion_IsNotCarriedOut(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		tx := s.begin(t, t.Context(), nil)
		s.arrivesLate(t, func() {})
		require.NoError(t, tx.Commit(), "the replay waits for the locks of what comes late")
		s.wants(t, 1, refused)
	})
}

// The commit is under way while it is asked for: the question waits for it.
func TestCommit_StillUnderWay_TheQuestionWaits(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		tx := s.begin(t, t.Context(), nil)
		asking := make(chan struct{})
		s.inject(strike(crdbsim.Action{Call: func() {
			s.cut()
			<-asking
		}}), crdbsim.On(onAsking, crdbsim.Action{Call: func() { close(asking) }}))
		require.NoError(t, tx.Commit())
		n := s.number(t, "SELECT n FROM accounts WHERE id = 1")
		assert.Equal(t, 1, n)
	})
}

func TestCommit_QuestionLost_IsAskedAgain(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.eachLoss(t, func(t *testing.T, loss loss) {
			tx := s.begin(t, t.Context(), nil)
			s.inject(strike(loss.action), crdbsim.On(onAsking, crdbsim.Action{Then: crdbsim.Cut}))
			again := crdbsim.On(onAsking, crdbsim.Action{Then: crdbsim.ExecuteCut})
			s.inject(again)
			require.NoError(t, tx.Commit())
			s.wants(t, 1, loss.answer)
			assert.Equal(t, 1, again.Hits())
		})
	})
}

// An error in answer to the question is no answer. A standby, for example, can't tell.
func TestCommit_QuestionFails_IsAskedAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"25006", "26000", "XX000", "57014", "53200", "40003"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			servers(t, func(t *testing.T, s *testbed) {
				tx := s.begin(t, t.Context(), nil)
				s.inject(strike(crdbsim.Action{Then: crdbsim.ExecuteCut}), crdbsim.On(onAsking, crdbsim.Action{
					Then: crdbsim.Fail, Error: crdbsim.Error{Code: code, Message: "injected"},
				}))
				require.NoError(t, tx.Commit())
				s.wants(t, 1, committed)
			})
		})
	}
}

// A context that ends during the commit ends the waiting, and not the question.
func TestCommit_ContextEnds_TheOutcomeIsTold(t *testing.T) {
	t.Parallel()
	for name, carriedOut := range map[string]bool{"carried out": true, "not carried out": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers(t, func(t *testing.T, s *testbed) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				tx := s.begin(t, ctx, nil)
				a := crdbsim.Action{Call: cancel, Then: crdbsim.Cut}
				if carriedOut {
					a = crdbsim.Action{CallReply: cancel, DelayReply: 0, Then: crdbsim.ExecuteCut}
				}
				s.inject(strike(a))
				err := tx.Commit()
				if carriedOut {
					require.NoError(t, err)
					s.wants(t, 1, committed)
					return
				}
				if err == nil { // the loss was noticed before the context's end
					s.wants(t, 1, refused)
					return
				}
				require.ErrorIs(t, err, context.Canceled)
				s.wants(t, 0, refused)
			})
		})
	}
}

// Nobody answers within the short time that is left after the context has ended.
func TestCommit_ContextEnds_NobodyAnswers_Ambiguous(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tx := s.begin(t, ctx, nil)
		s.inject(strike(crdbsim.Action{CallReply: cancel, Then: crdbsim.ExecuteCut}), unasked())
		lost := tx.Commit()
		var ambiguous *cockroachdb.AmbiguousCommitError
		require.ErrorAs(t, lost, &ambiguous)
		s.wants(t, 1, unknown)
		is, err := cockroachdb.CommitOutcome(t.Context(), s.plain, lost)
		require.NoError(t, err)
		assert.True(t, is)
	})
}

const mayCommit = "DO $$ BEGIN UPDATE accounts SET n = n + 10 WHERE id = 1; END $$"

// A statement that might commit has a marker, too. In an open transaction it does not commit.
func TestStatementThatMayCommit_AnswerLost_IsRunAgain(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		tx := s.begin(t, t.Context(), nil)
		s.inject(crdbsim.On("^DO", crdbsim.Action{Then: crdbsim.ExecuteCut}))
		_, err := tx.ExecContext(t.Context(), mayCommit)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		s.wants(t, 11, refused)
	})
}

// The transaction goes on as if there had been no marker, and in the end there is one, as ever.
func TestStatementThatMayCommit_HasNot_LeavesNothing(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.SetMaxOpenConns(1)
		for i := range 2 {
			tx := s.begin(t, t.Context(), nil)
			for range 2 {
				_, err := tx.ExecContext(t.Context(), mayCommit)
				require.NoError(t, err)
			}
			var scans string
			require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT current_setting('enable_seqscan')").Scan(&scans))
			assert.Equal(t, "on", scans)
			require.NoError(t, tx.Commit())
			s.wants(t, 21*(i+1))
			there, refusals := s.markers(t)
			assert.Equal(t, []int{1, 0}, []int{there, refusals})
		}
	})
}

func TestCommit_AsText_AnswerLost_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.eachLoss(t, func(t *testing.T, loss loss) {
			tx := s.begin(t, t.Context(), nil)
			s.inject(strike(loss.action))
			_, err := tx.ExecContext(t.Context(), "COMMIT")
			require.NoError(t, err)
			_ = tx.Commit()
			s.wants(t, 1, loss.answer)
		})
	})
}

func TestRunTx_AnswerLost_IsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, s *testbed) {
		s.eachLoss(t, func(t *testing.T, loss loss) {
			s.inject(strike(loss.action))
			require.NoError(t, cockroachdb.RunTx(t.Context(), s.DB, nil, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(t.Context(), add, 1)
				return err
			}))
			s.wants(t, 1, loss.answer)
		})
	})
}
