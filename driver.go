package cockroachdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
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

// Open makes one connection, in at most a minute. database/sql does not call it: it has [Driver.OpenConnector].
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	return c.Connect(ctx)
}

// OpenConnector parses and validates dsn at once, so that [sql.Open] reports a wrong DSN; it connects to nothing.
// See [ParseConfig] for what a DSN may be.
func (d *Driver) OpenConnector(dsn string) (driver.Connector, error) {
	cfg, err := ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	c, err := NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return c, nil
}
