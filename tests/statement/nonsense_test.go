package statement_test

import (
	"context"
	"database/sql"
	"io"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// What FuzzServerAnswers has found, one at a time: a server that breaks the protocol, and what the driver must make
// of it.

// withNonsense gives test a pool on a server that answers each exchange with the next of the answers, then with the
// last one.
func withNonsense(t *testing.T, test func(t *testing.T, db *sql.DB), answers ...[]pgproto3.BackendMessage) {
	synctest.Test(t, func(t *testing.T) {
		srv := fakepg.Start(t, func(c *fakepg.Conn) {
			for i := 0; ; i++ {
				c.ReceiveUntilSync()
				c.Send(answers[min(i, len(answers)-1)]...)
				c.Flush()
			}
		}, fakepg.InMemory())
		db := kit.Open(t, srv.DSN(), "default_query_exec_mode=exec", kit.Reaching(srv))
		db.SetMaxOpenConns(1)
		test(t, db)
		assert.Zero(t, db.Stats().OpenConnections, "a connection that speaks nonsense is not used again")
	})
}

func answered(tag string, status byte) []pgproto3.BackendMessage {
	return []pgproto3.BackendMessage{
		&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{},
		&pgproto3.CommandComplete{CommandTag: []byte(tag)}, &pgproto3.ReadyForQuery{TxStatus: status},
	}
}

func rowsOf(end []pgproto3.BackendMessage, rows ...*pgproto3.DataRow) []pgproto3.BackendMessage {
	all := []pgproto3.BackendMessage{&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, fakepg.TextColumns("k", "v")}
	for _, row := range rows {
		all = append(all, row)
	}
	return append(all, end...)
}

var (
	twoRows = []pgproto3.BackendMessage{
		&pgproto3.CommandComplete{CommandTag: []byte("SELECT 2")}, &pgproto3.ReadyForQuery{TxStatus: 'I'},
	}
	// An ErrorResponse without the zero at its end, which pgproto3 calls io.EOF.
	brokenError = []pgproto3.BackendMessage{rawMessage("E\x00\x00\x00\x05S")}
)

// rawMessage is sent as it is.
type rawMessage string

func (rawMessage) Backend() {}

func (rawMessage) Decode([]byte) error { return nil }

func (m rawMessage) Encode(dst []byte) ([]byte, error) { return append(dst, m...), nil }

func readAll(rows *sql.Rows) (n int, err error) {
	defer rows.Close()
	for rows.Next() {
		var k, v any
		if err := rows.Scan(&k, &v); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}

func TestNonsense_RowsThatDoNotFitTheirColumns_Fail(t *testing.T) {
	for name, row := range map[string]*pgproto3.DataRow{
		"more": fakepg.TextRow("a", "b", "c"), "fewer": fakepg.TextRow("a"), "none": fakepg.TextRow(),
	} {
		t.Run(name, func(t *testing.T) {
			withNonsense(t, func(t *testing.T, db *sql.DB) {
				rows, err := db.Query("SELECT k, v FROM kv")
				require.NoError(t, err)
				n, err := readAll(rows)
				assert.ErrorContains(t, err, "does not fit")
				assert.Equal(t, 1, n)
			}, rowsOf(twoRows, fakepg.TextRow("a", "b"), row))
		})
	}
}

func TestNonsense_RowsThatDoNotFitInATransaction_Fail(t *testing.T) {
	opening := append(answered("BEGIN", 'T')[:4], answered("SAVEPOINT", 'T')[:4]...)
	withNonsense(t, func(t *testing.T, db *sql.DB) {
		tx, err := db.Begin()
		require.NoError(t, err)
		rows, err := tx.Query("SELECT k, v FROM kv")
		require.NoError(t, err)
		_, err = readAll(rows)
		var lost *cockroachdb.ConnectionLostError
		require.ErrorAs(t, err, &lost)
		require.ErrorAs(t, tx.Commit(), &lost)
	}, append(opening, rowsOf(twoRows, fakepg.TextRow("a"))...))
}

// database/sql takes io.EOF for the end of the rows.
func TestNonsense_BrokenError_IsNotTheEndOfTheRows(t *testing.T) {
	withNonsense(t, func(t *testing.T, db *sql.DB) {
		rows, err := db.Query("SELECT k, v FROM kv")
		require.NoError(t, err)
		n, err := readAll(rows)
		assert.Equal(t, 1, n)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}, rowsOf(brokenError, fakepg.TextRow("a", "b")))
}

func TestNonsense_NoAnswer_IsNoSuccess(t *testing.T) {
	ready := &pgproto3.ReadyForQuery{TxStatus: 'I'}
	for name, answer := range map[string][]pgproto3.BackendMessage{
		"nothing": {ready}, "empty": {&pgproto3.EmptyQueryResponse{}, ready},
		"no tag": {&pgproto3.CommandComplete{}, ready},
	} {
		t.Run(name, func(t *testing.T) {
			withNonsense(t, func(t *testing.T, db *sql.DB) {
				_, err := db.Exec("UPDATE kv SET v = 1")
				assert.ErrorContains(t, err, "does not fit")
			}, answer)
		})
	}
}

func TestNonsense_NoAnswerInAReplay_Fails(t *testing.T) {
	opening := append(answered("BEGIN", 'T')[:4], answered("SAVEPOINT", 'T')[:4]...)
	lost := []pgproto3.BackendMessage{fakepg.Conflict(), &pgproto3.ReadyForQuery{TxStatus: 'E'}}
	replay := append(answered("ROLLBACK", 'T')[:4], &pgproto3.ParseComplete{}, &pgproto3.BindComplete{},
		&pgproto3.NoData{}, &pgproto3.EmptyQueryResponse{})
	withNonsense(t, func(t *testing.T, db *sql.DB) {
		tx, err := db.Begin()
		require.NoError(t, err)
		require.NoError(t, kit.ExecAll(tx, "UPDATE kv SET v = 1"))
		var lost *cockroachdb.ConnectionLostError
		assert.ErrorAs(t, kit.ExecAll(tx, "UPDATE kv SET v = 2"), &lost)
		assert.ErrorAs(t, tx.Commit(), &lost)
	}, append(opening, answered("UPDATE 1", 'T')...), lost, append(replay, answered("UPDATE 1", 'T')...))
}

func TestNonsense_OtherAnswerToCommit_IsNoSuccess(t *testing.T) {
	opening := append(answered("BEGIN", 'T')[:4], answered("SAVEPOINT", 'T')[:4]...)
	withNonsense(t, func(t *testing.T, db *sql.DB) {
		tx, err := db.BeginTx(context.Background(), nil)
		require.NoError(t, err)
		require.NoError(t, kit.ExecAll(tx, "UPDATE kv SET v = 1"))
		var ambiguous *cockroachdb.AmbiguousCommitError
		assert.ErrorAs(t, tx.Commit(), &ambiguous)
	}, append(opening, answered("UPDATE 1", 'T')...), append(answered("RELEASE", 'T')[:4], answered("SELECT 1", 'I')...))
}

func TestNonsense_TwoAnswersToOneStatement_AreNoSuccess(t *testing.T) {
	one := answered("UPDATE 1", 'I')[3:]
	withNonsense(t, func(t *testing.T, db *sql.DB) {
		assert.Error(t, kit.ExecAll(db, "UPDATE kv SET v = 1"))
	}, append(one[:1:1], one...))
}
