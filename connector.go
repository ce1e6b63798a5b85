package cockroachdb

import (
	"cmp"
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
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/dialer"
	"github.com/reprise-go/cockroachdb/internal/dsnurl"
)

// Config says how to connect and how to retry. [ParseConfig] makes one; a Config made by hand needs a ConnConfig made
// by [pgx.ParseConfig], and a RetryPolicy and RetryThrottle that are valid.
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

	// Metrics counts what the connector's transactions come to. ParseConfig sets DefaultMetrics; nil switches counting
	// off.
	Metrics *Metrics

	// DBName is the value of the metrics' label db_name. Empty means the database's name, or the user's where the server
	// is to choose the database.
	DBName string

	// BeforeConnect, if set, may change the ConnConfig, a copy, that the next connection is made with. Its error is
	// returned as it is. It is not available with a name from stdlib.RegisterConnConfig: NewConnector refuses it.
	BeforeConnect func(context.Context, *pgx.ConnConfig) error

	// AfterConnect, if set, prepares a new connection. Its error closes the connection and is returned as it is.
	AfterConnect func(context.Context, *pgx.Conn) error

	// ResetSession, if set, is called before a connection that has been used is used again. [driver.ErrBadConn]
	// discards the connection.
	ResetSession func(context.Context, *pgx.Conn) error

	// PingAfter is how long a connection may be idle in the pool before it is pinged when it is used again, which costs a
	// round trip: a look at the socket, which is all that is done after a shorter time, can't see that something between
	// it and the server has forgotten the connection. ParseConfig sets one second, as pgx has it; zero switches pings
	// off.
	PingAfter time.Duration

	// Restart is how transactions go back to their start on CockroachDB. ParseConfig sets RestartSavepoint, which empty
	// means too.
	Restart RestartMode

	// BalanceHosts spreads connections over the hosts: a new one goes to the host with the fewest of this connector's,
	// ties at random, and idle connections on a host that has more than its share are replaced, a few each second.
	// Where there is one host, a balancer's, that is done by the nodes of CockroachDB that are found behind it.
	// Without it hosts are tried in the order given. ParseConfig sets it unless the DSN has target_session_attrs.
	BalanceHosts bool

	// HostGroups divides the hosts into groups, of which an earlier one is preferred: the hosts of the nearest region, for
	// example. It has the size of each group, in the order of the hosts: with 2, 1 the first two hosts are one group, and
	// the third is the next. Connections go to the first group, spread over its hosts as BalanceHosts says. A later group
	// is used while each host of the earlier ones has lately failed, refused a login or lost a connection. After one of
	// those has let the driver in again, idle connections in later groups are replaced, a few each second.
	//
	// Nil, the default, means one group of all hosts. NewConnector returns an error if a size is below one, if their sum
	// is not the number of hosts, each host and port counted once, or if BalanceHosts is false. Hosts that BeforeConnect
	// adds after those belong to the last group.
	HostGroups []int

	// ConnLifetime is how long a connection lives, give or take ten percent, drawn when it is made: a connection that
	// is older and idle is closed instead of being used again. ParseConfig sets 30 minutes; zero means no limit.
	ConnLifetime time.Duration

	// DialRate is how many dials a second the connector begins on average, and how many at once, over all hosts: when a
	// node is lost, its connections are not all made anew in the same moment. A dial that takes the place of a connection
	// that was closed while it was well does not count. ParseConfig sets 100; zero means no bound.
	DialRate int

	// PinGenerated has a replay insert the values again that the database had generated and the application was shown, by
	// INSERT … VALUES … RETURNING, in place of new ones, so that a key that was read is no divergence. What may be pinned,
	// and what is left alone, is in docs/tuning.md. ParseConfig sets it.
	PinGenerated bool

	// LearnLocks sends reads by key with FOR UPDATE that have often been the reason why a transaction could not be
	// replayed unseen, and whose row the same transaction then wrote. Which texts that are is learned, and unlearned
	// where it does not pay. What is left alone is in docs/tuning.md. ParseConfig leaves it off.
	LearnLocks bool

	// CommitMarker makes the outcome of a commit known whose answer was lost: a transaction that has written inserts a row
	// into CommitTable with its commit, in the same round trip. See [CreateCommitTable]. ParseConfig leaves it off.
	CommitMarker bool

	// CommitTable is the name of the table of commit markers, which may have a schema before it and a dot. ParseConfig
	// sets [DefaultCommitTable].
	CommitTable string

	// OnRetry, if set, is called before each new attempt of a transaction, or of a statement outside of one, once all
	// that it had to wait for is over: exactly as often as the metric cockroachdb_transaction_retries_total counts.
	// The context is the one of the statement, as the tracer has made it, if there is one; in Commit it is BeginTx's.
	//
	// It is called on the goroutine that runs the statement. It may block, and use the *sql.DB as anybody may, but the
	// transaction waits for it, holding its connection, its locks and its place in the retry lane. It must not use the
	// transaction, nor a *sql.Conn that this runs on: that would wait for itself. Its time counts towards
	// RetryPolicy.MaxElapsed; an attempt that it has been told of begins in any case, unless its context is done. If
	// it panics, that is logged by [slog]'s default logger, with the stack, and the transaction goes on.
	OnRetry func(context.Context, RetryEvent)

	// OnSettled, if set, is called once when a transaction, or a statement outside one, that met a conflict has ended,
	// whether or not it was retried. The context is BeginTx's, or the statement's. The transaction's locks and its
	// place in the retry lane are free by then; the connection is not yet. Otherwise what is said of OnRetry holds. A
	// transaction that is rolled back because its context is done ends on a goroutine of database/sql's.
	OnSettled func(context.Context, OutcomeEvent)

	// OnCommitAsked, if set, is called when the answer to a commit was lost and the driver has asked what became of it,
	// which it does with CommitMarker only. The context is the commit's. Otherwise what is said of OnRetry holds.
	OnCommitAsked func(context.Context, CommitEvent)

	// OnLockChanged, if set, is called when a statement's text begins to lock, or does not any more, which happens with
	// LearnLocks only. The context is that of the statement, or BeginTx's. Otherwise what is said of OnRetry holds.
	OnLockChanged func(context.Context, LockEvent)

	// deadPeer is the DSN's dead_peer_timeout; zero for none.
	deadPeer time.Duration

	// dsn is what the ConnConfig was parsed from, if nothing has changed it since: it is parsed anew for each connection.
	dsn string

	// registered is the name that stdlib.RegisterConnConfig gave; it counts only while ConnConfig is nil.
	registered string
}

