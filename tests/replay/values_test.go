package replay_test

import (
	"database/sql"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// RowsAffected asked after a replay, or after Commit → the final attempt's; a count that changed but was never asked
// for → no divergence.
func TestReplay_RowsAffected_AreTheLastAttempts(t *testing.T) {
	t.Parallel()
	const changing, other = "UPDATE kv SET v = 0", "UPDATE kv SET v = 1"
	counts := []fakepg.Reply{kit.Tag("UPDATE 1"), kit.Tag("UPDATE 2"), kit.Tag("UPDATE 3")}
	affected := func(t *testing.T, res sql.Result) int64 {
		t.Helper()
		n, err := res.RowsAffected()
		require.NoError(t, err)
		return n
	}
	start := func(t *testing.T, p kit.Script) (*kit.Rig, *sql.Tx, sql.Result) {
		t.Helper()
		p[changing] = counts
		r := kit.New(t, p)
		tx := r.Begin(t)
		res, err := tx.ExecContext(t.Context(), changing)
		require.NoError(t, err)
		return r, tx, res
	}

	t.Run("after a replay", func(t *testing.T) {
		r, tx, res := start(t, kit.Script{other: kit.ConflictOn(1)})
		kit.Exec(t, tx, other)
		assert.EqualValues(t, 2, affected(t, res))
		require.NoError(t, tx.Commit())
		assert.EqualValues(t, 2, affected(t, res))
		kit.WantUsable(t, r.DB)
	})
	t.Run("after Commit, which replayed", func(t *testing.T) {
		r, tx, res := start(t, kit.Script{kit.Release: kit.ConflictOn(1, 2)})
		require.NoError(t, tx.Commit())
		assert.EqualValues(t, 3, affected(t, res))
		kit.WantUsable(t, r.DB)
	})
	t.Run("never", func(t *testing.T) {
		r, tx, _ := start(t, kit.Script{kit.Release: kit.ConflictOn(1)})
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, r.Times(changing))
		kit.WantUsable(t, r.DB)
	})
	t.Run("before the second replay only", func(t *testing.T) {
		// What was seen is the second attempt's count; the third attempt's is another one.
		r, tx, res := start(t, kit.Script{other: kit.ConflictOn(1), kit.Release: kit.ConflictOn(1)})
		kit.Exec(t, tx, other)
		assert.EqualValues(t, 2, affected(t, res))
		err := tx.Commit()
		d := kit.As[*cockroachdb.DivergenceError](t, err)
		assert.Equal(t, cockroachdb.DivergedCount, d.Kind)
		assert.Equal(t, 1, d.Statement)
		assert.Equal(t, 3, d.Attempts)
		kit.WantCodeWithin(t, err, "40001")
		kit.WantUsable(t, r.DB)
	})
	t.Run("of a prepared statement", func(t *testing.T) {
		r := kit.New(t, kit.Script{changing: counts, kit.Release: kit.ConflictOn(1)})
		stmt, err := r.PrepareContext(t.Context(), changing)
		require.NoError(t, err)
		defer stmt.Close()
		tx := r.Begin(t)
		res, err := tx.StmtContext(t.Context(), stmt).ExecContext(t.Context())
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		assert.EqualValues(t, 2, affected(t, res))
	})
	t.Run("on the engine", func(t *testing.T) {
		kv, sim := kit.NewKVSim(t)
		tx := kv.Begin(t)
		res, err := tx.ExecContext(t.Context(), "UPDATE kv SET v = v + 1 WHERE k >= 2")
		require.NoError(t, err)
		kit.Exec(t, kv.Rival, "INSERT INTO kv VALUES (200, 0)")
		sim.Inject(crdbsim.On("^release", crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}))
		require.NoError(t, tx.Commit())
		assert.EqualValues(t, 4, affected(t, res))
		assert.Equal(t, "1=10 2=21 3=31 100=1 200=1", kit.Table(t, kv.Rival))
	})
}

