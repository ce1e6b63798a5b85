package program

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// What a connection knows of a statement may be out of date once a type has changed. It may cost the statement one
// failure on each connection, and then the connection has to have learnt it anew.

// tries is how often each statement is run on each connection; only the first may fail.
const tries = 3

// recover runs the statements whose types have changed on all connections of the pool, now that nothing strikes any
// more. It says which connections don't recover.
func (g *Group) recover(ctx context.Context, db *sql.DB) (stuck []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, safetyNet)
	defer cancel()
	if err := g.front.awaitCalm(ctx); err != nil {
		return nil, fmt.Errorf("the pooler lets nobody in: %w", err)
	}
	var of string
	const query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute " +
		"WHERE attrelid = 'typed'::regclass AND attname = 'v'"
	if err := g.trusted.QueryRowContext(ctx, query).Scan(&of); err != nil {
		return nil, fmt.Errorf("read the column's type: %w", err)
	}
	var conns []*sql.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range g.workers {
		c, err := db.Conn(ctx)
		if err != nil {
			return append(stuck, fmt.Sprintf("no connection: %v", err)), nil
		}
		conns = append(conns, c)
		stuck = append(stuck, recovers(ctx, c, of)...)
	}
	return stuck, nil
}

// recovers runs each statement a few times on a connection.
func recovers(ctx context.Context, c *sql.Conn, of string) (stuck []string) {
	put, _ := specs[PutTyped].sql(&Statement{}, value{})
	feel, _ := specs[Feel].sql(&Statement{}, value{})
	get, _ := specs[GetTyped].sql(&Statement{}, value{})
	for _, call := range []struct {
		text string
		args []any
	}{
		{put, []any{someKey, argumentFor(of)}}, {feel, []any{someKey, moods[0]}}, {get, []any{someKey}},
	} {
		for _, mode := range append([]pgx.QueryExecMode{pgx.QueryExecModeCacheStatement}, modesFor(Feel)...) {
			args := append([]any{mode}, call.args...)
			for try := 1; try <= tries; try++ {
				if _, err := c.ExecContext(ctx, call.text, args...); err != nil && try > 1 {
					const text = "the column is %s; try %d of %s, mode %v: %v"
					stuck = append(stuck, fmt.Sprintf(text, of, try, call.text, mode, err))
					break
				}
			}
		}
	}
	return stuck
}

// argumentFor is a value that only a column of this type can hold.
func argumentFor(of string) any {
	switch of {
	case "integer":
		return int64(7)
	case "bigint":
		return int64(3_000_000_000)
	}
	return "text"
}
