package cockroachdb

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func mustParse(t *testing.T, dsn string) *Config {
	t.Helper()
	cfg, err := ParseConfig(dsn)
	require.NoError(t, err)
	return cfg
}

// A greeter is a server that lets everybody in, or nobody, and then only waits for them to leave.
type greeter struct {
	addr   string
	refuse atomic.Bool
	open   atomic.Int32 // connections it has let in and that are still there

	mu     sync.Mutex
	params []map[string]string // of each start-up message
}

func newGreeter(t *testing.T) *greeter {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &greeter{addr: listener.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { g.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	return g
}

func (g *greeter) dsn(query string) string {
	return "postgresql://app:" + secret + "@" + g.addr + "/bank?sslmode=disable" + query
}

func (g *greeter) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	backend := pgproto3.NewBackend(conn, conn)
	message, err := backend.ReceiveStartupMessage()
	startup, ok := message.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return
	}
	g.mu.Lock()
	g.params = append(g.params, startup.Parameters)
	g.mu.Unlock()
	if g.refuse.Load() {
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"})
		_ = backend.Flush()
		return
	}
	g.open.Add(1)
	defer g.open.Add(-1)
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	_ = backend.Flush()
	_, _ = io.Copy(io.Discard, conn)
}

func (g *greeter) lastParams(t *testing.T) map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	require.NotEmpty(t, g.params)
	return g.params[len(g.params)-1]
}

func (g *greeter) waitUntilEmpty(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return g.open.Load() == 0 }, time.Minute, time.Millisecond, "a connection leaks")
}

func mustConnector(t *testing.T, cfg *Config) *Connector {
	t.Helper()
	c, err := NewConnector(cfg)
	require.NoError(t, err)
	return c
}

func connect(t *testing.T, c driver.Connector) *conn {
	t.Helper()
	own, err := c.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = own.Close() })
	require.IsType(t, (*conn)(nil), own)
	return own.(*conn)
}

func TestDriverIsRegistered(t *testing.T) {
	assert.Contains(t, sql.Drivers(), "cockroachdb")
}

func TestSQLOpen_InvalidDSN_FailsAtOnce(t *testing.T) {
	for _, dsn := range []string{
		"postgresql://db/bank?retry_max_attempts=many", "postgresql://db:port/bank", "mysql://db/bank",
	} {
		_, err := sql.Open("cockroachdb", dsn)
		assert.Error(t, err, dsn)
	}
	db, err := sql.Open("cockroachdb", "postgresql://nobody.invalid/bank")
	require.NoError(t, err, "opening connects to nothing")
	require.IsType(t, &Driver{}, db.Driver())
	require.NoError(t, db.Close())
}

func TestConnect_OwnSettings_AreNotSent(t *testing.T) {
	g := newGreeter(t)
	c := mustConnector(t, mustParse(t, g.dsn("&retry_max_attempts=3&retry_lane_wait=1s&application_name=teller&statement_timeout=5s")))
	connect(t, c)
	assert.Equal(t, map[string]string{
		"user": "app", "database": "bank", "application_name": "teller", "statement_timeout": "5s",
	}, g.lastParams(t))
}

func TestDriver_Open_Connects(t *testing.T) {
	g := newGreeter(t)
	conn, err := (&Driver{}).Open(g.dsn(""))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	_, err = (&Driver{}).Open("retry_max_attempts=0")
	assert.ErrorContains(t, err, "retry_max_attempts")
	g.waitUntilEmpty(t)
}

