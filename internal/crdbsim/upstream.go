package crdbsim

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Upstream returns what [Config] needs to reach the PostgreSQL that a DSN names, at the first of its hosts.
func Upstream(dsn string) (func(context.Context) (net.Conn, error), error) {
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}, nil
}
