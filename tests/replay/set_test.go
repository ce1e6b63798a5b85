package replay_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// schemas is a server on which an INSERT goes to the schema that the session's search_path names, and on which neither
// ROLLBACK TO nor ROLLBACK undoes a SET, as on CockroachDB.
type schemas struct {
	mu        sync.Mutex
	path      string
	open      []string
	committed []string
}

func (s *schemas) answer(st fakepg.Statement) fakepg.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch text := st.SQL; {
	case st.Describing:
	case strings.HasPrefix(text, "SET search_path = "):
		s.path = strings.TrimPrefix(text, "SET search_path = ")
	case text == "BEGIN", text == kit.RollbackTo, text == "ROLLBACK":
		s.open = nil
	case strings.HasPrefix(text, "INSERT"):
		s.open = append(s.open, s.path+": "+text)
	case strings.HasPrefix(text, "UPDATE") && st.Nth == 1:
		return kit.Conflict
	case text == kit.Release:
		s.committed = append(s.committed, s.open...)
		s.open = nil
	}
	return kit.OK
}

// rows are those that are committed, with their schemas.
func (s *schemas) rows() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

// What stands before a SET must not be replayed under it.
func TestReplay_SetBetweenWrites_CommitsNothingElsewhere(t *testing.T) {
	t.Parallel()
	s := &schemas{path: "a"}
	st := kit.Answering(t, s.answer)
	tx := st.Begin(t)
	require.NoError(t, kit.ExecAll(tx, "INSERT 1", "SET search_path = b", "INSERT 2"))
	err := kit.ExecAll(tx, "UPDATE hot")
	assert.Equal(t, cockroachdb.CauseSession, kit.As[*cockroachdb.NotReplayableError](t, err).Cause)
	kit.WantConflict(t, err)
	require.Error(t, tx.Commit())
	assert.Empty(t, s.rows())
}

func TestReplay_SetFirst_CommitsUnderIt(t *testing.T) {
	t.Parallel()
	s := &schemas{path: "a"}
	st := kit.Answering(t, s.answer)
	tx := st.Begin(t)
	require.NoError(t, kit.ExecAll(tx, "SET search_path = b", "INSERT 1", "UPDATE hot"))
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{"b: INSERT 1"}, s.rows())
}

// TestReplay_SessionChanged_IsReplayedOnlyIfNothingRanBefore: the statements that change the session for longer than
// the transaction. With "later" they come after a write, with "first" before it.
func TestReplay_SessionChanged_IsReplayedOnlyIfNothingRanBefore(t *testing.T) {
	t.Parallel()
	for text, replayed := range map[string]struct{ first, later bool }{
		"SET a = 1":                          {true, false},
		"SET SESSION a = 1":                  {true, false},
		"set a to 1":                         {true, false},
		"/* a */ SET a = 1 -- b":             {true, false},
		"SET a = 1;":                         {true, false},
		"SET TIME ZONE 'UTC'":                {true, false},
		"SET NAMES 'UTF8'":                   {true, false},
		"SET ROLE r":                         {true, false},
		"SET SESSION AUTHORIZATION r":        {true, false},
		"SET a = 1; SET b = 2":               {true, false},
		"RESET a":                            {true, false},
		"RESET ALL":                          {true, false},
		"USE d":                              {true, false},
		"SELECT set_config('a', '1', false)": {false, false},
		"SELECT pg_catalog.set_config('a', '1', false)":                           {false, false},
		"UPDATE t SET v = set_config('a', '1', false)":                            {false, false},
		"WITH s AS (SELECT set_config('a', '1', false)) SELECT 1":                 {false, false},
		"UPDATE t; SET a = 1":                                                     {false, false},
		"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE": {true, false},
		"PREPARE p AS SELECT 1":                                                   {false, false},
		"DEALLOCATE p":                                                            {false, false},
		"DISCARD ALL":                                                             {false, false},
		"SELECT pg_advisory_lock(1)":                                              {false, false},
		"SET LOCAL a = 1":                                                         {true, true},
		"SET TRANSACTION PRIORITY HIGH":                                           {true, true},
		"SET CONSTRAINTS ALL DEFERRED":                                            {true, true},
		"SHOW a":                                                                  {true, true},
		"SELECT 'SET a = 1'":                                                      {true, true},
		"SELECT $$SET a$$":                                                        {true, true},
		"UPDATE t SET a = 1":                                                      {true, true},
	} {
		for _, order := range []string{"first", "later"} {
			t.Run(order+"/"+text, func(t *testing.T) {
				t.Parallel()
				st := kit.New(t, kit.Script{"UPDATE hot": {kit.Conflict, kit.OK}})
				tx := st.Begin(t)
				before, want := []string{text, "UPDATE a"}, replayed.first
				if order == "later" {
					before, want = []string{"UPDATE a", text}, replayed.later
				}
				require.NoError(t, kit.ExecAll(tx, before...))
				err := kit.ExecAll(tx, "UPDATE hot")
				if want {
					require.NoError(t, err)
					require.NoError(t, tx.Commit())
					return
				}
				assert.Equal(t, cockroachdb.CauseSession, kit.As[*cockroachdb.NotReplayableError](t, err).Cause)
				require.Error(t, tx.Commit())
				assert.NotContains(t, st.Sent(), kit.Release)
			})
		}
	}
}
