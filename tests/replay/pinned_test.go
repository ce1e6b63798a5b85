package replay_test

import (
	"bytes"
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

const (
	insertOrders = "INSERT INTO orders (what) VALUES ($1), ($2) RETURNING id, at, what"
	pinnedOrders = `INSERT INTO orders (what, "id", "at") VALUES ($1, $3, $4), ($2, $5, $6) RETURNING id, at, what`
	askCatalogue = "SELECT a.attname"
)

// An orderServer answers the two texts and the question for the catalogue, and keeps what it was sent.
type orderServer struct {
	catalogue fakepg.Reply
	plain     kit.Script // for insertOrders, and everything but the rest
	pinned    func(n int) fakepg.Reply

	mu   sync.Mutex
	sent []fakepg.Statement // what was pinned
}

func orderRows(first, second int64) fakepg.Reply {
	return fakepg.Reply{
		Columns: []fakepg.Column{
			{Name: "id", OID: pgtype.Int8OID}, {Name: "at", OID: pgtype.TimestamptzOID}, {Name: "what", OID: pgtype.TextOID},
		},
		ParamOIDs: []uint32{pgtype.TextOID, pgtype.TextOID},
		Values:    [][]any{{first, time.Unix(first, 0), "tea"}, {second, nil, "milk"}},
	}
}

// inCatalogue answers that these columns have a default that does nothing else.
func inCatalogue(columns ...string) fakepg.Reply {
	r := fakepg.Reply{
		Columns: []fakepg.Column{{Name: "attname"}, {Name: "attidentity"}, {Name: "attgenerated"}, {Name: "default"}},
	}
	for _, column := range columns {
		r.Values = append(r.Values, []any{column, "", "", "unique_rowid()"})
	}
	return r
}

func newOrderServer() *orderServer {
	return &orderServer{
		catalogue: inCatalogue("id", "at", "what"),
		plain: kit.Script{
			insertOrders:  {orderRows(7, 8), orderRows(70, 80)},
			kit.Update(1): kit.ConflictOn(1),
		},
		pinned: func(int) fakepg.Reply { return orderRows(7, 8) },
	}
}

func (s *orderServer) reply(st fakepg.Statement) fakepg.Reply {
	switch {
	case strings.HasPrefix(st.SQL, askCatalogue):
		return s.catalogue
	case st.SQL == insertOrders || !strings.HasPrefix(st.SQL, "INSERT INTO orders"):
		return s.plain.Reply(st)
	case st.Describing:
		return fakepg.Reply{Columns: orderRows(0, 0).Columns}
	}
	s.mu.Lock()
	st.Params, st.ParamFormats = slices.Clone(st.Params), slices.Clone(st.ParamFormats)
	for i := range st.Params {
		st.Params[i] = bytes.Clone(st.Params[i])
	}
	s.sent = append(s.sent, st)
	s.mu.Unlock()
	return s.pinned(st.Nth)
}

// buy begins a transaction that reads what it has ordered.
func buy(t *testing.T, r *kit.Rig) *sql.Tx {
	t.Helper()
	tx := r.Begin(t)
	rows, err := tx.QueryContext(t.Context(), insertOrders, "tea", "milk")
	require.NoError(t, err)
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	require.NoError(t, rows.Err())
	require.Equal(t, 2, n)
	return tx
}

// lose runs the statement that loses once.
func lose(t *testing.T, tx *sql.Tx) error {
	t.Helper()
	_, err := tx.ExecContext(t.Context(), kit.Update(1))
	return err
}

func TestPinned_Statement_CarriesWhatWasShown(t *testing.T) {
	t.Parallel()
	for _, mode := range kit.QueryModes[:4] {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newOrderServer()
			r := kit.Answering(t, s.reply, "default_query_exec_mode="+mode)
			tx := buy(t, r)
			r.Forget()
			require.NoError(t, lose(t, tx))
			assert.Equal(t, 2, r.RoundTrips(), "of the statement that lost, and of the replay")
			replay := r.Statements()[1]
			require.Len(t, replay, 4)
			assert.True(t, strings.HasPrefix(replay[1], askCatalogue), "the question goes with it: %q", replay)
			assert.Equal(t, []string{pinnedOrders, kit.Update(1)}, replay[2:])
			require.NoError(t, tx.Commit())

			require.Len(t, s.sent, 1)
			sent := s.sent[0]
			require.Len(t, sent.Params, 6)
			assert.Equal(t, []string{"tea", "milk"}, []string{string(sent.Params[0]), string(sent.Params[1])})
			m := pgtype.NewMap()
			for i, want := range []int64{7, 8} {
				var id int64
				require.NoError(t, m.Scan(pgtype.Int8OID, sent.ParamFormats[2+2*i], sent.Params[2+2*i], &id))
				assert.Equal(t, want, id)
			}
			var at time.Time
			require.NoError(t, m.Scan(pgtype.TimestamptzOID, sent.ParamFormats[3], sent.Params[3], &at))
			assert.Equal(t, int64(7), at.Unix())
			assert.Nil(t, sent.Params[5], "NULL stays NULL")
		})
	}
}

