package cockroachdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

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
