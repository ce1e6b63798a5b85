package replay_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const (
	readRow   = "SELECT v FROM kv WHERE k = $1"
	lockRow   = readRow + " FOR UPDATE"
	writeRow  = "UPDATE kv SET v = $1 WHERE k = $2"
	askForKey = "SELECT i.indexrelid"

	enoughToLearn   = 16 // transactions that diverge, all of them
	untilVerdict    = 64 // transactions that lock
	whileItIsBarred = 5 * time.Minute
)

// A rowServer has a row that somebody else changes before each read, unless it is calm. The first write after each
// Begin loses, unless it is calm; or that after each commit.
type rowServer struct {
	keys     fakepg.Reply
	locked   func(n int) fakepg.Reply
	conflict fakepg.Reply
	script   kit.Script

	mu    sync.Mutex
	calm  bool
	value int64
	lost  bool
	once  bool // a transaction that begins anew does not lose again
}

func keysOf(columns ...string) fakepg.Reply {
	r := fakepg.Reply{Columns: []fakepg.Column{{Name: "indexrelid"}, {Name: "attname"}}}
	for i := 0; i < len(columns); i += 2 {
		r.Values = append(r.Values, []any{columns[i], columns[i+1]})
	}
	return r
}

func rowOf(v ...int64) fakepg.Reply {
	r := kit.Ints(v...)
	r.ParamOIDs = []uint32{pgtype.Int8OID}
	return r
}

func newRowServer() *rowServer {
	return &rowServer{
		keys: keysOf("1", "k"), locked: func(int) fakepg.Reply { return rowOf(7) },
		conflict: kit.Conflict, script: kit.Script{},
	}
}

func (s *rowServer) reply(st fakepg.Statement) fakepg.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasPrefix(st.SQL, "BEGIN"), st.SQL == "COMMIT":
		s.lost = s.lost && s.once && st.SQL != "COMMIT"
	case strings.HasPrefix(st.SQL, askForKey):
		return s.keys
	case st.SQL == readRow, st.SQL == lockRow && st.Describing:
		if !s.calm && !st.Describing {
			s.value++
		}
		return rowOf(s.value)
	case st.SQL == lockRow:
		return s.locked(st.Nth)
	case !st.Describing && strings.HasPrefix(st.SQL, "UPDATE") && !s.calm && !s.lost:
		s.lost = true
		return s.conflict
	case st.SQL == writeRow:
		return fakepg.Reply{ParamOIDs: []uint32{pgtype.Int8OID, pgtype.Int8OID}}
	}
	return s.script.Reply(st)
}

func (s *rowServer) calmDown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calm = true
}

func (s *rowServer) stir() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calm = false
}

func learning(c *cockroachdb.Config) { c.LearnLocks = cockroachdb.LearnLocksAlways }

// addOne reads a row in a transaction and writes it, and returns what it read.
func addOne(ctx context.Context, db *sql.DB) (v int64, err error) {
	return v, kit.InTx(ctx, db, nil, func(tx *sql.Tx) (err error) {
		v, err = addOneIn(ctx, tx)
		return err
	})
}

func addOneIn(ctx context.Context, tx *sql.Tx) (v int64, err error) {
	if err := tx.QueryRowContext(ctx, readRow, 1).Scan(&v); err != nil {
		return v, err
	}
	_, err = tx.ExecContext(ctx, writeRow, v+1, 1)
	return v, err
}

// learn has addOne diverge until its read locks, and then no more. It returns how often the server was asked for keys.
func (s *rowServer) learn(t *testing.T, r *kit.Rig) (asked int) {
	t.Helper()
	s.stir()
	for range enoughToLearn {
		_, err := addOne(t.Context(), r.DB)
		kit.As[*cockroachdb.DivergenceError](t, err)
	}
	s.calmDown()
	asked = countWithPrefix(r.Sent(), askForKey)
	r.Forget()
	return asked
}

// A listener notes what becomes of texts.
type lockListener struct {
	mu     sync.Mutex
	events []cockroachdb.LockEvent
}

func (l *lockListener) hook(c *cockroachdb.Config) {
	c.OnLockChanged = func(_ context.Context, e cockroachdb.LockEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events = append(l.events, e)
	}
}

func (l *lockListener) changes() (all []cockroachdb.LockChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		all = append(all, e.Change)
	}
	return all
}

