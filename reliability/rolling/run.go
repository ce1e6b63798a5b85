package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/reliability/history"
)

// A result is what a run through one driver has come to.
type result struct {
	driver    string
	tally     *tally
	ran       time.Duration
	account   account
	anomalies []history.Anomaly
	dials     int64
	spread    spread
	nodes     int
}

// A crew is all clients of a run: half of them tellers, half clerks.
type crew struct {
	tellers []*teller
	clerks  []*clerk
}

func newCrew(db *sql.DB, o options) *crew {
	c, d := &crew{}, &desk{db: db, transact: o.transactor(), lists: o.lists()}
	for i := range o.workers {
		if i%2 == 0 {
			c.tellers = append(c.tellers, &teller{
				db: db, number: i, accounts: o.accounts, singles: o.singles, transact: o.transactor(),
			})
		} else {
			c.clerks = append(c.clerks, &clerk{desk: d})
		}
	}
	return c
}

func (c *crew) all() (all []client) {
	for _, t := range c.tellers {
		all = append(all, t)
	}
	for _, k := range c.clerks {
		all = append(all, k)
	}
	return all
}

// runOne has the load run through one driver while nodes go and come.
func runOne(ctx context.Context, o options, t target, d sqlDriver, stdout io.Writer) (r *result, err error) {
	dsn, sureDSN, drop, err := t.newDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer drop()
	sure, err := sql.Open("pgx", sureDSN)
	if err != nil {
		return nil, err
	}
	defer sure.Close()
	err = errors.Join(createBank(ctx, sure, o.accounts), createLists(ctx, sure, o.lists()))
	if err == nil {
		err = cockroachdb.CreateCommitTable(ctx, sure)
	}
	if err != nil {
		return nil, fmt.Errorf("create the tables: %w", err)
	}
	var dials atomic.Int64
	db, err := openPool(d, dsn, o, &dials)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	c := newCrew(db, o)
	r = &result{driver: d.name, nodes: t.nodes()}
	if err := r.load(ctx, o, t, c, stdout); err != nil {
		return nil, err
	}
	r.dials = dials.Load()
	return r, errors.Join(r.lookAt(ctx, db), r.hold(ctx, sure, c))
}

// load runs the clients and the schedule together.
func (r *result) load(ctx context.Context, o options, t target, c *crew, stdout io.Writer) error {
	r.tally = newTally()
	p := newProgress(stdout, r.driver, o.duration, r.tally)
	defer p.stop()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return roll(ctx, o.schedule(), t, p.say) })
	all.Go(func() error {
		ctx, cancel := context.WithTimeout(ctx, o.duration)
		defer cancel()
		work(ctx, c.all(), r.tally)
		return nil
	})
	err := all.Wait()
	r.ran = time.Since(r.tally.began)
	return err
}

// roll takes each node away in turn, and brings it back.
func roll(ctx context.Context, s schedule, t target, say func(string, ...any)) error {
	for node := 1; node <= t.nodes(); node++ {
		if err := sleep(ctx, s.turn-s.away); err != nil {
			return err
		}
		say("node %d is taken away", node)
		if err := t.takeAway(ctx, node, s.away); err != nil {
			return fmt.Errorf("take node %d away: %w", node, err)
		}
		if err := t.bringBack(ctx, node); err != nil {
			return fmt.Errorf("bring node %d back: %w", node, err)
		}
		say("node %d is back", node)
	}
	return nil
}

// lookAt looks at the pool when its clients have gone. That it can't be looked at is one more thing to report.
func (r *result) lookAt(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	if r.spread, err = spreadOf(ctx, db); err != nil {
		r.tally.add(time.Now(), history.Failed, err)
	}
	return nil
}

// hold holds what is there against what clients were told.
func (r *result) hold(ctx context.Context, sure *sql.DB, c *crew) (err error) {
	if r.account, err = accountFor(ctx, sure, c.tellers); err != nil {
		return err
	}
	r.anomalies, err = checkLists(ctx, sure, c.clerks)
	return err
}
