package cockroachdb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

// A faultPlay is a transaction of the matrix. What it writes are rows with keys of their own, in a table without a key, so that a row
// that is missing or there twice shows.
type faultPlay struct {
	*testing.T
	db     *sql.DB
	tx     *sql.Tx
	ctx    context.Context
	begin  context.Context
	table  string
	acked  []int // what the application believes to have written
	sloppy bool  // it goes on after an error
}

func (p *faultPlay) q(text string) string { return strings.ReplaceAll(text, "TBL", p.table) }

// write runs a text that writes these keys.
func (p *faultPlay) write(text string, keys ...int) error {
	_, err := p.tx.ExecContext(p.ctx, p.q(text))
	if err == nil {
		p.acked = append(p.acked, keys...)
	}
	return err
}

func (p *faultPlay) insert(k int) error {
	res, err := p.tx.ExecContext(p.ctx, p.q("INSERT INTO TBL VALUES ($1)"), k)
	if err == nil {
		p.acked = append(p.acked, k)
		_, err = res.RowsAffected()
	}
	return err
}

func (p *faultPlay) read() error {
	var n int
	return p.tx.QueryRowContext(p.ctx, p.q("SELECT count(*) FROM TBL")).Scan(&n)
}

// stream reads one of many rows.
func (p *faultPlay) stream() error {
	rows, err := p.tx.QueryContext(p.ctx, p.q("SELECT g, count(TBL.k) FROM generate_series(1, 300) g LEFT JOIN TBL ON true GROUP BY g ORDER BY g"))
	if err != nil {
		return err
	}
	rows.Next()
	return errors.Join(rows.Err(), rows.Close())
}

func (p *faultPlay) survive() error {
	if _, err := p.tx.ExecContext(p.ctx, "SAVEPOINT s"); err != nil {
		return err
	}
	_, failed := p.tx.ExecContext(p.ctx, "SELECT 1 / $1::INT", 0)
	if _, err := p.tx.ExecContext(p.ctx, "ROLLBACK TO SAVEPOINT s"); err != nil {
		return errors.Join(failed, err)
	}
	return nil
}

func (p *faultPlay) prepared(k int) error {
	stmt, err := p.tx.PrepareContext(p.ctx, p.q("INSERT INTO TBL VALUES ($1) RETURNING k"))
	if err != nil {
		return err
	}
	defer stmt.Close()
	err = stmt.QueryRowContext(p.ctx, k).Scan(new(int))
	if err == nil {
		p.acked = append(p.acked, k)
	}
	return err
}

// all runs steps up to the first error, or, sloppily, all of them.
func (p *faultPlay) all(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil && !p.sloppy {
			return err
		}
	}
	return nil
}

func (p *faultPlay) commit(steps ...func() error) error {
	var err error
	if p.tx, err = p.db.BeginTx(p.begin, nil); err != nil {
		return err
	}
	if err := p.all(steps...); err != nil {
		_ = p.tx.Rollback()
		return err
	}
	return p.tx.Commit()
}

func ins(p *faultPlay, k int) func() error { return func() error { return p.insert(k) } }

var matrixPlays = map[string]func(*faultPlay) error{
	"read, write": func(p *faultPlay) error { return p.commit(p.read, ins(p, 1), p.read, ins(p, 2)) },
	"savepoint":   func(p *faultPlay) error { return p.commit(ins(p, 1), p.survive, ins(p, 2)) },
	"texts": func(p *faultPlay) error {
		return p.commit(ins(p, 1), func() error { return p.write("INSERT INTO TBL VALUES (2); INSERT INTO TBL VALUES (3)", 2, 3) }, ins(p, 4))
	},
	"stream": func(p *faultPlay) error { return p.commit(ins(p, 1), p.stream, ins(p, 2)) },
	"stmt":   func(p *faultPlay) error { return p.commit(p.read, func() error { return p.prepared(1) }, ins(p, 2)) },
	"ddl": func(p *faultPlay) error {
		return p.commit(ins(p, 1), func() error { return p.write("ALTER TABLE TBL ADD COLUMN w INT") }, func() error { return p.write("INSERT INTO TBL VALUES (2)", 2) })
	},
	"own commit": func(p *faultPlay) error {
		var err error
		if p.tx, err = p.db.BeginTx(p.begin, nil); err != nil {
			return err
		}
		defer func() { _ = p.tx.Rollback() }()
		p.sloppy = false // what comes behind it runs by itself
		return p.all(ins(p, 1), ins(p, 2), func() error { return p.write("COMMIT") })
	},
	"RunTx": func(p *faultPlay) error {
		return cockroachdb.RunTx(p.begin, p.db, nil, func(tx *sql.Tx) error {
			p.tx, p.acked = tx, nil
			return p.all(p.read, ins(p, 1), p.survive, ins(p, 2))
		})
	},
}

type blow struct {
	name  string
	at    crdbsim.Stage
	act   crdbsim.Action
	abort bool // it cancels the context
	lies  bool // about a commit it would be no truth
}