// A textTracer notes the texts of queries.
type textTracer struct {
	mu    sync.Mutex
	texts []string
}

func (tr *textTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.texts = append(tr.texts, data.SQL)
	return ctx
}

func (*textTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestLocks_RowReadDivergesAndIsWritten_IsLearned(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes[:4] {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s, l, tracer := newRowServer(), &lockListener{}, &textTracer{}
			r := kit.Answering(t, s.reply, learning, l.hook, "default_query_exec_mode="+mode,
				func(c *cockroachdb.Config) { c.ConnConfig.Tracer = tracer })
			assert.Equal(t, 1, s.learn(t, r), "the server is asked once")
			before := r.Counts(t)
			v, err := addOne(t.Context(), r.DB)
			require.NoError(t, err)
			assert.EqualValues(t, 7, v, "the locked read's")
			assert.Equal(t, []string{"BEGIN", kit.Savepoint, lockRow, writeRow, kit.Release, "COMMIT"}, r.Sent())
			assert.EqualValues(t, 1, r.Moved(t, before)["locked_reads_total"])
			assert.EqualValues(t, 1, r.Counts(t)["lock_changes_total learned"])
			event := cockroachdb.LockEvent{Change: cockroachdb.LockLearned, Text: "SELECT v FROM kv WHERE k = ?"}
			assert.Equal(t, []cockroachdb.LockEvent{event}, l.events)
			assert.Contains(t, tracer.texts, lockRow)
		})
	}
}

func countWithPrefix(texts []string, prefix string) (n int) {
	for _, text := range texts {
		if strings.HasPrefix(text, prefix) {
			n++
		}
	}
	return n
}

// A statement that the application has prepared locks too.
func TestLocks_LearnedText_LocksWhereverItRuns(t *testing.T) {
	t.Parallel()
	s := newRowServer()
	r := kit.Answering(t, s.reply, learning)
	s.learn(t, r)
	stmt, err := r.DB.PrepareContext(t.Context(), readRow)
	require.NoError(t, err)
	defer stmt.Close()
	var v int64
	require.NoError(t, kit.InTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
		return tx.StmtContext(t.Context(), stmt).QueryRowContext(t.Context(), 1).Scan(&v)
	}))
	assert.EqualValues(t, 7, v)
}

func TestLocks_NotSwitchedOn_NoTextChanges(t *testing.T) {
	t.Parallel()
	s := newRowServer()
	r := kit.Answering(t, s.reply)
	assert.Zero(t, s.learn(t, r))
	v, err := addOne(t.Context(), r.DB)
	require.NoError(t, err)
	assert.EqualValues(t, s.value, v)
	assert.Zero(t, r.Times(lockRow))
}

func TestLocks_AnythingElse_IsNotLearned(t *testing.T) {
	t.Parallel()
	exec := func(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
	read := func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, readRow, 1).Scan(new(int64))
	}
	readThen := func(query string, args ...any) func(context.Context, *sql.Tx) error {
		return func(ctx context.Context, tx *sql.Tx) error {
			if err := read(ctx, tx); err != nil {
				return err
			}
			return exec(ctx, tx, query, args...)
		}
	}
	as := readThen(writeRow, 2, 1)
	for name, c := range map[string]struct {
		do      func(context.Context, *sql.Tx) error
		opts    *sql.TxOptions
		options []any
	}{
		"another row is written":       {do: readThen(writeRow, 2, 2)},
		"another table is written":     {do: readThen("UPDATE kw SET v = 2 WHERE k = 1")},
		"more than the row is written": {do: readThen("UPDATE kv SET v = 2")},
		"another column decides":       {do: readThen("UPDATE kv SET v = $1 WHERE j = $2", 2, 1)},
		"nothing is written after it": {do: func(ctx context.Context, tx *sql.Tx) error {
			if err := exec(ctx, tx, "SAVEPOINT a"); err != nil {
				return err
			}
			return readThen("UPDATE other SET v = 1")(ctx, tx)
		}},
		"READ COMMITTED":            {do: as, opts: &sql.TxOptions{Isolation: sql.LevelReadCommitted}},
		"READ COMMITTED by the DSN": {do: as, options: []any{"default_transaction_isolation=read%20committed"}},
		"PostgreSQL's default":      {do: as, options: []any{fakepg.PlainPostgreSQL()}},
		"the isolation level is set": {do: func(ctx context.Context, tx *sql.Tx) error {
			if err := exec(ctx, tx, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
				return err
			}
			return as(ctx, tx)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRowServer()
			r := kit.Answering(t, s.reply, append(c.options, learning)...)
			for range 2 * enoughToLearn {
				err := kit.InTx(t.Context(), r.DB, c.opts, func(tx *sql.Tx) error { return c.do(t.Context(), tx) })
				kit.As[*cockroachdb.DivergenceError](t, err)
			}
			assert.Zero(t, r.Times(lockRow)+countWithPrefix(r.Sent(), askForKey))
		})
	}
}

