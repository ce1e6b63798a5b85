package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// A spread is how many connections of a pool each node has, by the name of the node.
type spread map[string]int

// spreadOf looks at all connections that the pool has, which must be idle.
func spreadOf(ctx context.Context, db *sql.DB) (s spread, err error) {
	s = make(spread)
	for range db.Stats().OpenConnections {
		conn, connErr := db.Conn(ctx)
		if connErr != nil {
			return s, connErr
		}
		defer func() { err = errors.Join(err, conn.Close()) }() // when all have been looked at
		err := conn.Raw(func(driverConn any) error {
			c, err := pgConnOf(driverConn)
			if err == nil {
				s[nodeOf(c)]++
			}
			return err
		})
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// nodeOf names the node of a connection: CockroachDB says it in the process id. With a top bit of 1 the other bits are
// the id of a SQL instance, with a top bit of 0 the next eleven are that of the node.
func nodeOf(c *pgconn.PgConn) string {
	pid := c.PID()
	switch {
	case c.ParameterStatus("crdb_version") == "":
		return c.Conn().RemoteAddr().String()
	case pid>>31 == 1:
		return fmt.Sprint("i", pid<<1>>1)
	}
	return fmt.Sprint("n", pid>>20)
}

// even reports whether each of so many nodes has at least half of its share, and at most one and a half.
func (s spread) even(nodes int) bool {
	total := 0
	for _, n := range s {
		total += n
	}
	share := float64(total) / float64(nodes)
	for _, n := range s {
		if float64(n) < share/2 || float64(n) > share*3/2 {
			return false
		}
	}
	return len(s) == nodes
}

func (s spread) String() string {
	if len(s) == 0 {
		return "none"
	}
	var parts []string
	for _, node := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, fmt.Sprint(node, ": ", s[node]))
	}
	return strings.Join(parts, "  ")
}
