package cockroachdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Config says how to connect and how to retry. [ParseConfig] makes one; a Config made by hand needs a ConnConfig made by
// [pgx.ParseConfig], and a RetryPolicy and RetryThrottle that are valid.
//
// However a Config is printed or logged, it shows hosts, database, user and the retry settings, and no secret.
type Config struct {
	// ConnConfig is pgx's configuration of a connection; tracers in it are called as pgx calls them. It is nil if the DSN
	// was a name from pgx's stdlib.RegisterConnConfig: what is registered then applies.
	ConnConfig *pgx.ConnConfig

	// RetryPolicy bounds the retries of each transaction. ParseConfig starts from DefaultRetryPolicy.
	RetryPolicy RetryPolicy

	// RetryThrottle bounds the retries of all transactions of a connector together. ParseConfig starts from
	// DefaultRetryThrottle.
	RetryThrottle RetryThrottle

	// Metrics counts what the connector's transactions come to. ParseConfig sets DefaultMetrics; nil switches counting off.
	Metrics *Metrics

	// DBName is the value of the metrics' label db_name. Empty means the database's name, or the user's where the server
	// is to choose the database.
	DBName string

	// BeforeConnect, if set, may change the ConnConfig, a copy, that the next connection is made with. Its error is
	// returned as it is. It cannot be had with a name from stdlib.RegisterConnConfig: NewConnector refuses it.
	BeforeConnect func(context.Context, *pgx.ConnConfig) error

	// AfterConnect, if set, prepares a new connection. Its error closes the connection and is returned as it is.
	AfterConnect func(context.Context, *pgx.Conn) error

	// ResetSession, if set, is called before a connection that has been used is used again. [driver.ErrBadConn]
	// discards the connection.
	ResetSession func(context.Context, *pgx.Conn) error

	// OnRetry, if set, is called before each new attempt of a transaction, or of a statement outside of one, once all that it had to
	// wait for is over: exactly as often as the metric cockroachdb_transaction_retries_total counts. The context is the
	// one of the statement, as the tracer has made it, if there is one; in Commit it is BeginTx's.
	//
	// It is called on the goroutine that runs the statement. It may block, and use the *sql.DB as anybody may, but the
	// transaction waits for it, holding its connection, its locks and its place in the retry lane. It must not use the transaction, nor
	// a *sql.Conn that this runs on: that would wait for itself. Its time counts towards RetryPolicy.MaxElapsed; an attempt
	// that it has been told of begins in any case, unless its context is done. If it panics, that is logged by [slog]'s
	// default logger, with the stack, and the transaction goes on.
	OnRetry func(context.Context, RetryEvent)

	// OnRetried, if set, is called once at the end of each transaction, or statement outside of one, that OnRetry was called
	// for, or would have been if it had not been given up before. The context is BeginTx's, or the statement's. Its locks
	// and its place in the retry lane are free by then; the connection is not yet. What is said of OnRetry holds otherwise. A transaction that is rolled back because
	// its context is done ends on a goroutine of database/sql's.
	OnRetried func(context.Context, RetryEvent)

	// registered is the name that stdlib.RegisterConnConfig gave; it counts only while ConnConfig is nil.
	registered string
}

// ParseConfig parses a DSN. It may be whatever [pgx.ParseConfig] takes: a URL, with several hosts or one; keyword/value
// pairs; nothing, for the PG* environment variables alone; or a name given by pgx's stdlib.RegisterConnConfig, with the
// default retry settings. The schemes cockroachdb, cockroach and crdb-postgres stand beside postgresql and postgres. With
// them a host without a port has that of PGPORT, or else 26257; but a URL of one host that leaves its port to a service
// file has that service's port, or else 5432.
//
// These keys are the driver's own and never reach the server:
//
//   - retry_max_attempts, retry_max_elapsed, retry_initial_backoff, retry_max_backoff, retry_backoff_multiplier, retry_lane_wait,
//     retry_max_statements and retry_max_bytes set the field of that name of [RetryPolicy];
//   - retry_throttle_tokens and retry_throttle_tokens_per_commit set MaxTokens and TokensPerCommit of [RetryThrottle].
//
// Durations are written as Go's: "500ms". A key that looks like a slip for one of them is an error. The defaults, and what else
// they mean, are in the [README].
//
// No error quotes the DSN, nor a value from it. A password in a URL has its special characters percent-encoded; where
// an unescaped '@' has put a part of one into the hosts or the database's name, that is an error too.
//
// [README]: https://github.com/reprise-go/cockroachdb#tuning
func ParseConfig(dsn string) (*Config, error) {
	cfg := &Config{
		RetryPolicy:   DefaultRetryPolicy(),
		RetryThrottle: DefaultRetryThrottle(),
		Metrics:       DefaultMetrics,
	}
	if registeredName.MatchString(dsn) {
		cfg.registered = dsn
		return cfg, nil
	}
	var err error
	if cfg.ConnConfig, err = parseConnConfig(dsn); err != nil {
		return nil, err
	}
	if err := checkRepeated(dsn); err != nil {
		return nil, err
	}
	if err := takeSettings(cfg, cfg.ConnConfig.RuntimeParams); err != nil {
		return nil, err
	}
	return cfg, nil
}

