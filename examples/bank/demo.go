package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// errBalances is the one error that this program is there to find.
var errBalances = errors.New("THE BALANCES DO NOT ADD UP")

// demo is one run of the program.
type demo struct {
	options
	server   server
	registry *prometheus.Registry
	progress progress
}

// run does everything between the command line and the exit status.
func run(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	d := &demo{options: o, registry: prometheus.NewRegistry()}
	d.registry.MustRegister(cockroachdb.DefaultMetrics)
	if o.metrics != "" {
		stop, err := serveMetrics(o.metrics, d.registry, stderr)
		if err != nil {
			return err
		}
		defer stop()
	}
	var contends manner
	if d.server, contends, err = startServer(ctx, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.server.Close()) }()

	r := report{options: o, engine: d.server.Name(), contends: contends}
	if !o.json {
		r.writeHead(stdout)
	}
	d.progress = newProgress(stderr, o.duration)
	for _, c := range o.contenders {
		p, err := d.phase(ctx, c)
		if err != nil {
			d.progress.end()
			return fmt.Errorf("%s: %w", c.name, err)
		}
		r.phases = append(r.phases, p)
	}
	d.progress.end()
	if o.json {
		err = r.writeJSON(stdout)
	} else {
		r.writeTable(stdout)
	}
	if !r.balanced() {
		err = errors.Join(err, errBalances)
	}
	return err
}

// A phase is what one contender made of all kinds of transfer, on a bank of its own.
type phase struct {
	contender contender
	rows      []row
	all       row
	total     int64
	expected  int64
}

// A row is what the application saw, and what the driver counted.
type row struct {
	kind kind
	tally
	counts
}

func (d *demo) phase(ctx context.Context, c contender) (p phase, err error) {
	dsn, drop, err := d.server.NewDatabase(ctx)
	if err != nil {
		return p, err
	}
	defer drop()
	if e, ok := d.server.(*engine.Engine); ok && d.postgres {
		dsn = e.Direct(dsn)
	}
	dsn, database, err := withQuery(dsn, c.params)
	if err != nil {
		return p, err
	}
	db, err := sql.Open(c.driver, dsn)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	stats := collectors.NewDBStatsCollector(db, database)
	d.registry.MustRegister(stats)
	defer d.registry.Unregister(stats)

	if err := connect(ctx, db, d.workers); err != nil {
		return p, err
	}
	if err := createBank(ctx, db, d.accounts); err != nil {
		return p, err
	}
	p = phase{contender: c, expected: int64(d.accounts) * initialBalance}
	if err := d.transfers(ctx, db, database, &p); err != nil {
		return p, err
	}
	p.total, err = totalBalance(ctx, db)
	return p, err
}

// transfers runs one kind after the other.
func (d *demo) transfers(ctx context.Context, db *sql.DB, database string, p *phase) error {
	first, err := readCounts(d.registry, database)
	if err != nil {
		return err
	}
	p.all.tally = newTally()
	before := first
	for _, k := range d.kinds {
		l := &load{
			db: db, run: p.contender.run(k), kind: k, accounts: d.accounts, workers: d.workers,
			window: d.window(), seed: d.seed,
		}
		stop := d.progress.watch(p.contender.name+", "+p.contender.title(k), l)
		t, err := l.drive(ctx)
		stop()
		if err != nil {
			return err
		}
		after, err := readCounts(d.registry, database)
		if err != nil {
			return err
		}
		p.rows = append(p.rows, row{kind: k, tally: t, counts: after.since(before)})
		p.all.tally.add(t)
		before = after
	}
	p.all.counts = before.since(first)
	return nil
}

// withQuery adds parameters to a DSN, and says which database it is of.
func withQuery(dsn string, params url.Values) (string, string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", "", errors.New("the URL can't be parsed") // it may hold a password
	}
	query := u.Query()
	maps.Copy(query, params)
	u.RawQuery = query.Encode()
	return u.String(), strings.Trim(u.Path, "/"), nil
}