// ParseConfig parses a DSN. It may be whatever [pgx.ParseConfig] takes: a URL, with several hosts or one;
// keyword/value pairs; nothing, for the PG* environment variables alone; or a name given by pgx's
// stdlib.RegisterConnConfig, with the default retry settings. The schemes cockroachdb, cockroach and crdb-postgres
// stand beside postgresql and postgres. With them a host without a port has that of PGPORT, or else 26257; but a URL
// of one host that leaves its port to a service file has that service's port, or else 5432.
//
// These keys are the driver's own and never reach the server:
//
//   - retry_max_attempts, retry_max_elapsed, retry_initial_backoff, retry_max_backoff, retry_backoff_multiplier,
//     retry_lane_wait, retry_max_statements, retry_max_bytes and retry_max_failovers set the field of that name of
//     [RetryPolicy];
//   - retry_restart, which may be savepoint, begin or auto, sets Restart;
//   - retry_throttle_tokens and retry_throttle_tokens_per_commit set MaxTokens and TokensPerCommit of [RetryThrottle];
//   - ping_after sets PingAfter; connection_lifetime and dials_per_second set ConnLifetime and DialRate;
//     load_balance_hosts, which may be random or disable, sets BalanceHosts; load_balance_groups, sizes such as 2,1 or
//     0 for one group of all, sets HostGroups;
//   - retry_pin_generated, which may be on or off, sets PinGenerated;
//   - retry_learn_locks, which may be on or off, sets LearnLocks;
//   - retry_commit_marker, which may be on or off, sets CommitMarker, and retry_commit_table sets CommitTable;
//   - dead_peer_timeout, a duration, is after how much silence of the network a connection that waits for an answer,
//     or to be used, is given up: the ConnConfig gets a DialFunc for it. It bounds pings too, and logins where there is
//     no connect_timeout. The default is 30 seconds; zero leaves all that to the system.
//
// Durations are written as Go's: "500ms". A key that looks like a slip for one of them is an error. The defaults, and
// what else they mean, are in the [README].
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
		Restart:       RestartSavepoint,
		PingAfter:     defaultPingAfter,
		ConnLifetime:  defaultConnLifetime,
		DialRate:      defaultDialRate,
		CommitTable:   DefaultCommitTable,
		PinGenerated:  true,
	}
	if registeredName.MatchString(dsn) {
		cfg.registered = dsn
		return cfg, nil
	}
	var err error
	if cfg.ConnConfig, err = dsnurl.Parse(dsn); err != nil {
		return nil, err
	}
	if err := checkRepeated(dsn); err != nil {
		return nil, err
	}
	cfg.BalanceHosts = cfg.ConnConfig.ValidateConnect == nil // which target_session_attrs sets
	cfg.setDeadPeerTimeout(defaultDeadPeerTimeout)
	if err := takeSettings(cfg, cfg.ConnConfig.RuntimeParams); err != nil {
		return nil, err
	}
	return cfg, nil
}