func TestLocks_PostgreSQLInSerializable_IsLearned(t *testing.T) {
	t.Parallel()
	s := newRowServer()
	r := kit.Answering(t, s.reply, learning, fakepg.PlainPostgreSQL(), "default_transaction_isolation=serializable")
	s.learn(t, r)
	_, err := addOne(t.Context(), r.DB)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Times(lockRow))
}

func TestLocks_TransactionThatMustNotLock_RunsTheTextAsItIs(t *testing.T) {
	t.Parallel()
	s := newRowServer()
	r := kit.Answering(t, s.reply, learning)
	s.learn(t, r)
	read := func(ctx context.Context, db kit.Querier) {
		assert.EqualValues(t, s.value, kit.Scan[int64](t, db, readRow, 1))
	}
	for name, opts := range map[string]*sql.TxOptions{
		"READ ONLY": {ReadOnly: true}, "READ COMMITTED": {Isolation: sql.LevelReadCommitted},
	} {
		require.NoError(t, kit.InTx(t.Context(), r.DB, opts, func(tx *sql.Tx) error {
			read(t.Context(), tx)
			return nil
		}), name)
	}
	read(t.Context(), r.DB) // outside a transaction
	require.NoError(t, kit.InTx(cockroachdb.WithoutRetries(t.Context()), r.DB, nil, func(tx *sql.Tx) error {
		read(t.Context(), tx)
		return nil
	}))
	require.NoError(t, kit.InTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
		kit.Exec(t, tx, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
		read(t.Context(), tx)
		return nil
	}))
	assert.Zero(t, r.Times(lockRow))
}

func TestLocks_NoUniqueKey_IsNotLearned(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]fakepg.Reply{
		"none":             keysOf(),
		"of other columns": keysOf("1", "id"),
		"of more columns":  keysOf("1", "k", "1", "j", "2", "j", "2", "k"),
		"an error":         kit.Fails("42P01", "no catalogue"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newRowServer(), &lockListener{}
			s.keys = keys
			r := kit.Answering(t, s.reply, learning, l.hook)
			s.learn(t, r)
			s.learn(t, r)
			assert.Equal(t, []cockroachdb.LockChange{cockroachdb.LockNoKey}, l.changes(), "it is not asked again so soon")
			assert.Zero(t, r.Times(lockRow))
		})
	}
}

func TestLocks_SeveralKeys_OneIsEnough(t *testing.T) {
	t.Parallel()
	s := newRowServer()
	s.keys = keysOf("1", "id", "2", "k", "3", "j", "3", "k")
	r := kit.Answering(t, s.reply, learning)
	s.learn(t, r)
	_, err := addOne(t.Context(), r.DB)
	require.NoError(t, err)
	assert.Equal(t, 1, r.Times(lockRow))
}

func TestLocks_Error_IsNotTheApplications(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"42501", "0A000", "55P03", "42809", "25006", "XX000"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s, l := newRowServer(), &lockListener{}
			s.locked = func(int) fakepg.Reply { return kit.Fails(code, "not to be locked") }
			r := kit.Answering(t, s.reply, learning, l.hook)
			s.learn(t, r)
			before := r.Counts(t)
			for range 2 {
				v, err := addOne(t.Context(), r.DB)
				require.NoError(t, err)
				assert.Equal(t, s.value, v)
			}
			assert.Equal(t, 1, r.Times(lockRow), "the text is not locked again")
			assert.Equal(t, []cockroachdb.LockChange{cockroachdb.LockLearned, cockroachdb.LockFailed}, l.changes())
			kit.WantCode(t, l.events[1].Err, code)
			moved := r.Moved(t, before)
			assert.EqualValues(t, 1, moved["lock_changes_total error"])
			assert.EqualValues(t, 2, moved["transactions_total committed"])
		})
	}
}

