package cockroachdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

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
