package cockroachdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"
	"time"
)

func init() {
	sql.Register("cockroachdb", &Driver{})
}

// Driver is the database/sql driver registered under the name "cockroachdb".
type Driver struct{}

// Ensure these interfaces are implemented.
var (
	_ driver.Driver        = (*Driver)(nil)
	_ driver.DriverContext = (*Driver)(nil)
)

// openTimeout bounds [Driver.Open], which is given no context.
const openTimeout = time.Minute

// Open makes one connection, in at most a minute. database/sql does not call it, since it has [Driver.OpenConnector];
// but wrappers of drivers do. As long as one of them is open, connections of the same DSN share a retry lane, a retry
// throttle and their counts.
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	c, err := reserve(dsn)
	if err != nil {
		return nil, err
	}
	defer c.pool.released()
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return c.Connect(ctx)
}

// opened are the connectors of Open that have connections, by their DSN.
var opened = struct {
	sync.Mutex
	connectors map[string]*Connector
}{connectors: make(map[string]*Connector)}

// reserve returns the connector of a DSN. It stays until pool.released has been called once for reserve, and for each
// of its connections.
func reserve(dsn string) (*Connector, error) {
	if c := reserveOpened(dsn, nil); c != nil {
		return c, nil
	}
	c, err := newConnector(dsn) // outside the lock: it reads files
	if err != nil {
		return nil, err
	}
	reserved := reserveOpened(dsn, c)
	if reserved != c {
		_ = c.Close() // another call was faster
	}
	return reserved, nil
}

// reserveOpened reserves the connector of a DSN, which is fresh if there is none, or nil.
func reserveOpened(dsn string, fresh *Connector) *Connector {
	opened.Lock()
	defer opened.Unlock()
	c := opened.connectors[dsn]
	if c == nil {
		if fresh == nil {
			return nil
		}
		c = fresh
		c.pool.unused = func() { c.dropUnused(dsn) }
		opened.connectors[dsn] = c
	}
	c.pool.acquired()
	return c
}

// dropUnused forgets a connector of Open that has no connections any more.
func (c *Connector) dropUnused(dsn string) {
	opened.Lock()
	defer opened.Unlock()
	if opened.connectors[dsn] == c && !c.pool.inUse() {
		delete(opened.connectors, dsn)
		_ = c.Close()
	}
}

// OpenConnector parses and validates dsn at once, so that [sql.Open] reports a wrong DSN; it connects to nothing.
// See [ParseConfig] for what a DSN may be.
func (d *Driver) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := newConnector(dsn)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// newConnector makes a connector that reads its DSN anew for each connection.
func newConnector(dsn string) (*Connector, error) {
	cfg, err := ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.dsn = dsn
	return NewConnector(cfg)
}

// Driver returns a [*Driver].
func (c *Connector) Driver() driver.Driver { return &Driver{} }