// What ran before the read is run again and compared: the transaction had failed.
func TestLocks_ErrorAfterOtherReads_ComparesThem(t *testing.T) {
	t.Parallel()
	const other = "SELECT w FROM other"
	s := newRowServer()
	s.locked = func(int) fakepg.Reply { return kit.Fails("55P03", "locked") }
	s.script[other] = kit.IntOfEachRun(1, 2)
	r := kit.Answering(t, s.reply, learning)
	s.learn(t, r)
	tx := r.Begin(t)
	require.EqualValues(t, 1, kit.Scan[int64](t, tx, other))
	err := tx.QueryRowContext(t.Context(), readRow, 1).Scan(new(int64))
	kit.As[*cockroachdb.DivergenceError](t, err)
	kit.WantCodeWithin(t, err, "55P03")
}

func TestLocks_ConflictOfTheLockedRead_IsAbsorbedAndLocksAgain(t *testing.T) {
	t.Parallel()
	s, l := newRowServer(), &lockListener{}
	s.locked = func(n int) fakepg.Reply {
		if n == 1 {
			return kit.Conflict
		}
		return rowOf(7)
	}
	r := kit.Answering(t, s.reply, learning, l.hook)
	s.learn(t, r)
	v, err := addOne(t.Context(), r.DB)
	require.NoError(t, err)
	assert.EqualValues(t, 7, v)
	assert.Equal(t, 2, r.Times(lockRow))
	assert.Equal(t, []cockroachdb.LockChange{cockroachdb.LockLearned}, l.changes())
}

// A row may be missing because it may be read and must not be updated.
func TestLocks_NoRow_IsReadAgainWithoutTheLock(t *testing.T) {
	t.Parallel()
	s := newRowServer()
	s.locked = func(int) fakepg.Reply { return rowOf() }
	r := kit.Answering(t, s.reply, learning)
	s.learn(t, r)
	before := r.Counts(t)
	v, err := addOne(t.Context(), r.DB)
	require.NoError(t, err)
	assert.Equal(t, s.value, v)
	assert.Equal(t, []string{"BEGIN", kit.Savepoint, lockRow, readRow, writeRow, kit.Release, "COMMIT"}, r.Sent())
	for name, n := range r.Moved(t, before) {
		assert.False(t, strings.HasPrefix(name, "transaction_retries_total") && n > 0, "%s: %v", name, n)
	}
}

func TestLocks_LockedReadInAReplay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		second fakepg.Reply // to the locked read, in the replay
		plain  int64        // what it returns without the lock
		want   cockroachdb.DivergenceKind
	}{
		"is the same":           {second: rowOf(7)},
		"differs":               {second: rowOf(8), plain: 7, want: cockroachdb.DivergedRow},
		"is gone with the lock": {second: rowOf(), plain: 7},
		"is gone":               {second: rowOf(), plain: 8, want: cockroachdb.DivergedRow},
		"can't be locked":       {second: kit.Fails("55P03", "locked"), plain: 7},
		"can't, and is another": {second: kit.Fails("42501", "no"), plain: 8, want: cockroachdb.DivergedRow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRowServer()
			s.locked = func(n int) fakepg.Reply {
				if n == 1 {
					return rowOf(7)
				}
				return c.second
			}
			s.script["DELETE FROM other"] = kit.ConflictOn(1)
			r := kit.Answering(t, s.reply, learning)
			s.learn(t, r)
			s.value = c.plain
			tx := r.Begin(t)
			require.EqualValues(t, 7, kit.Scan[int64](t, tx, readRow, 1))
			_, err := tx.ExecContext(t.Context(), "DELETE FROM other")
			if c.want == "" {
				require.NoError(t, err)
				require.NoError(t, tx.Commit())
				return
			}
			assert.Equal(t, c.want, kit.As[*cockroachdb.DivergenceError](t, err).Kind)
		})
	}
}

// inBubble runs test in virtual time, where each statement takes ten milliseconds.
func (s *rowServer) inBubble(
	t *testing.T, test func(*testing.T, *fakepg.Server, *sql.DB), changes ...any,
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := fakepg.Start(t, fakepg.Answer(func(st fakepg.Statement) fakepg.Reply {
			reply := s.reply(st)
			if reply.Delay == 0 && !st.Describing {
				reply.Delay = 10 * time.Millisecond
			}
			return reply
		}), fakepg.InMemory())
		options := []any{kit.Reaching(srv), kit.NoLifetime, kit.NoFailover}
		db := kit.Open(t, srv.DSN(), append(options, changes...)...)
		db.SetMaxOpenConns(1)
		test(t, srv, db)
	})
}

