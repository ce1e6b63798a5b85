package cockroachdb

import (
	"cmp"
	"context"
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
	// INSERT … RETURNING, in place of new ones, so that a key that was read is no divergence. What may be pinned,
	// and what is left alone, is in docs/tuning.md. ParseConfig sets it.
	PinGenerated bool

	// LearnLocks says in which transactions reads by key are sent with FOR UPDATE after they have often lost: whose row
	// others had written before the same transaction wrote it. Which texts that are is learned, and unlearned where it
	// does not pay. What is left alone is in docs/tuning.md. ParseConfig sets LearnLocksInRunTx, which empty means too.
	LearnLocks LockLearning

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

	// OnLockChanged, if set, is called when a statement's text begins to lock, or does not any more; see LearnLocks. The
	// context is that of the statement, or BeginTx's. Otherwise what is said of OnRetry holds.
	OnLockChanged func(context.Context, LockEvent)

	// deadPeer is the DSN's dead_peer_timeout; zero for none.
	deadPeer time.Duration

	// dsn is what the ConnConfig was parsed from, if nothing has changed it since: it is parsed anew for each connection.
	dsn string

	// registered is the name that stdlib.RegisterConnConfig gave; it counts only while ConnConfig is nil.
	registered string
}

// validate returns an error that names the first field of each kind that can't be used, or nil.
func (c *Config) validate() error {
	err := errors.Join(c.RetryPolicy.Validate(), c.RetryThrottle.Validate(), c.Restart.validate(), c.LearnLocks.validate())
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

// hostsOf lists where connections go to, each place once, in the order of the DSN.
func hostsOf(cc *pgx.ConnConfig) []string {
	hosts := []string{hostPort(cc.Host, cc.Port)}
	for _, f := range cc.Fallbacks {
		if h := hostPort(f.Host, f.Port); !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
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

// dbName returns what pools are told apart by in the metrics.
func (c *Config) dbName(cc *pgx.ConnConfig) string {
	if c.DBName != "" {
		return c.DBName
	}
	return cmp.Or(cc.Database, cc.User) // the server's rule for a database that isn't named
}
