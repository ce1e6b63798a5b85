package crdbsim

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	showCommit = "SHOW COMMIT TIMESTAMP"
	later      = "CockroachDB CCL v25.2.3 (x86_64-pc-linux-gnu)"
)

// commitTimes takes the timestamps out of the answers to SHOW COMMIT TIMESTAMP.
func commitTimes(answers []string) (times, rest []string) {
	for _, a := range answers {
		if value, ok := strings.CutPrefix(a, "D "); ok && strings.Contains(value, ".0000000000") {
			times, a = append(times, value), "D time"
		}
		rest = append(rest, a)
	}
	return times, rest
}

func TestShowCommitTimestamp_InTransaction_Commits(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{Version: later})
		for _, begin := range [][]string{{"BEGIN", update}, {"BEGIN", open, update}} {
			c := w.client(t)
			before, v := time.Now().UnixNano(), w.value(t, 1)
			exec(c, begin...)
			first, answers := commitTimes(exec(c, showCommit))
			assert.Equal(t, []string{"D time", "C COMMIT", "Z T"}, answers)
			assert.Equal(t, v+1, w.value(t, 1))
			at, err := strconv.ParseInt(strings.TrimSuffix(first[0], ".0000000000"), 10, 64)
			require.NoError(t, err)
			assert.GreaterOrEqual(t, at, before)

			assert.Equal(t, []string{"D CommitWait", "C SHOW TRANSACTION STATUS 1", "Z T"}, exec(c, "SHOW TRANSACTION STATUS"))
			assert.Equal(t, []string{"E 25000", "Z T"}, exec(c, read))
			again, answers := commitTimes(exec(c, showCommit))
			assert.Equal(t, []string{"D time", "C SHOW COMMIT TIMESTAMP 1", "Z T"}, answers)
			assert.Equal(t, []string{"C COMMIT", "Z I"}, exec(c, "ROLLBACK"))
			after, answers := commitTimes(exec(c, showCommit))
			assert.Equal(t, []string{"D time", "C SHOW COMMIT TIMESTAMP 1", "Z I"}, answers)
			assert.Equal(t, [][]string{first, first}, [][]string{again, after})
		}
	})
}

// TestShowCommitTimestamp_ThenRelease checks that RELEASE is accepted after it, once, if there was a savepoint.
func TestShowCommitTimestamp_ThenRelease(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{Version: later}).client(t)
		exec(c, "BEGIN", open, update, showCommit)
		assert.Equal(t, []string{"C RELEASE", "Z T"}, exec(c, release))
		assert.Equal(t, []string{"E 25000", "Z T"}, exec(c, release))
		assert.Equal(t, []string{"C COMMIT", "Z I"}, exec(c, "COMMIT"))
		exec(c, "BEGIN", update, showCommit)
		assert.Equal(t, []string{"E 25000", "Z T"}, exec(c, release))
		exec(c, "COMMIT", "BEGIN", open, release)
		_, answers := commitTimes(exec(c, showCommit))
		assert.Equal(t, []string{"D time", "C SHOW COMMIT TIMESTAMP 1", "Z T"}, answers)
		assert.Equal(t, []string{"E 25000", "Z T"}, exec(c, release))
	})
}

func TestShowCommitTimestamp_Loses_SavepointIsThere(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{Version: later})
		a, b := w.client(t), w.client(t)
		exec(a, "BEGIN", open, "SELECT sum(v) FROM kv", "INSERT INTO kv VALUES (4, 0)")
		exec(b, "BEGIN", open, "SELECT sum(v) FROM kv", "INSERT INTO kv VALUES (5, 0)", release, "COMMIT")
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(a, showCommit))
		assert.Equal(t, []string{"E 25P02", "Z E"}, exec(a, showCommit))
		_, answers := commitTimes(exec(a, back, update, showCommit, "COMMIT"))
		assert.Equal(t, []string{"C ROLLBACK", "C UPDATE 1", "D time", "C COMMIT", "C COMMIT", "Z I"}, answers)
		assert.Equal(t, 11, w.value(t, 1))
	})
}

func TestShowCommitTimestamp_OutsideTransaction(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		c := newTestbed(t, Config{Version: later}).client(t)
		none := []string{"E 25000", "Z I"}
		assert.Equal(t, none, exec(c, showCommit))
		seen := ""
		for _, sql := range []string{
			update, "SHOW distsql", "SET distsql = off", "BEGIN; COMMIT", "BEGIN; " + open + "; " + release + "; COMMIT",
		} {
			exec(c, split(sql)...)
			times, answers := commitTimes(exec(c, showCommit))
			assert.Equal(t, []string{"D time", "C SHOW COMMIT TIMESTAMP 1", "Z I"}, answers, sql)
			assert.Greater(t, times[0], seen, sql)
			seen = times[0]
		}
		for _, sql := range []string{"BEGIN; ROLLBACK", "SELECT 1/0"} {
			exec(c, split(sql)...)
			assert.Equal(t, none, exec(c, showCommit), sql)
		}
	})
}