const (
	defaultPingAfter       = time.Second // pgx's
	defaultConnLifetime    = 30 * time.Minute
	defaultDialRate        = 100
	defaultDeadPeerTimeout = 30 * time.Second
)

// setDeadPeerTimeout makes sockets notice a peer that has fallen silent.
func (c *Config) setDeadPeerTimeout(d time.Duration) {
	c.deadPeer = d
	if c.ConnConfig != nil {
		c.ConnConfig.DialFunc = dialer.New(c.ConnConfig.ConnectTimeout, d)
	}
}

// validate returns an error that names the first field of each kind that can't be used, or nil.
func (c *Config) validate() error {
	err := errors.Join(c.RetryPolicy.Validate(), c.RetryThrottle.Validate(), c.Restart.validate())
	if c.PingAfter < 0 {
		err = errors.Join(err, fmt.Errorf("cockroachdb: Config.PingAfter is %v: use zero for no pings, or a duration above zero", c.PingAfter))
	}
	if c.ConnLifetime < 0 {
		err = errors.Join(err, fmt.Errorf("cockroachdb: Config.ConnLifetime is %v: use zero for no limit, or a duration above zero", c.ConnLifetime))
	}
	if c.DialRate < 0 {
		err = errors.Join(err, fmt.Errorf("cockroachdb: Config.DialRate is %d: use zero for no bound, or a number above zero", c.DialRate))
	}
	if c.CommitMarker && !isTableName(c.CommitTable) {
		err = errors.Join(err, errors.New("cockroachdb: Config.CommitTable is no name of a table: use letters, digits and underscores, after a schema and a dot if need be"))
	}
	return errors.Join(err, c.checkHostGroups())
}

// checkHostGroups returns an error if HostGroups does not divide the hosts.
func (c *Config) checkHostGroups() error {
	if len(c.HostGroups) == 0 {
		return nil
	}
	if !c.BalanceHosts {
		return errors.New("cockroachdb: Config.HostGroups needs BalanceHosts: set that too (load_balance_hosts=random), or give the hosts in order and no groups")
	}
	var hosts int
	if c.ConnConfig != nil {
		hosts = len(hostsOf(c.ConnConfig))
	}
	left, valid := hosts, true
	for _, size := range c.HostGroups {
		valid = valid && 0 < size && size <= left
		left -= size
	}
	if !valid || left > 0 {
		return fmt.Errorf("cockroachdb: Config.HostGroups is %v, and there are %d hosts: use the size of each group, which is one or more and in all the number of hosts", c.HostGroups, hosts)
	}
	return nil
}

func hostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// LogValue shows the Config to [slog] without its secrets.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	if cc := c.ConnConfig; cc != nil {
		attrs = append(attrs, slog.String("hosts", strings.Join(hostsOf(cc), ",")),
			slog.String("database", cc.Database), slog.String("user", cc.User))
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

// A Connector makes the connections of one pool, for [sql.OpenDB], or of several. All of them share one retry lane, one
// retry throttle and one set of counts.
type Connector struct {
	cfg        Config // private: never changes
	registered driver.Connector
	pool       *pool
}

// Ensure these interfaces are implemented.
var (
	_ driver.Connector = (*Connector)(nil)
	_ io.Closer        = (*Connector)(nil)
)

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
	if err = errors.Join(err, cfg.validate()); err != nil {
		return nil, err
	}
	if cfg.ConnConfig != nil {
		c.cfg.ConnConfig = cfg.ConnConfig.Copy()
	}
	c.cfg.HostGroups = slices.Clone(cfg.HostGroups)
	c.pool = newPool(&c.cfg)
	c.pool.connect = c.connect
	if c.registered == nil || cfg.DBName != "" {
		c.pool.open(c.cfg.dbName(c.cfg.ConnConfig))
	}
	return c, nil
}

// dbName returns what pools are told apart by in the metrics.
func (c *Config) dbName(cc *pgx.ConnConfig) string {
	if c.DBName != "" {
		return c.DBName
	}
	return cmp.Or(cc.Database, cc.User) // the server's rule for a database that isn't named
}

// Connect makes a connection, trying the hosts in turn. Its errors are pgx's, or those of the hooks as they are.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	l, err := c.connect(ctx, "")
	if err != nil {
		return nil, err
	}
	c.pool.open(c.cfg.dbName(l.Pgx.Config()))
	return newConn(c.pool, l), nil
}

// connConfig returns the configuration of the next connection. A DSN is read for each of them, so that rotated
// passwords, service files, PG* variables and certificates take effect.
func (c *Connector) connConfig() (*pgx.ConnConfig, error) {
	if c.cfg.dsn == "" {
		return c.cfg.ConnConfig.Copy(), nil
	}
	cfg, err := ParseConfig(c.cfg.dsn)
	if err != nil {
		return nil, err
	}
	return cfg.ConnConfig, nil
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

// Close gives up what the connector has in its Metrics, once its last connection is closed. It leaves open connections
// alone, may be called again, and returns no error; a later Connect works as before. [sql.DB.Close] calls it: another
// sql.DB of the same connector is not disturbed.
func (c *Connector) Close() error {
	c.pool.close()
	return nil
}

// LogValue shows the Connector's Config to [slog] without its secrets.
func (c *Connector) LogValue() slog.Value { return c.cfg.LogValue() }

// String shows the Connector's Config without its secrets.
func (c *Connector) String() string {
	return strings.Replace(c.cfg.String(), "Config", "Connector", 1)
}

// Format writes what String returns, whatever the verb.
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

// openRegistered finds the connector of pgx's own driver for a name given by its stdlib.RegisterConnConfig. That
// driver is reached through database/sql, so that this package needn't import it: who registers a configuration has
// done so.
func openRegistered(cfg *Config) (driver.Connector, error) {
	const pgxDriver = "pgx/v5"
	if cfg.BeforeConnect != nil {
		return nil, fmt.Errorf("cockroachdb: BeforeConnect is not available with the DSN %q: pgx makes those connections itself", cfg.registered)
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
// force_savepoint_restart on, which makes every savepoint a restart savepoint.
func forceSavepointRestart(params map[string]string) bool {
	return slices.ContainsFunc(sessionVariable(params, "force_savepoint_restart"), isOn)
}

// runsTextAsOneTx reports whether a server of this version runs a text of several statements as one transaction:
// CockroachDB since v22.2, and PostgreSQL, which has no crdb_version. What is not understood does not.
func runsTextAsOneTx(crdbVersion string) bool {
	return crdbVersion == "" || parseVersion(crdbVersion).since(22, 2)
}

// isOn reads a boolean as the server does.
func isOn(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "on", "true", "t", "yes", "y", "1":
		return true
	}
	return false
}