var (
	serverSays = func(code string) crdbsim.Error { return crdbsim.Error{Code: code, Message: "injected"} }
	matrixHits = []blow{
		{name: "40001", act: crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}},
		{name: "40001 after", act: crdbsim.Action{Then: crdbsim.ExecuteFail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}, lies: true},
		{name: "cut", act: crdbsim.Action{Then: crdbsim.Cut}},
		{name: "execute, cut", act: crdbsim.Action{Then: crdbsim.ExecuteCut}},
		{name: "execute half", act: crdbsim.Action{Then: crdbsim.ExecuteHalf}},
		{name: "57P01", act: crdbsim.Action{Then: crdbsim.Fail, Error: serverSays("57P01")}},
		{name: "57014 after", act: crdbsim.Action{Then: crdbsim.ExecuteFail, Error: serverSays("57014")}, lies: true},
		{name: "40003 after", act: crdbsim.Action{Then: crdbsim.ExecuteFail, Error: serverSays("40003")}},
		{name: "cancel", abort: true},
		{name: "parse 40001", at: crdbsim.AtParse, act: crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}},
		{name: "parse cut", at: crdbsim.AtParse, act: crdbsim.Action{Then: crdbsim.Cut}},
	}
)

// A faultScript has blows fall on the nth statement, counted over all attempts.
type faultScript struct {
	mu     sync.Mutex
	on     bool
	n      [2]int
	blows  map[int]blow
	cancel func()
	struck []string
}

func (s *faultScript) do(p crdbsim.Point) crdbsim.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.on {
		return crdbsim.Action{}
	}
	n := s.n[p.Stage]
	s.n[p.Stage]++
	b, ok := s.blows[n]
	word := strings.ToUpper(strings.Fields(p.SQL + " -")[0])
	if !ok || b.at != p.Stage || b.lies && (word == "RELEASE" || word == "COMMIT") {
		return crdbsim.Action{}
	}
	delete(s.blows, n)
	s.struck = append(s.struck, fmt.Sprintf("%s at %d %q", b.name, n, p.SQL))
	if b.abort {
		s.cancel()
	}
	return b.act
}

func (s *faultScript) stop() (n [2]int, struck []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = false
	return s.n, s.struck
}

type matrix struct {
	dsn   string
	admin *sql.DB
	pg    bool
	n     int
	mu    sync.Mutex
}

func (m *matrix) newTable(t *testing.T) string {
	m.mu.Lock()
	m.n++
	name := fmt.Sprintf("t%d", m.n)
	m.mu.Unlock()
	mustExec(t, m.admin, "CREATE TABLE "+name+" (k INT)")
	return name
}

// run plays one transaction with these blows and returns how many statements and Parses there were.
func (m *matrix) run(t *testing.T, label string, run func(*faultPlay) error, sloppy bool, blows map[int]blow) [2]int {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	own, stop := context.WithCancel(ctx)
	defer stop()
	p := &faultPlay{T: t, table: m.newTable(t), ctx: own, begin: own, sloppy: sloppy}
	if sloppy {
		p.begin = ctx
	}
	sim, err := enginetest.Get(t).NewSim(crdbsim.Config{PostgreSQL: m.pg})
	require.NoError(t, err)
	defer sim.Close()
	p.db, err = sql.Open("cockroachdb", withParams(enginetest.Get(t).Through(sim, m.dsn), noWaits))
	require.NoError(t, err)
	defer p.db.Close()
	p.db.SetMaxOpenConns(1)
	require.NoError(t, p.db.PingContext(ctx))
	s := &faultScript{on: true, blows: blows, cancel: stop}
	for _, stage := range []crdbsim.Stage{crdbsim.AtExecute, crdbsim.AtParse} {
		sim.Inject(&crdbsim.Fault{At: stage, Times: -1, Do: s.do})
	}

	err = run(p)
	n, struck := s.stop()
	label = fmt.Sprintf("%s %v: %v", label, struck, err)
	var one int
	require.NoError(t, p.db.QueryRowContext(ctx, "SELECT 1").Scan(&one), label)
	assert.Zero(t, p.db.Stats().InUse, label)

	rows := query(t, m.admin, "SELECT k FROM "+p.table+" ORDER BY k")
	is, want := rows.mustRest(), []string{}
	for _, k := range slices.Sorted(slices.Values(p.acked)) {
		want = append(want, fmt.Sprint(k))
	}
	var ambiguous *cockroachdb.AmbiguousCommitError
	switch {
	case err == nil:
		assert.Equal(t, want, is, label)
	case errors.As(err, &ambiguous), stateOf(err) == "40003":
		if len(is) > 0 {
			assert.Subset(t, is, want, label)
			assert.LessOrEqual(t, len(is), 4, label)
		}
		assert.Equal(t, slices.Compact(slices.Clone(is)), is, label)
	default:
		assert.Empty(t, is, label)
	}
	return n
}

func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for name, pg := range map[string]bool{"CockroachDB": false, "PostgreSQL": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := enginetest.NewDirectDB(t)
			m := &matrix{dsn: dsn, admin: open(t, dsn), pg: pg}
			for name, run := range matrixPlays {
				for _, sloppy := range []bool{false, true} {
					if sloppy && pg && os.Getenv("FAULT_MATRIX") != "full" {
						continue
					}
					t.Run(fmt.Sprintf("%s sloppy=%v", name, sloppy), func(t *testing.T) {
						t.Parallel()
						m.play(t, name, run, sloppy)
					})
				}
			}
		})
	}
}

func (m *matrix) play(t *testing.T, label string, run func(*faultPlay) error, sloppy bool) {
	clean := m.run(t, label, run, sloppy, nil)
	for _, b := range matrixHits {
		for i := range clean[b.at] {
			m.run(t, label, run, sloppy, map[int]blow{i: b})
		}
	}
	if os.Getenv("FAULT_MATRIX") != "full" { // minutes
		return
	}
	for i := range clean[0] { // a second one in the replay
		for _, b := range matrixHits {
			for j := i + 1; j < i+clean[0] && b.at == crdbsim.AtExecute; j++ {
				m.run(t, label, run, sloppy, map[int]blow{i: matrixHits[0], j: b})
			}
		}
	}
}