func TestPinned_RowThatSomebodyElseChanges_Diverges(t *testing.T) {
	t.Parallel()
	s := newOrderServer()
	s.pinned = func(int) fakepg.Reply { return orderRows(7, 9) }
	r := kit.Answering(t, s.reply)
	tx := buy(t, r)
	err := lose(t, tx)
	d := kit.As[*cockroachdb.DivergenceError](t, err)
	assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
	assert.EqualValues(t, 2, d.Row)
	assert.Len(t, s.sent, 1, "the comparison has the last word")
	r.WantEnded(t, tx)
}

func TestPinned_ColumnNotInTheCatalogue_IsLeftAlone(t *testing.T) {
	t.Parallel()
	const idAlone = `INSERT INTO orders (what, "id") VALUES ($1, $3), ($2, $4) RETURNING id, at, what`
	columns := inCatalogue().Columns
	for name, c := range map[string]struct {
		catalogue fakepg.Reply
		sent      string
	}{
		"none":    {inCatalogue(), insertOrders},
		"not all": {inCatalogue("id", "what"), idAlone},
		"other values": {
			fakepg.Reply{Columns: columns, Values: [][]any{{"id", "a", "", ""}, {"at", "", "s", "now()"}}}, insertOrders,
		},
		"a function": {
			fakepg.Reply{Columns: columns, Values: [][]any{{"id", "", "", "now()"}, {"at", "", "", "f()"}}}, idAlone,
		},
		"an error":   {kit.Fails("42P01", "no catalogue"), insertOrders},
		"too little": {kit.Texts("id", "at"), insertOrders},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOrderServer()
			s.catalogue, s.plain[insertOrders] = c.catalogue, []fakepg.Reply{orderRows(7, 8)}
			r := kit.Answering(t, s.reply)
			tx := buy(t, r)
			require.NoError(t, lose(t, tx))
			require.NoError(t, tx.Commit())
			attempt := r.LastAttempt()
			assert.Equal(t, []string{c.sent, kit.Update(1)}, attempt[len(attempt)-2:])
			assert.NotContains(t, attempt, pinnedOrders)
			retries := 0.0
			for name, n := range r.Counts(t) {
				if strings.HasPrefix(name, "transaction_retries_total") {
					retries += n
				}
			}
			assert.EqualValues(t, 1, retries, "finding out is none of the policy's attempts")
		})
	}
}

// serveTwoThatLose has two transactions lose and commit, which are shown the same keys whenever they insert.
func (s *orderServer) serveTwoThatLose(t *testing.T) *kit.Rig {
	t.Helper()
	s.plain[insertOrders] = []fakepg.Reply{orderRows(7, 8)}
	s.plain[kit.Update(1)] = kit.ConflictOn(1, 3)
	r := kit.Answering(t, s.reply)
	for range 2 {
		tx := buy(t, r)
		require.NoError(t, lose(t, tx))
		require.NoError(t, tx.Commit())
	}
	return r
}