// learnHalf has the text learned in a time in which half of the transactions commit.
func (s *rowServer) learnHalf(t *testing.T, db *sql.DB) {
	t.Helper()
	for n := range enoughToLearn {
		s.stir()
		if n%2 == 1 {
			s.calmDown()
		}
		_, err := addOne(t.Context(), db)
		require.Equal(t, n%2 == 1, err == nil, "%v", err)
	}
	s.calmDown()
}

func TestLocks_ThatDoNotPay_AreUnlearned(t *testing.T) {
	t.Parallel()
	readOnly := func(ctx context.Context, db *sql.DB) error {
		return kit.InTx(ctx, db, nil, func(tx *sql.Tx) error { return tx.QueryRowContext(ctx, readRow, 1).Scan(new(int64)) })
	}
	write := func(ctx context.Context, db *sql.DB) error {
		_, err := addOne(ctx, db)
		return err
	}
	slowly := rowOf(7)
	slowly.Delay = time.Second
	for name, c := range map[string]struct {
		do     func(context.Context, *sql.DB) error
		stir   bool
		locked func(n int) fakepg.Reply
		want   cockroachdb.LockChange
	}{
		"rows are not written": {do: readOnly, want: cockroachdb.LockUnwritten},
		"as many diverge": {
			do: write, stir: true, locked: func(n int) fakepg.Reply { return rowOf(int64(n)) }, want: cockroachdb.LockInVain,
		},
		"it takes longer": {do: write, locked: func(int) fakepg.Reply { return slowly }, want: cockroachdb.LockCostly},
		"they pay":        {do: write},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newRowServer(), &lockListener{}
			if c.locked != nil {
				s.locked = c.locked
			}
			want := []cockroachdb.LockChange{cockroachdb.LockLearned}
			if c.want != "" {
				want = append(want, c.want)
			}
			s.inBubble(t, func(t *testing.T, srv *fakepg.Server, db *sql.DB) {
				s.learnHalf(t, db)
				if c.stir {
					s.stir()
				}
				for range untilVerdict {
					err := c.do(t.Context(), db)
					require.Equal(t, c.stir, err != nil, "%v", err)
				}
				assert.Equal(t, want, l.changes())
				s.calmDown()
				locked := srv.Times(lockRow)
				require.NoError(t, write(t.Context(), db))
				assert.Equal(t, c.want == "", srv.Times(lockRow) > locked)
			}, learning, l.hook)
		})
	}
}

func TestLocks_Unlearned_AreLearnedAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	s, l := newRowServer(), &lockListener{}
	s.locked = func(int) fakepg.Reply { return kit.Fails("42501", "no privilege") }
	s.inBubble(t, func(t *testing.T, _ *fakepg.Server, db *sql.DB) {
		s.learnHalf(t, db)
		_, err := addOne(t.Context(), db)
		require.NoError(t, err)
		s.learnHalf(t, db)
		assert.Len(t, l.changes(), 2, "not yet")
		time.Sleep(whileItIsBarred)
		s.learnHalf(t, db)
		assert.Equal(t, []cockroachdb.LockChange{
			cockroachdb.LockLearned, cockroachdb.LockFailed, cockroachdb.LockLearned,
		}, l.changes())
	}, learning, l.hook)
}

// A few divergences among many transactions, or over a long time, are no reason to lock.
func TestLocks_FewDivergences_AreNotLearned(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		calm  int // transactions that commit, for each that diverges
		sleep time.Duration
	}{
		"among many": {calm: 30}, "now and then": {calm: 3, sleep: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, l := newRowServer(), &lockListener{}
			s.inBubble(t, func(t *testing.T, _ *fakepg.Server, db *sql.DB) {
				for range 2 * enoughToLearn {
					s.stir()
					_, err := addOne(t.Context(), db)
					kit.As[*cockroachdb.DivergenceError](t, err)
					s.calmDown()
					for range c.calm {
						_, err := addOne(t.Context(), db)
						require.NoError(t, err)
					}
					time.Sleep(c.sleep)
				}
				assert.Empty(t, l.changes())
			}, learning, l.hook)
		})
	}
}