func TestNewConnector_ConfigThatWouldPanicLater_IsRefused(t *testing.T) {
	parsed, err := pgx.ParseConfig("postgresql://app@db/bank?retry_max_attempts=3")
	require.NoError(t, err)
	good := func() *Config { return mustParse(t, "postgresql://app@db/bank") }
	for name, tc := range map[string]struct {
		cfg  func() *Config
		want string
	}{
		"nil":           {func() *Config { return nil }, "ParseConfig"},
		"zero":          {func() *Config { return &Config{} }, "ConnConfig is nil"},
		"no ConnConfig": {func() *Config { c := good(); c.ConnConfig = nil; return c }, "ConnConfig is nil"},
		"hand-made":     {func() *Config { c := good(); c.ConnConfig = &pgx.ConnConfig{}; return c }, "made by hand"},
		"policy": {
			func() *Config { c := good(); c.RetryPolicy = RetryPolicy{}; return c }, "RetryPolicy.MaxAttempts",
		},
		"throttle": {
			func() *Config { c := good(); c.RetryThrottle = RetryThrottle{}; return c }, "RetryThrottle.MaxTokens",
		},
		"groups": {
			func() *Config { c := good(); c.HostGroups = []int{2, 1}; return c },
			"Config.HostGroups is [2 1], and there are 1 hosts",
		},
		"groups in order": {
			func() *Config { c := good(); c.HostGroups, c.BalanceHosts = []int{1}, false; return c }, "BalanceHosts",
		},
		"settings past ours": {func() *Config { c := good(); c.ConnConfig = parsed; return c }, "retry_max_attempts"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewConnector(tc.cfg())
			require.Error(t, err)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func TestNewConnector_ConfigParsedByPgx_Connects(t *testing.T) {
	g := newGreeter(t)
	parsed, err := pgx.ParseConfig(g.dsn(""))
	require.NoError(t, err)
	c := mustConnector(t, &Config{
		ConnConfig: parsed, RetryPolicy: DefaultRetryPolicy(), RetryThrottle: DefaultRetryThrottle(),
	})
	connect(t, c)
	assert.Nil(t, c.pool.metrics())
}

func TestNewConnector_AnyConfig_CallsNoHook(t *testing.T) {
	cfg := mustParse(t, "postgresql://app@db/bank")
	fail := func(what string) { t.Errorf("%s was called", what) }
	cfg.ConnConfig.LookupFunc = func(context.Context, string) ([]string, error) { fail("LookupFunc"); return nil, io.EOF }
	cfg.ConnConfig.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		fail("DialFunc")
		return nil, io.EOF
	}
	cfg.ConnConfig.Tracer = connectTracer(func() { fail("the tracer") })
	mustConnector(t, cfg)
}

type connectTracer func()

func (f connectTracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	f()
	return ctx
}
func (f connectTracer) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) { f() }
func (f connectTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (f connectTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestConnector_ConfigChangedLater_GoesByItsCopy(t *testing.T) {
	g := newGreeter(t)
	cfg := mustParse(t, g.dsn("&application_name=before"))
	c := mustConnector(t, cfg)
	cfg.RetryPolicy.MaxAttempts = 99
	cfg.ConnConfig.RuntimeParams["application_name"] = "after"
	cfg.ConnConfig.Host = "nobody.invalid"
	cfg.AfterConnect = func(context.Context, *pgx.Conn) error { return io.EOF }
	connect(t, c)
	assert.Equal(t, "before", g.lastParams(t)["application_name"])
	assert.Equal(t, DefaultRetryPolicy(), c.cfg.RetryPolicy)
}

func TestConnect_BeforeConnect_ChangesACopy(t *testing.T) {
	g := newGreeter(t)
	cfg := mustParse(t, g.dsn("&application_name=teller"))
	cfg.BeforeConnect = stdlib.RandomizeHostOrderFunc // pgx's own hooks fit
	connect(t, mustConnector(t, cfg))
	n := 0
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		n++
		cc.RuntimeParams["application_name"] += fmt.Sprint(n)
		return nil
	}
	c := mustConnector(t, cfg)
	connect(t, c)
	assert.Equal(t, "teller1", g.lastParams(t)["application_name"])
	connect(t, c)
	assert.Equal(t, "teller2", g.lastParams(t)["application_name"])
}

func TestConnect_HookFails_ReturnsItsError(t *testing.T) {
	g := newGreeter(t)
	mine := errors.New("mine")
	before := mustParse(t, g.dsn(""))
	before.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return mine }
	_, err := mustConnector(t, before).Connect(t.Context())
	assert.Same(t, mine, err)

	after := mustParse(t, g.dsn(""))
	ctx, cancel := context.WithCancel(t.Context())
	after.AfterConnect = func(_ context.Context, pc *pgx.Conn) error {
		assert.False(t, pc.IsClosed())
		cancel() // the connection is closed all the same
		return mine
	}
	_, err = mustConnector(t, after).Connect(ctx)
	assert.Same(t, mine, err)
	g.waitUntilEmpty(t)
}

func TestConnect_Refused_ShowsNoPassword(t *testing.T) {
	g := newGreeter(t)
	g.refuse.Store(true)
	_, err := mustConnector(t, mustParse(t, g.dsn(""))).Connect(t.Context())
	require.ErrorContains(t, err, "password authentication failed")
	assertNoSecret(t, err)

	_, err = mustConnector(t, mustParse(t, "postgresql://app:"+secret+"@nobody.invalid/bank")).Connect(t.Context())
	require.Error(t, err)
	assertNoSecret(t, err)
}

func TestConnect_ContextDone_ReturnsItsError(t *testing.T) {
	g := newGreeter(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := mustConnector(t, mustParse(t, g.dsn(""))).Connect(ctx)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestConnect_FirstHostIsDown_TriesTheNext(t *testing.T) {
	g := newGreeter(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	c := mustConnector(t, mustParse(t, "cockroachdb://app@"+dead.Addr().String()+","+g.addr+"/bank?sslmode=disable"))
	connect(t, c)
}

// A connector can serve several pools: closing one of them does not disturb the others.
func TestConnectorClose_AnotherPoolGoesOn(t *testing.T) {
	g := newGreeter(t)
	c := mustConnector(t, mustParse(t, g.dsn("")))
	conn := connect(t, c)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "it may be closed twice")
	assert.False(t, conn.Conn().IsClosed(), "open connections are the pool's to close")
	connect(t, c)

	c = mustConnector(t, mustParse(t, g.dsn("")))
	web, jobs := sql.OpenDB(c), sql.OpenDB(c)
	require.NoError(t, web.Close())
	defer jobs.Close()
	conns, err := jobs.Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, conns.Close())
}

func TestConnect_ManyGoroutines_CallsHooksForEach(t *testing.T) {
	g := newGreeter(t)
	cfg := mustParse(t, g.dsn(""))
	var before, after atomic.Int32
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		cc.RuntimeParams["application_name"] = fmt.Sprint(before.Add(1))
		return nil
	}
	cfg.AfterConnect = func(context.Context, *pgx.Conn) error { after.Add(1); return nil }
	c := mustConnector(t, cfg)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			conn, err := c.Connect(t.Context())
			if assert.NoError(t, err) {
				assert.NoError(t, conn.Close())
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 16, before.Load())
	assert.EqualValues(t, 16, after.Load())
	g.waitUntilEmpty(t)
}

func TestConnector_MetricsDBName_IsThatOfTheConfigOrDSN(t *testing.T) {
	for name, tc := range map[string]struct{ dsn, dbName, want string }{
		"the database's name":     {"postgresql://app@db/bank", "", "bank"},
		"the user's, without one": {"postgresql://app@db", "", "app"},
		"as configured":           {"postgresql://app@db/bank", "the bank", "the bank"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := mustParse(t, tc.dsn)
			cfg.Metrics, cfg.DBName = NewMetrics(), tc.dbName
			c := mustConnector(t, cfg)
			assert.Same(t, cfg.Metrics.pools[tc.want], c.pool.metrics())
		})
	}
	assert.Same(t, DefaultMetrics, mustParse(t, "").Metrics)
}