// NULL↔FALSE, ""↔NULL, shifted array and row boundaries → divergence.
func TestReplay_AnyByteChanged_Diverges(t *testing.T) {
	t.Parallel()
	const read = "SELECT v FROM kv"
	one := func(v []byte) [][][]byte { return [][][]byte{{v}} }
	// int4[] of one dimension, in binary, as the server sends it.
	array := func(elements ...uint32) []byte {
		b := binary.BigEndian.AppendUint32(nil, 1)
		b = binary.BigEndian.AppendUint32(b, 0)
		b = binary.BigEndian.AppendUint32(b, pgtype.Int4OID)
		b = binary.BigEndian.AppendUint32(b, uint32(len(elements)))
		b = binary.BigEndian.AppendUint32(b, 1)
		for _, e := range elements {
			b = binary.BigEndian.AppendUint32(b, 4)
			b = binary.BigEndian.AppendUint32(b, e)
		}
		return b
	}
	text2 := []fakepg.Column{{Name: "a"}, {Name: "b"}}
	bytes2 := []fakepg.Column{{Name: "a", OID: pgtype.ByteaOID}, {Name: "b", OID: pgtype.ByteaOID}}
	row := func(values ...string) (all [][]byte) {
		for _, v := range values {
			if v == "NULL" {
				all = append(all, nil)
				continue
			}
			all = append(all, []byte(v))
		}
		return all
	}
	for name, tc := range map[string]struct {
		columns  []fakepg.Column
		was, is  [][][]byte
		row      int64
		sameAsIs bool
	}{
		"the same": {columns: kit.Column("v", pgtype.BoolOID), was: one([]byte{0}), is: one([]byte{0}), sameAsIs: true},

		"NULL to FALSE":         {columns: kit.Column("v", pgtype.BoolOID), was: one(nil), is: one([]byte{0}), row: 1},
		"FALSE to NULL":         {columns: kit.Column("v", pgtype.BoolOID), was: one([]byte{0}), is: one(nil), row: 1},
		"FALSE to TRUE":         {columns: kit.Column("v", pgtype.BoolOID), was: one([]byte{0}), is: one([]byte{1}), row: 1},
		"NULL to 0":             {columns: kit.Column("v", pgtype.Int8OID), was: one(nil), is: one(make([]byte, 8)), row: 1},
		"empty text to NULL":    {columns: kit.Column("v", pgtype.TextOID), was: one([]byte{}), is: one(nil), row: 1},
		"NULL to empty text":    {columns: kit.Column("v", pgtype.TextOID), was: one(nil), is: one([]byte{}), row: 1},
		"empty bytes to NULL":   {columns: kit.Column("v", pgtype.ByteaOID), was: one([]byte{}), is: one(nil), row: 1},
		"NULL to the text NULL": {columns: kit.Column("v", pgtype.TextOID), was: one(nil), is: one([]byte("NULL")), row: 1},
		"NULL to the text N":    {columns: kit.Column("v", pgtype.TextOID), was: one(nil), is: one([]byte("N")), row: 1},
		"empty to a NUL byte":   {columns: kit.Column("v", pgtype.ByteaOID), was: one([]byte{}), is: one([]byte{0}), row: 1},

		"arrays [1],[2,3] to [1,2],[3]": {
			columns: []fakepg.Column{{Name: "a", OID: pgtype.Int4ArrayOID}, {Name: "b", OID: pgtype.Int4ArrayOID}},
			was:     [][][]byte{{array(1), array(2, 3)}}, is: [][][]byte{{array(1, 2), array(3)}}, row: 1,
		},
		"arrays as text, over two rows": {
			columns: kit.Column("v", pgtype.Int4ArrayOID),
			was:     [][][]byte{row("{1}"), row("{2,3}")}, is: [][][]byte{row("{1,2}"), row("{3}")}, row: 1,
		},
		"a byte from one value to the next": {
			columns: text2, was: [][][]byte{row("ab", "c")}, is: [][][]byte{row("a", "bc")}, row: 1,
		},
		"all of it from one to the next": {
			columns: text2, was: [][][]byte{row("abc", "")}, is: [][][]byte{row("", "abc")}, row: 1,
		},
		"values change places": {columns: text2, was: [][][]byte{row("a", "NULL")}, is: [][][]byte{row("NULL", "a")}, row: 1},
		"a value from one row to the next": {
			columns: text2, was: [][][]byte{row("x", "y"), row("a", ""), row("", "b")},
			is: [][][]byte{row("x", "y"), row("", "a"), row("", "b")}, row: 2,
		},
		"over the boundary of rows": {
			columns: text2, was: [][][]byte{row("a", "b"), row("c", "d")}, is: [][][]byte{row("a", "bc"), row("", "d")}, row: 1,
		},
		"NULL over the boundary of rows": {
			columns: text2, was: [][][]byte{row("a", "NULL"), row("b", "c")},
			is: [][][]byte{row("a", "b"), row("NULL", "c")}, row: 1,
		},
		"rows change places": {
			columns: text2, was: [][][]byte{row("a", "b"), row("c", "d")}, is: [][][]byte{row("c", "d"), row("a", "b")}, row: 1,
		},
		// Values that hold what the digest puts between values.
		"a value that looks like a boundary": {
			columns: bytes2, was: [][][]byte{row("aV\x00\x00\x00\x01b", "c")},
			is: [][][]byte{row("a", "bV\x00\x00\x00\x01c")}, row: 1,
		},
		"a value that looks like a row": {
			columns: bytes2,
			was:     [][][]byte{row("a", "R\x00\x00\x00\x02V\x00\x00\x00\x01b")},
			is:      [][][]byte{row("aR\x00\x00\x00\x02V", "\x00\x00\x00\x01b")},
			row:     1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kit.New(t, kit.Script{
				read: {{Columns: tc.columns, Rows: tc.was}, {Columns: tc.columns, Rows: tc.is}}, kit.Release: kit.ConflictOn(1),
			})
			tx := r.Begin(t)
			rows, err := tx.QueryContext(t.Context(), read)
			require.NoError(t, err)
			n := 0
			for rows.Next() {
				n++
			}
			require.NoError(t, rows.Err())
			require.Len(t, tc.was, n)
			err = tx.Commit()
			require.Equal(t, 2, r.Times(read))
			if tc.sameAsIs {
				require.NoError(t, err)
				return
			}
			d := kit.As[*cockroachdb.DivergenceError](t, err)
			assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
			assert.Equal(t, tc.row, d.Row)
			assert.Equal(t, 1, d.Statement)
			kit.WantCodeWithin(t, err, "40001")
			assert.Equal(t, 1, r.Times(kit.Release), "nothing may be committed")
			kit.WantUsable(t, r.DB)
		})
	}
}

