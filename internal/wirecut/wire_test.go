package wirecut_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
	"github.com/reprise-go/cockroachdb/internal/wirecut"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// A line is a wire to an engine with a table t of its own.
type line struct {
	*wirecut.Wire
	cfg   *pgx.ConnConfig
	other *pgx.Conn
}

// A dial connects to a server.
type dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// wires are the kinds of a wire.
var wires = map[string]func(dial) *wirecut.Wire{"conn": wirecut.New, "relay": wirecut.NewRelay}

// onEach runs a test on each kind.
func onEach(t *testing.T, test func(*testing.T, line)) {
	for name, newWire := range wires {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newLine(t, newWire))
		})
	}
}

func newLine(t *testing.T, newWire func(dial) *wirecut.Wire) line {
	_, dsn := enginetest.NewSim(t, crdbsim.Config{})
	other, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Close(context.Background()) })
	_, err = other.Exec(t.Context(), "CREATE TABLE t (k INT)")
	require.NoError(t, err)
	cfg, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	w := newWire((&net.Dialer{}).DialContext)
	cfg.DialFunc = w.Dial
	return line{w, cfg, other}
}

func (l line) count(t *testing.T) (n int) {
	require.NoError(t, l.other.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	return n
}

// insert arms the wire with cuts and inserts a row, which takes Parse, Bind, Describe, Execute and Sync.
func (l line) insert(t *testing.T, cuts ...wirecut.Cut) (talk wirecut.Talk, struck []wirecut.Struck, err error) {
	conn, err := pgx.ConnectConfig(t.Context(), l.cfg)
	require.NoError(t, err)
	l.Arm(cuts...)
	_, err = conn.Exec(t.Context(), "INSERT INTO t VALUES ($1)", pgx.QueryExecModeExec, 1)
	talk, struck = l.Disarm()
	assert.Equal(t, err != nil, conn.IsClosed())
	if cuts == nil {
		assert.Equal(t, "I", l.Open())
	}
	require.NoError(t, conn.Close(t.Context()))
	assert.True(t, l.Settle(0))
	assert.Empty(t, l.Open())
	return talk, struck, err
}

func TestTalk(t *testing.T) {
	t.Parallel()
	onEach(t, testTalk)
}

func testTalk(t *testing.T, l line) {
	talk, struck, err := l.insert(t)
	require.NoError(t, err)
	assert.Empty(t, struck)
	assert.Equal(t, wirecut.Talk{Client: "PBDES", Server: "12nCZ"}, talk)
	assert.Equal(t, 1, l.count(t))
	select {
	case <-l.Left():
	default:
		t.Error("the client has closed its connection")
	}
}

// TestCut: the server has done what it had been sent whole, by the time that the client knows. Outside a transaction,
// and so at Execute, it commits.
func TestCut(t *testing.T) {
	t.Parallel()
	onEach(t, testCut)
}

func testCut(t *testing.T, l line) {
	const execute = 3
	for i := range len("PBDES") {
		for how, done := range map[wirecut.How]bool{
			wirecut.Before: i > execute, wirecut.Half: i > execute, wirecut.After: i >= execute,
		} {
			l.cutAt(t, wirecut.Cut{Side: wirecut.Client, At: i, How: how}, done)
		}
	}
	for i := range len("12nCZ") {
		for _, how := range []wirecut.How{wirecut.Half, wirecut.After, wirecut.LastWord} {
			l.cutAt(t, wirecut.Cut{Side: wirecut.Server, At: i, How: how}, true)
		}
	}
}

func (l line) cutAt(t *testing.T, cut wirecut.Cut, done bool) {
	t.Run(fmt.Sprintf("%s %d %s", cut.Side, cut.At, cut.How), func(t *testing.T) {
		_, err := l.other.Exec(t.Context(), "DELETE FROM t")
		require.NoError(t, err)
		talk, struck, err := l.insert(t, cut)
		assert.Len(t, struck, 1)
		if last := cut.Side == wirecut.Server && cut.At == 4 && cut.How != wirecut.Half; !last {
			require.Error(t, err)
		}
		want := 0
		if done {
			want = 1
		}
		assert.Equal(t, want, l.count(t))
		if cut.Side == wirecut.Server {
			assert.Len(t, talk.Server, cut.At+1)
		}
	})
}

// TestCutOnlyOnce: connections made later are not harmed, and messages are counted over all of them.
func TestCutOnlyOnce(t *testing.T) {
	t.Parallel()
	onEach(t, testCutOnlyOnce)
}

func testCutOnlyOnce(t *testing.T, l line) {
	l.Arm(wirecut.Cut{Side: wirecut.Client, At: 1, How: wirecut.After})
	for i := range 3 {
		conn, err := pgx.ConnectConfig(t.Context(), l.cfg)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		assert.Equal(t, i == 1, err != nil)
		require.NoError(t, conn.Close(t.Context()))
	}
	talk, struck := l.Disarm()
	assert.Len(t, struck, 1)
	assert.Equal(t, "QQQ", talk.Client)
}

// TestAfterError: after an error the server skips everything up to Sync, and nobody waits for more.
func TestAfterError(t *testing.T) {
	t.Parallel()
	onEach(t, testAfterError)
}

func testAfterError(t *testing.T, l line) {
	conn, err := pgx.ConnectConfig(t.Context(), l.cfg)
	require.NoError(t, err)
	const statement = len("PBDE")
	l.Arm(wirecut.Cut{Side: wirecut.Client, At: 2*statement - 1, How: wirecut.After})
	p := conn.PgConn().StartPipeline(t.Context())
	p.SendQueryParams("SELECT 1/0", nil, nil, nil, nil)
	p.SendQueryParams("INSERT INTO t VALUES (1)", nil, nil, nil, nil)
	require.NoError(t, p.Sync(), "the client finds out when it reads")
	require.Error(t, p.Close())
	_, struck := l.Disarm()
	assert.Len(t, struck, 1)
	require.NoError(t, conn.Close(t.Context()))
	assert.Zero(t, l.count(t))
}