func TestShowCommitTimestamp_Faults(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		w := newTestbed(t, Config{Version: later})
		c := w.client(t)
		exec(c, "BEGIN", open, update)
		w.Inject(On("^show commit", fails("40001")))
		assert.Equal(t, []string{"E 40001", "Z E"}, exec(c, showCommit))
		exec(c, back, update)
		w.Inject(On("^show commit", Action{Then: ExecuteFail, Error: Error{Code: "40003"}}))
		assert.Equal(t, []string{"E 40003", "Z E"}, exec(c, showCommit))
		assert.Equal(t, 11, w.value(t, 1), "it was committed all the same")
		assert.Equal(t, []string{"E 3B001", "Z E"}, exec(c, back))
		assert.Equal(t, []string{"C ROLLBACK", "Z I"}, exec(c, "ROLLBACK"))
		exec(c, "BEGIN", open, update)
		w.Inject(On("^show commit", fails("57014")))
		assert.Equal(t, []string{"E 57014", "Z E"}, exec(c, showCommit))
		assert.Equal(t, []string{"E 3B001", "Z E"}, exec(c, back))
		exec(c, "ROLLBACK", "BEGIN", update, showCommit)
		w.Inject(On("^show commit", Action{Then: ExecuteFail, Error: Error{Code: "57014"}}))
		assert.Equal(t, []string{"E 57014", "Z T"}, exec(c, showCommit), "it was committed before")
		w.Inject(On("^show commit", Action{Then: ExecuteCut}))
		exec(c, "COMMIT", "BEGIN", update)
		assert.Equal(t, []string{"EOF"}, exec(c, showCommit))
		assert.Equal(t, 13, w.value(t, 1))
	})
}

// TestShowCommitTimestamp_Described checks the description, and the value in both formats.
func TestShowCommitTimestamp_Described(t *testing.T) {
	t.Parallel()
	w := newTestbed(t, Config{Version: later})
	conn := w.connect(t)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	} {
		tx, err := conn.Begin(t.Context())
		require.NoError(t, err)
		rows, err := tx.Query(t.Context(), showCommit, mode)
		require.NoError(t, err)
		got, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[pgtype.Numeric])
		require.NoError(t, err, "%v", mode)
		fields := rows.FieldDescriptions()
		require.Len(t, fields, 1)
		assert.Equal(t, "commit_timestamp", fields[0].Name)
		assert.EqualValues(t, pgtype.NumericOID, fields[0].DataTypeOID)
		require.NoError(t, tx.Commit(t.Context()))

		var text string
		require.NoError(t, conn.QueryRow(t.Context(), showCommit, pgx.QueryExecModeSimpleProtocol).Scan(&text))
		var want pgtype.Numeric
		require.NoError(t, want.Scan(text))
		wantValue, err := want.Value()
		require.NoError(t, err)
		gotValue, err := got.Value()
		require.NoError(t, err)
		assert.Equal(t, wantValue, gotValue, "%v", mode)
	}
	c := w.client(t)
	c.fe.Send(&pgproto3.Parse{Query: showCommit})
	c.fe.Send(&pgproto3.Describe{ObjectType: 'S'})
	c.send(&pgproto3.Sync{})
	m, err := c.fe.Receive()
	require.NoError(t, err)
	require.IsType(t, &pgproto3.ParseComplete{}, m)
	m, err = c.fe.Receive()
	require.NoError(t, err)
	require.Equal(t, &pgproto3.ParameterDescription{ParameterOIDs: []uint32{}}, m)
	m, err = c.fe.Receive()
	require.NoError(t, err)
	require.IsType(t, &pgproto3.RowDescription{}, m)
}

func TestShowCommitTimestamp_BeforeItWasThere(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, exec func(*client, ...string) []string) {
		for _, cfg := range []Config{{}, {Version: "CockroachDB CCL v22.1.9"}, {PostgreSQL: true, Version: later}} {
			c := newTestbed(t, cfg).client(t)
			exec(c, "BEGIN")
			assert.Equal(t, []string{"E 42601", "Z E"}, exec(c, showCommit))
		}
	})
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]version{
		DefaultVersion: {22, 1},
		later:          {25, 2},
		"CockroachDB OSS v22.1.0-alpha.1-local7788e17e (x86_64-linux-gnu, built 2026/11/22 23:33:01, go1.21.13)": {22, 1},
		"v9.10":    {9, 10},
		"nonsense": {},
		"":         {},
		"v25":      {},
	} {
		assert.Equal(t, want, parseVersion(text), text)
	}
	assert.True(t, version{25, 1}.atLeast(25, 1))
	assert.True(t, version{26, 0}.atLeast(25, 1))
	assert.False(t, version{25, 0}.atLeast(25, 1))
	assert.False(t, version{24, 9}.atLeast(25, 1))
}