// INSERT … RETURNING a generated id that is not pinned → the documented outcome: a divergence where the id was read,
// since the replay has to generate another one, and a transparent replay where it was not.
func TestReplay_GeneratedID_DivergesOnlyIfRead(t *testing.T) {
	t.Parallel()
	const insert = "INSERT INTO things (name) VALUES ('x') RETURNING id::TEXT"
	open1 := func(t *testing.T) (*crdbsim.Sim, *sql.DB) {
		t.Helper()
		sim, dsn := enginetest.NewSim(t, crdbsim.Config{})
		db := kit.Open(t, dsn)
		db.SetMaxOpenConns(1)
		kit.Exec(t, db, "CREATE TABLE things (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), name TEXT)")
		return sim, db
	}
	lose := crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}
	things := func(t *testing.T, db *sql.DB) (n int) {
		t.Helper()
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM things").Scan(&n))
		return n
	}
	t.Run("read", func(t *testing.T) {
		sim, db := open1(t)
		tx := kit.Begin(t, db)
		id := kit.Scan[string](t, tx, insert)
		sim.Inject(crdbsim.On("^release", lose))
		err := tx.Commit()
		d := kit.As[*cockroachdb.DivergenceError](t, err)
		assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
		assert.EqualValues(t, 1, d.Row)
		kit.WantCodeWithin(t, err, "40001")
		assert.NotContains(t, err.Error(), id)
		assert.NotContains(t, err.Error(), "things")
		assert.Zero(t, things(t, db))
		kit.WantUsable(t, db)
	})
	t.Run("not read", func(t *testing.T) {
		sim, db := open1(t)
		tx := kit.Begin(t, db)
		kit.Exec(t, tx, insert)
		rows, err := tx.QueryContext(t.Context(), insert)
		require.NoError(t, err)
		require.NoError(t, rows.Close())
		sim.Inject(crdbsim.On("^release", lose))
		require.NoError(t, tx.Commit())
		assert.Equal(t, 2, things(t, db))
		kit.WantUsable(t, db)
	})
	t.Run("read, in RunTx", func(t *testing.T) {
		sim, db := open1(t)
		sim.Inject(crdbsim.On("^release", lose))
		var ids []string
		require.NoError(t, cockroachdb.RunTx(t.Context(), db, nil, func(tx *sql.Tx) error {
			ids = append(ids, kit.Scan[string](t, tx, insert))
			return nil
		}))
		require.Len(t, ids, 2)
		var kept string
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT id FROM things").Scan(&kept))
		assert.Equal(t, ids[1], kept, "what the last call was shown is what is there")
	})
}

// A result of 100,000 rows, replayed in O(1) memory. It is not parallel, since it looks at the heap of the process.
func TestReplay_ManyRows_TakeConstantMemory(t *testing.T) {
	const read, write = "SELECT v FROM big", "UPDATE kv SET v = 1"
	const count, width = 100_000, 200 // 20 MB
	const allowed = count * width / 2 // of the whole process's heap, which other tests have a share in
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	value := []byte(strings.Repeat("x", width))
	var during []uint64 // in the middle and near the end of each run
	for name, change := range map[string]int{"unchanged": -1, "the last row changed": count - 1} {
		t.Run(name, func(t *testing.T) {
			during = nil
			r := kit.Answering(t, kit.Script{write: kit.ConflictOn(1)}.Calling(read, func(n int) fakepg.Reply {
				return fakepg.Reply{Columns: kit.Column("v", pgtype.TextOID), RowsFunc: func(yield func([][]byte) bool) {
					for i := range count {
						if i == count/2 || i == count-2 {
							during = append(during, heap())
						}
						v := value
						if n == 2 && i == change {
							v = append([]byte("y"), value[1:]...)
						}
						if !yield([][]byte{v}) {
							return
						}
					}
				}}
			}), fakepg.Quiet())
			before := heap()
			tx := r.Begin(t)
			rows, err := tx.QueryContext(t.Context(), read)
			require.NoError(t, err)
			n := 0
			var raw sql.RawBytes
			for rows.Next() {
				require.NoError(t, rows.Scan(&raw))
				n++
			}
			require.NoError(t, rows.Err())
			require.Equal(t, count, n)
			assert.Less(t, r.Count(t, "history_bytes", ""), 4096.0)

			_, err = tx.ExecContext(t.Context(), write)
			if change < 0 {
				require.NoError(t, err)
				require.NoError(t, tx.Commit())
			} else {
				d := kit.As[*cockroachdb.DivergenceError](t, err)
				assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
			}
			require.Len(t, during, 4)
			for _, h := range during {
				assert.Less(t, int64(h)-int64(before), int64(allowed), "the heap grew with the rows")
			}
		})
	}
}
