// Package both runs a bank on its old driver and on this one at the same time.
package both

import (
	"cmp"
	"database/sql"
	"errors"
	"math/rand/v2"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/reprise-go/cockroachdb"
)

// Open opens a pool of the driver that BANK_DRIVER names.
func Open(dsn string) (*sql.DB, error) {
	return sql.Open(cmp.Or(os.Getenv("BANK_DRIVER"), "pgx"), dsn)
}

// Pools are one of each driver.
type Pools struct {
	Old, New *sql.DB
	Share    float64 // of the transactions that go by the new one, from 0 to 1
}

// OpenBoth opens both pools, which share the connections that one pool may have had.
func OpenBoth(dsn string, share float64, maxConns int) (*Pools, error) {
	older, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, err
	}
	cfg, err := cockroachdb.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.RetryPolicy.MaxAttempts = 10 // not in the DSN: the other driver would send its keys to the server
	cfg.DBName = "bank"              // tells the pool's metrics from others'
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	pools := &Pools{Old: older, New: sql.OpenDB(connector), Share: share}
	pools.Old.SetMaxOpenConns(maxConns / 2)
	pools.New.SetMaxOpenConns(maxConns - maxConns/2)
	return pools, nil
}

// Pick says which pool the next transaction takes.
func (p *Pools) Pick() *sql.DB {
	if rand.Float64() < p.Share {
		return p.New
	}
	return p.Old
}

// SQLState gives the code of the server's error in err, whichever driver it came through: lib/pq's errors and pgx's
// both have this method, and this driver's own unwrap to pgx's.
func SQLState(err error) string {
	if server, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return server.SQLState()
	}
	return ""
}
