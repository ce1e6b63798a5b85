package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// How the tables are set up before a round, and looked at after it.

// someKey is beyond those that programs use: the rows there are not looked at.
const someKey = 1000

func (g *Group) reset(ctx context.Context, keys int) error {
	texts := []string{
		"DROP TABLE IF EXISTS public.extra", createExtra, `TRUNCATE kv, "Pair s", clock, commits, copied, typed, born`,
		retypeText(firstType), "INSERT INTO clock VALUES (0)",
	}
	made, err := g.made(ctx)
	if err != nil {
		return err
	}
	for _, table := range made {
		texts = append(texts, "DROP TABLE "+table)
	}
	for _, schema := range schemas {
		texts = append(texts, "TRUNCATE "+schema+".spot")
	}
	if _, err := g.trusted.ExecContext(ctx, strings.Join(texts, "; ")); err != nil {
		return err
	}
	m := newModel(g.server, keys)
	for k, n := range m.pairs {
		const text = `INSERT INTO "Pair s" VALUES ($1, 0, $1, $2)`
		if _, err := g.trusted.ExecContext(ctx, text, k, n); err != nil {
			return err
		}
	}
	for k, r := range m.kv {
		const text = "INSERT INTO kv (k, i, o) VALUES ($1, $2, $3)"
		if _, err := g.trusted.ExecContext(ctx, text, k, r[Number], r[Bool]); err != nil {
			return err
		}
	}
	return nil
}

// look reads the tables.
func (g *Group) look(ctx context.Context, h *History) (err error) {
	if err := g.trusted.QueryRowContext(ctx, "SELECT n FROM clock").Scan(&h.Clock); err != nil {
		return err
	}
	if err := g.lookAtCommits(ctx, h); err != nil {
		return err
	}
	if h.Made, err = g.made(ctx); err != nil {
		return err
	}
	return g.lookAtRows(ctx, h)
}

func (g *Group) lookAtCommits(ctx context.Context, h *History) error {
	commits, err := g.trusted.QueryContext(ctx, "SELECT n, program, call, part FROM commits")
	if err != nil {
		return err
	}
	defer commits.Close()
	for commits.Next() {
		var c Commit
		if err := commits.Scan(&c.Clock, &c.Program, &c.Call, &c.Part); err != nil {
			return err
		}
		h.Commits = append(h.Commits, c)
	}
	return commits.Err()
}

// made are the tables that programs have made of their own.
func (g *Group) made(ctx context.Context) (tables []string, err error) {
	const query = "SELECT relname FROM pg_class WHERE relname LIKE 'made\\_%' AND relkind = 'r'"
	rows, err := g.trusted.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return nil, err
		}
		tables = append(tables, table)
	}
	return tables, rows.Err()
}

// lookAtRows reads the tables of which the model has one of its own.
func (g *Group) lookAtRows(ctx context.Context, h *History) error {
	h.Tables = make(map[string]string)
	tables := map[string]string{
		"kv":     "SELECT * FROM kv",
		"pairs":  `SELECT "A", i FROM "Pair s"`,
		"typed":  fmt.Sprintf("SELECT * FROM typed WHERE k < %d", someKey),
		"born":   bornQuery,
		"copied": "SELECT program, count(*) FROM copied GROUP BY program",
	}
	for _, schema := range schemas {
		tables[schema+".spot"] = "SELECT * FROM " + schema + ".spot"
	}
	var there bool
	const query = "SELECT to_regclass('public.extra') IS NOT NULL"
	if err := g.trusted.QueryRowContext(ctx, query).Scan(&there); err != nil {
		return err
	}
	if there {
		tables["extra"] = "SELECT * FROM public.extra"
		h.Tables[extraThere] = showRow([]any{true})
	}
	for name, query := range tables {
		if err := g.lookAtTable(ctx, h, name, query); err != nil {
			return err
		}
	}
	return g.lookAtBorn(ctx, h)
}

// lookAtTable reads rows that begin with their key.
func (g *Group) lookAtTable(ctx context.Context, h *History, name, query string) error {
	return g.eachRow(ctx, query, func(row []any) {
		h.Tables[fmt.Sprintf("%s %v", name, row[0])] = showRow(row[1:])
	})
}

func (g *Group) eachRow(ctx context.Context, query string, do func(row []any)) error {
	r, err := (*server)(nil).rows(g.trusted.QueryContext(ctx, query))
	if err != nil {
		return err
	}
	defer r.close()
	for {
		row, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		do(row)
	}
}