func TestLocks_OnADatabase_OnlyReadsByUniqueKeyLock(t *testing.T) {
	t.Parallel()
	kv := "CREATE TABLE kv (k INT PRIMARY KEY, v INT NOT NULL); INSERT INTO kv VALUES (1, 0), (2, 0); "
	for name, c := range map[string]struct {
		schema      string
		read, write string
		locks       bool
	}{
		"a primary key": {kv, "SELECT v FROM kv WHERE k = $1", "UPDATE kv SET v = v + 1 WHERE k = $1", true},
		"a unique key of two columns, one of them given": {
			"CREATE TABLE kv (j INT, k INT, v INT, UNIQUE (j, k)); INSERT INTO kv VALUES (1, 1, 0)",
			"SELECT v FROM kv WHERE k = $1", "UPDATE kv SET v = v + 1 WHERE k = $1", false,
		},
		"a unique key of two columns": {
			"CREATE TABLE kv (j INT, k INT, v INT, UNIQUE (j, k)); INSERT INTO kv VALUES (1, 1, 0)",
			"SELECT v FROM kv WHERE k = $1 AND j = 1", "UPDATE kv SET v = v + 1 WHERE k = $1 AND j = 1", true,
		},
		"no key": {
			"CREATE TABLE kv (k INT, v INT); INSERT INTO kv VALUES (1, 0)",
			"SELECT v FROM kv WHERE k = $1", "UPDATE kv SET v = v + 1 WHERE k = $1", false,
		},
		"a key of some rows": {
			"CREATE TABLE kv (k INT, v INT); CREATE UNIQUE INDEX ON kv (k) WHERE v < 9; INSERT INTO kv VALUES (1, 0)",
			"SELECT v FROM kv WHERE k = $1", "UPDATE kv SET v = v + 1 WHERE k = $1", false,
		},
		"a key that may be violated until the commit": {
			"CREATE TABLE kv (k INT UNIQUE DEFERRABLE, v INT); INSERT INTO kv VALUES (1, 0)",
			"SELECT v FROM kv WHERE k = $1", "UPDATE kv SET v = v + 1 WHERE k = $1", false,
		},
		"a view": {
			kv + "CREATE VIEW seen AS SELECT * FROM kv",
			"SELECT v FROM seen WHERE k = $1", "UPDATE seen SET v = v + 1 WHERE k = $1", false,
		},
		"row-level security": {
			kv + "ALTER TABLE kv ENABLE ROW LEVEL SECURITY",
			"SELECT v FROM kv WHERE k = $1", "UPDATE kv SET v = v + 1 WHERE k = $1", false,
		},
		"quoted names and a schema": {
			`CREATE SCHEMA "S s"; CREATE TABLE "S s"."K""v" ("K k" INT PRIMARY KEY, v INT); INSERT INTO "S s"."K""v" VALUES (1, 0)`,
			`SELECT v FROM "S s"."K""v" AS a WHERE (a."K k" = $1)`, `UPDATE "S s"."K""v" SET v = v + 1 WHERE "K k" = $1`, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := enginetest.NewDB(t)
			if enginetest.Get(t).IsCockroach() {
				t.Skip("the schemas are PostgreSQL's")
			}
			rival := kit.Open(t, kit.WithParams(dsn, "statement_timeout=10s"))
			kit.Exec(t, rival, c.schema)
			l := &lockListener{}
			db := kit.Open(t, dsn, kit.NoWaits+"&retry_learn_locks=on", l.hook)
			db.SetMaxOpenConns(1)
			for range enoughToLearn {
				err := kit.InTx(t.Context(), db, nil, func(tx *sql.Tx) error {
					kit.Scan[int](t, tx, c.read, 1)
					kit.Exec(t, rival, c.write, 1)
					_, err := tx.ExecContext(t.Context(), c.write, 1)
					return err
				})
				kit.As[*cockroachdb.DivergenceError](t, err)
			}
			want := cockroachdb.LockNoKey
			if c.locks {
				want = cockroachdb.LockLearned
			}
			require.Equal(t, []cockroachdb.LockChange{want}, l.changes(), "%v", l.events)
			tx := kit.Begin(t, db)
			kit.Scan[int](t, tx, c.read, 1)
			_, err := rival.ExecContext(t.Context(), c.read+" FOR UPDATE NOWAIT", 1)
			assert.Equal(t, c.locks, err != nil, "%v", err)
			require.NoError(t, tx.Commit())
		})
	}
}