func TestRegisteredConnConfig_KnownName_Connects(t *testing.T) {
	g := newGreeter(t)
	parsed, err := pgx.ParseConfig(g.dsn("&application_name=registered"))
	require.NoError(t, err)
	name := stdlib.RegisterConnConfig(parsed)
	defer stdlib.UnregisterConnConfig(name)

	cfg := mustParse(t, name)
	assert.Nil(t, cfg.ConnConfig)
	assert.Equal(t, DefaultRetryPolicy(), cfg.RetryPolicy)
	assert.Contains(t, cfg.String(), name)
	cfg.Metrics = NewMetrics()
	var after int
	cfg.AfterConnect = func(context.Context, *pgx.Conn) error { after++; return nil }
	c := mustConnector(t, cfg)
	connect(t, c)
	connect(t, c)
	assert.Equal(t, "registered", g.lastParams(t)["application_name"])
	assert.Equal(t, 2, after)
	assert.Same(t, cfg.Metrics.pools["bank"], c.pool.metrics(), "the database's name is known with the first connection")

	db, err := sql.Open("cockroachdb", name)
	require.NoError(t, err)
	client, err := db.Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, client.Raw(func(dc any) error { assert.IsType(t, (*conn)(nil), dc); return nil }))
	require.NoError(t, client.Close())
	require.NoError(t, db.Close())
}