func TestPinned_Error_IsNotTheApplications(t *testing.T) {
	t.Parallel()
	for code, forGood := range map[string]bool{
		"23505": false, "23514": false, "22003": false, "42501": true, "428C9": true, "55000": true,
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := newOrderServer()
			s.pinned = func(int) fakepg.Reply { return kit.Fails(code, "not this") }
			s.serveTwoThatLose(t)
			want := 2
			if forGood {
				want = 1
			}
			assert.Len(t, s.sent, want)
		})
	}
}

// An error in answer to the question for the catalogue that may pass is not held against the text.
func TestPinned_CatalogueDoesNotAnswer_IsAskedAgainIfItMayAnswer(t *testing.T) {
	t.Parallel()
	for code, times := range map[string]int{"57014": 2, "57P01": 2, "42501": 1, "42P01": 1, "0A000": 1} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			s := newOrderServer()
			s.catalogue = kit.Fails(code, "no catalogue")
			r := s.serveTwoThatLose(t)
			asked := 0
			for _, sql := range r.Sent() {
				if strings.HasPrefix(sql, askCatalogue) {
					asked++
				}
			}
			assert.Equal(t, times, asked)
		})
	}
}

// A conflict in the replay is one like any other: the same is pinned in the next.
func TestPinned_ConflictInTheReplay_PinsAgain(t *testing.T) {
	t.Parallel()
	s := newOrderServer()
	s.pinned = func(n int) fakepg.Reply {
		if n == 1 {
			return kit.Conflict
		}
		return orderRows(7, 8)
	}
	r := kit.Answering(t, s.reply)
	tx := buy(t, r)
	require.NoError(t, lose(t, tx))
	require.NoError(t, tx.Commit())
	require.Len(t, s.sent, 2)
	assert.Equal(t, s.sent[0].Params, s.sent[1].Params)
	assert.EqualValues(t, 1, r.Counts(t)["pinned_statements_total"])
}

// Where the server has triggers and does not show them, nothing is pinned; nor on another connection to a server of
// PostgreSQL's, which went down and may have forgotten what its sequences have given out.
func TestPinned_ServerThatCannotBeTrusted_IsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		version string
		loses   fakepg.Reply
		pins    bool
	}{
		"no triggers":             {"CockroachDB CCL v24.2.9", kit.Conflict, true},
		"triggers":                {"CockroachDB CCL v24.3.0", kit.Conflict, false},
		"triggers, the last":      {"CockroachDB CCL v25.2.4", kit.Conflict, false},
		"triggers that are shown": {"CockroachDB CCL v25.3.0", kit.Conflict, true},
		"a newer one":             {"CockroachDB CCL v26.2.1", kit.Conflict, true},
		"a version without name":  {"CockroachDB of the future", kit.Conflict, false},
		"another connection":      {"CockroachDB CCL v26.2.1", kit.CutOff, true},
		"another of PostgreSQL's": {"", kit.CutOff, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOrderServer()
			s.plain[kit.Update(1)] = []fakepg.Reply{tc.loses}
			r := kit.Answering(t, s.reply, fakepg.Version(tc.version))
			tx := buy(t, r)
			if err := lose(t, tx); tc.pins {
				require.NoError(t, err)
			} else {
				kit.As[*cockroachdb.DivergenceError](t, err)
			}
			assert.Equal(t, tc.pins, len(s.sent) > 0)
		})
	}
}

// RunTx calls its function again where the comparison finds a difference.
func TestPinned_RunTx_CallsAgainOnlyIfItMust(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]int64{"the same": 8, "another row": 9} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOrderServer()
			s.pinned = func(int) fakepg.Reply { return orderRows(7, second) }
			r := kit.Answering(t, s.reply)
			calls := 0
			require.NoError(t, cockroachdb.RunTx(t.Context(), r.DB, nil, func(tx *sql.Tx) error {
				calls++
				rows, err := tx.QueryContext(context.WithoutCancel(t.Context()), insertOrders, "tea", "milk")
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
				}
				if err := rows.Err(); err != nil {
					return err
				}
				return lose(t, tx)
			}))
			assert.Equal(t, second == 9, calls == 2)
		})
	}
}