// hosts lists where connections go to, each place once, in the order of trying.
func (c Config) hosts() string {
	cc := c.ConnConfig
	list := []string{hostPort(cc.Host, cc.Port)}
	for _, f := range cc.Fallbacks {
		if h := hostPort(f.Host, f.Port); !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	return strings.Join(list, ",")
}

func hostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// LogValue shows the Config to [slog] without its secrets.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	if cc := c.ConnConfig; cc != nil {
		attrs = append(attrs, slog.String("hosts", c.hosts()), slog.String("database", cc.Database), slog.String("user", cc.User))
	} else if c.registered != "" {
		attrs = append(attrs, slog.String("registered", c.registered))
	}
	return slog.GroupValue(append(attrs,
		slog.String("db_name", c.DBName),
		slog.String("retry_policy", fmt.Sprintf("%+v", c.RetryPolicy)),
		slog.String("retry_throttle", fmt.Sprintf("%+v", c.RetryThrottle)))...)
}

// String shows the Config without its secrets.
func (c Config) String() string {
	attrs := c.LogValue().Group()
	parts := make([]string, len(attrs))
	for i, a := range attrs {
		parts[i] = a.String()
	}
	return "cockroachdb.Config{" + strings.Join(parts, " ") + "}"
}

// Format writes what String says, whatever the verb: some verbs would otherwise go past String to the fields.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, c.String())
}

// A Connector makes the connections of one pool, for [sql.OpenDB]. All of them share one retry lane, one retry throttle
// and one set of counts.
type Connector struct {
	cfg         Config // private: never changes
	registered  driver.Connector
	lane        *lane
	throttle    *throttle
	metrics     *poolMetrics // set once the db_name is known, and before the first connection is handed out
	metricsOnce sync.Once
	closed      atomic.Bool
}

// Ensure these interfaces are implemented.
var (
	_ driver.Connector = (*Connector)(nil)
	_ io.Closer        = (*Connector)(nil)
)

var errConnectorClosed = errors.New("cockroachdb: the connector is closed")

// NewConnector checks cfg and keeps a copy of it: later changes to cfg change nothing. It connects to nothing.
func NewConnector(cfg *Config) (*Connector, error) {
	if cfg == nil {
		return nil, errors.New("cockroachdb: NewConnector needs a Config: make one with ParseConfig")
	}
	c := &Connector{cfg: *cfg}
	var err error
	if cfg.ConnConfig == nil && cfg.registered != "" {
		c.registered, err = openRegistered(cfg)
	} else {
		err = checkConnConfig(cfg.ConnConfig)
	}
	if err = errors.Join(err, cfg.RetryPolicy.Validate(), cfg.RetryThrottle.Validate()); err != nil {
		return nil, err
	}
	if cfg.ConnConfig != nil {
		c.cfg.ConnConfig = cfg.ConnConfig.Copy()
	}
	c.lane = newLane()
	c.throttle = newThrottle(cfg.RetryThrottle)
	if c.registered == nil || cfg.DBName != "" {
		c.startMetrics(c.cfg.ConnConfig)
	}
	return c, nil
}

// startMetrics makes the counts appear, at zero, under the name the Config gives or else the database's, as cc has it.
func (c *Connector) startMetrics(cc *pgx.ConnConfig) {
	name := c.cfg.DBName
	if name == "" {
		name = cc.Database
	}
	if name == "" {
		name = cc.User // the server's rule for a database that isn't named
	}
	c.metrics = c.cfg.Metrics.pool(name)
}

// Connect makes a connection, trying the hosts in turn. Its errors are pgx's, those of the hooks as they are, or that the
// connector is closed.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.closed.Load() {
		return nil, errConnectorClosed
	}
	pc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	if c.cfg.AfterConnect != nil {
		if err := c.cfg.AfterConnect(ctx, pc); err != nil {
			hangUp(ctx, pc)
			return nil, err
		}
	}
	if c.registered != nil && c.cfg.DBName == "" {
		// Only now can the database's name be known.
		c.metricsOnce.Do(func() { c.startMetrics(pc.Config()) })
	}
	conn := newConn(c, pc)
	c.lane.connectedTo(conn.crdb)
	return conn, nil
}

// dial makes the bare connection.
func (c *Connector) dial(ctx context.Context) (*pgx.Conn, error) {
	if c.registered != nil {
		return dialRegistered(ctx, c.registered, c.cfg.registered)
	}
	cc := c.cfg.ConnConfig // pgx copies it
	if c.cfg.BeforeConnect != nil {
		cc = cc.Copy()
		if err := c.cfg.BeforeConnect(ctx, cc); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, cc)
}

// hangUpTimeout bounds the polite end of a connection that nobody will use.
const hangUpTimeout = time.Second

// hangUp closes pc even if ctx is over.
func hangUp(ctx context.Context, pc *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangUpTimeout)
	defer cancel()
	_ = pc.Close(ctx) // the connection is gone either way
}

// Driver returns a [*Driver].
func (c *Connector) Driver() driver.Driver { return &Driver{} }