func TestRegisteredConnConfig_UnknownName_Fails(t *testing.T) {
	_, err := mustConnector(t, mustParse(t, "registeredConnConfig987654")).Connect(t.Context())
	assert.ErrorContains(t, err, "no configuration is registered")

	cfg := mustParse(t, "registeredConnConfig987654")
	cfg.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { return nil }
	_, err = NewConnector(cfg)
	assert.ErrorContains(t, err, "BeforeConnect is not available")
}

func TestConfig_Printed_ShowsNoSecret(t *testing.T) {
	dsn := "cockroachdb://app:" + secret + "@db1,db2:26258/bank?sslpassword=" + secret + "&retry_max_attempts=7"
	cfg := mustParse(t, dsn)
	c := mustConnector(t, cfg)
	db := sql.OpenDB(c)
	defer db.Close()
	type wrapper struct {
		Cfg    *Config
		Value  Config
		C      *Connector
		hidden *Config
	}
	w := wrapper{cfg, *cfg, c, cfg}
	for name, value := range map[string]any{
		"*Config": cfg, "Config": *cfg, "*Connector": c, "*Driver": c.Driver(), "nested": w, "*nested": &w,
		"slice": []*Config{cfg}, "map": map[string]Config{"a": *cfg}, "sql.DB": db,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			assertClean(t, fmt.Sprintf(verb, value), name+" as "+verb)
		}
		var logged bytes.Buffer
		slog.New(slog.NewTextHandler(&logged, nil)).Info("open", "it", value)
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("open", "it", value)
		assertClean(t, logged.String(), name+" in a log")
	}
	for _, shown := range []string{fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", *cfg), fmt.Sprint(c)} {
		for _, want := range []string{"db1:26257,db2:26258", "bank", "app", "MaxAttempts:7"} {
			assert.Contains(t, shown, want)
		}
	}
	assert.True(t, strings.HasPrefix(fmt.Sprint(c), "cockroachdb.Connector{"))
	assert.Equal(t, "<nil>", fmt.Sprint((*Connector)(nil)))
	assert.NotPanics(t, func() { _ = fmt.Sprint((*Config)(nil), Config{}) })
}

func TestForceSavepointRestart_InTheDSN_IsRead(t *testing.T) {
	for query, want := range map[string]bool{
		"":                                          false,
		"force_savepoint_restart=on":                true,
		"force_savepoint_restart=TRUE":              true,
		"force_savepoint_restart=1":                 true,
		"Force_Savepoint_Restart=yes":               true,
		"force_savepoint_restart=off":               false,
		"force_savepoint_restart=false":             false,
		"options=-c%20force_savepoint_restart%3Don": true,
		"options=-cforce_savepoint_restart%3Don":    true,
		"options=--force_savepoint_restart%3Dtrue":  true,
		"options=--force-savepoint-restart%3Dtrue":  true,
		"options=--cluster%3Dx%20-c%20a%3Db%20-c%20force_savepoint_restart%3D1": true,
		"options=-c%20force_savepoint_restart%3Doff":                            false,
		"options=-c%20application_name%3Dforce_savepoint_restart":               false,
	} {
		cfg := mustParse(t, "postgresql://db/bank?"+query)
		assert.Equal(t, want, forceSavepointRestart(cfg.ConnConfig.RuntimeParams), query)
	}
}