// An upsertServer answers an upsert, as it is and pinned, and the question for the catalogue.
type upsertServer struct {
	catalogue, plain, pinned fakepg.Reply
	sent                     atomic.Int32 // how many that were pinned
}

const upsert = "INSERT INTO tags (name) SELECT unnest($1::text[]) ON CONFLICT (name) DO UPDATE SET name = tags.name " +
	"RETURNING id, (xmax != 0) AS old"

func upserted(old ...bool) fakepg.Reply {
	r := fakepg.Reply{
		Columns:   []fakepg.Column{{Name: "id", OID: pgtype.Int8OID}, {Name: "old", OID: pgtype.BoolOID}},
		ParamOIDs: []uint32{pgtype.TextArrayOID},
	}
	for i, old := range old {
		r.Values = append(r.Values, []any{int64(7 + i), old})
	}
	return r
}

func (s *upsertServer) reply(st fakepg.Statement) fakepg.Reply {
	switch {
	case strings.HasPrefix(st.SQL, askCatalogue):
		return s.catalogue
	case st.SQL == upsert:
		return s.plain
	case strings.HasPrefix(st.SQL, "INSERT INTO tags"):
		if !st.Describing {
			s.sent.Add(1)
		}
		return s.pinned
	case st.SQL == kit.Update(1):
		return kit.Script{kit.Update(1): kit.ConflictOn(1)}.Reply(st)
	}
	return fakepg.Reply{}
}

// run reads the answer to the upsert, and loses.
func (s *upsertServer) run(t *testing.T) (*kit.Rig, *sql.Tx, error) {
	t.Helper()
	r := kit.Answering(t, s.reply)
	tx := r.Begin(t)
	require.Len(t, tableOf(t, tx, upsert, "{a,b}"), 2)
	return r, tx, lose(t, tx)
}

// A row that the first run has updated is gone in the replay, and its key would be given out once more.
func TestPinned_RowThatIsNotOldAnyMore_Diverges(t *testing.T) {
	t.Parallel()
	s := &upsertServer{catalogue: inCatalogue("id", "name"), plain: upserted(false, true), pinned: upserted(false, false)}
	r, tx, err := s.run(t)
	d := kit.As[*cockroachdb.DivergenceError](t, err)
	assert.Equal(t, cockroachdb.DivergedRow, d.Kind)
	assert.EqualValues(t, 2, d.Row)
	assert.EqualValues(t, 1, s.sent.Load())
	r.WantEnded(t, tx)
}

// More or fewer rows were written than were shown, though those that were shown are the same.
func TestPinned_OtherNumberOfRows_IsNotCommitted(t *testing.T) {
	t.Parallel()
	s := &upsertServer{catalogue: inCatalogue("id", "name"), plain: upserted(false, true), pinned: upserted(false, true)}
	s.pinned.Tag = "INSERT 0 3"
	r, tx, err := s.run(t)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	assert.EqualValues(t, 1, s.sent.Load())
	assert.Equal(t, []string{upsert, kit.Update(1)}, r.LastAttempt(), "it is replayed as it was")
}

// Of a table that has a column named xmax, that says nothing of its rows.
func TestPinned_ColumnNamedXmax_IsLeftAlone(t *testing.T) {
	t.Parallel()
	s := &upsertServer{catalogue: inCatalogue("id", "xmax"), plain: upserted(false, true), pinned: upserted(false, true)}
	r, tx, err := s.run(t)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	assert.Equal(t, []string{upsert, kit.Update(1)}, r.LastAttempt(), "it is replayed as it was")
	assert.Zero(t, r.Counts(t)["pinned_statements_total"])
}