// Close makes every later Connect fail. It leaves open connections alone, may be called again, and returns no error.
// [sql.DB.Close] calls it.
func (c *Connector) Close() error {
	c.closed.Store(true)
	return nil
}

// LogValue shows the Connector's Config to [slog] without its secrets.
func (c *Connector) LogValue() slog.Value { return c.cfg.LogValue() }

// String shows the Connector's Config without its secrets.
func (c *Connector) String() string {
	return strings.Replace(c.cfg.String(), "Config", "Connector", 1)
}

// Format writes what String says, whatever the verb.
func (c *Connector) Format(f fmt.State, _ rune) {
	if c == nil {
		_, _ = io.WriteString(f, "<nil>")
		return
	}
	_, _ = io.WriteString(f, c.String())
}

// checkConnConfig reports what pgx would panic about when connecting, and driver settings that would go to the server.
func checkConnConfig(cc *pgx.ConnConfig) error {
	if cc == nil {
		return errors.New("cockroachdb: Config.ConnConfig is nil: make the Config with ParseConfig")
	}
	if !connectable(cc) {
		return errors.New("cockroachdb: Config.ConnConfig was made by hand: make it with cockroachdb.ParseConfig or pgx.ParseConfig, then change it")
	}
	for key := range cc.RuntimeParams {
		if s, ok := settingNamed(key); ok {
			return fmt.Errorf("cockroachdb: %q in Config.ConnConfig.RuntimeParams would be sent to the server: parse the DSN with cockroachdb.ParseConfig, or set it in RetryPolicy or RetryThrottle", s.key)
		}
	}
	return nil
}

var errProbe = errors.New("cockroachdb: probing")

// connectable reports whether pgx accepts cc. pgx panics when it is given a configuration that its ParseConfig has not
// made, and only it can tell; so it is asked to connect here, with everything that could reach out taken away.
func connectable(cc *pgx.ConnConfig) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	probe := cc.Copy()
	probe.Tracer = nil
	probe.LookupFunc = func(context.Context, string) ([]string, error) { return nil, errProbe }
	probe.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, errProbe }
	_, err := pgx.ConnectConfig(context.Background(), probe)
	return err != nil
}

// openRegistered finds the connector of pgx's own driver for a name given by its stdlib.RegisterConnConfig. That driver is
// reached through database/sql, so that this package needn't import it: who registers a configuration has done so.
func openRegistered(cfg *Config) (driver.Connector, error) {
	const pgxDriver = "pgx/v5"
	if cfg.BeforeConnect != nil {
		return nil, fmt.Errorf("cockroachdb: BeforeConnect can't be had with the DSN %q: pgx makes those connections itself", cfg.registered)
	}
	if !slices.Contains(sql.Drivers(), pgxDriver) {
		return nil, fmt.Errorf("cockroachdb: the DSN %q is a name from pgx's stdlib.RegisterConnConfig, but github.com/jackc/pgx/v5/stdlib is not in the program", cfg.registered)
	}
	db, err := sql.Open(pgxDriver, cfg.registered)
	if err != nil {
		return nil, fmt.Errorf("cockroachdb: opening pgx's driver for the DSN %q: %w", cfg.registered, err)
	}
	defer db.Close() // nothing has been opened in it
	opener, ok := db.Driver().(driver.DriverContext)
	if !ok {
		return nil, fmt.Errorf("cockroachdb: the driver %q is not pgx's: it has no OpenConnector", pgxDriver)
	}
	return opener.OpenConnector(cfg.registered)
}

// dialRegistered makes a connection through pgx's driver and takes it out of that driver's hands.
func dialRegistered(ctx context.Context, from driver.Connector, name string) (*pgx.Conn, error) {
	dc, err := from.Connect(ctx)
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		// pgx took the name for a connection string, for want of a configuration under it.
		return nil, fmt.Errorf("cockroachdb: no configuration is registered with pgx's stdlib under %q", name)
	}
	if err != nil {
		return nil, err
	}
	holder, ok := dc.(interface{ Conn() *pgx.Conn })
	if !ok {
		_ = dc.Close()
		return nil, fmt.Errorf("cockroachdb: the DSN %q: pgx's driver made a %T, which holds no *pgx.Conn", name, dc)
	}
	return holder.Conn(), nil
}

// forceSavepointRestart reports whether a connection opened with these run-time parameters has the session variable
// force_savepoint_restart on, which makes every savepoint a restart savepoint. It may be a parameter of its own or one of
// the options ("-c name=value" or "--name=value").
func forceSavepointRestart(params map[string]string) bool {
	const name = "force_savepoint_restart"
	for key, value := range params {
		if strings.EqualFold(key, name) && isOn(value) {
			return true
		}
	}
	for word := range strings.FieldsSeq(params["options"]) {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "--"), "-c"), "=")
		if strings.EqualFold(strings.ReplaceAll(key, "-", "_"), name) && isOn(value) {
			return true
		}
	}
	return false
}

// isOn reads a boolean as the server does.
func isOn(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "on", "true", "t", "yes", "y", "1":
		return true
	}
	return false
}
