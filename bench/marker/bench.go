package main

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // what looks at the server from outside

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/bench/internal/processor"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A peer is a pool of one connection, without markers or with them.
type peer struct {
	db      *sql.DB
	backend int // the server's process
	ran     int // operations
}

// A bench is a database, and the peers.
type bench struct {
	engine  *engine.Engine
	dsn     string
	drop    func()
	outside *sql.DB
	peers   [2]*peer
}

var params = [2]string{"", "&retry_commit_marker=on"}

func newBench(ctx context.Context, e *engine.Engine) (b *bench, err error) {
	dsn, drop, err := e.NewDatabase(ctx)
	if err != nil {
		return nil, err
	}
	b = &bench{engine: e, dsn: dsn, drop: drop}
	if err := b.open(ctx); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) open(ctx context.Context) (err error) {
	direct := b.engine.Direct(b.dsn)
	if b.outside, err = sql.Open("pgx", direct); err != nil {
		return err
	}
	for _, text := range []string{
		"CREATE TABLE accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL) WITH (fillfactor = 50)",
		fmt.Sprintf("INSERT INTO accounts SELECT id, 0 FROM generate_series(0, %d) AS id", accounts-1),
	} {
		if _, err := b.outside.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	if err := cockroachdb.CreateCommitTable(ctx, b.outside); err != nil {
		return err
	}
	for i := range b.peers {
		if b.peers[i], err = newPeer(ctx, direct+params[i]); err != nil {
			return err
		}
	}
	return nil
}

func newPeer(ctx context.Context, dsn string) (*peer, error) {
	db, err := sql.Open("cockroachdb", dsn+"&connection_lifetime=0")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	p := &peer{db: db}
	return p, db.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&p.backend)
}

func (b *bench) close() {
	for _, p := range b.peers {
		if p != nil {
			_ = p.db.Close()
		}
	}
	if b.outside != nil {
		_ = b.outside.Close()
	}
	b.drop()
}

// roundTrips returns how many round trips an operation takes, without and with markers, once it has been run before.
func (b *bench) roundTrips(ctx context.Context, o op) (trips [2]float64, err error) {
	const times = 10
	sim, err := b.engine.NewSim(crdbsim.Config{PostgreSQL: true})
	if err != nil {
		return trips, err
	}
	defer func() { err = firstOf(err, sim.Close()) }()
	for i := range trips {
		p, err := newPeer(ctx, b.engine.Through(sim, b.dsn)+params[i])
		if err != nil {
			return trips, err
		}
		if err := p.run(ctx, o, 3); err != nil {
			return trips, err
		}
		before := sim.RoundTrips()
		err = p.run(ctx, o, times)
		trips[i] = float64(sim.RoundTrips()-before) / times
		if err := firstOf(err, p.db.Close()); err != nil {
			return trips, err
		}
	}
	return trips, nil
}

func (p *peer) run(ctx context.Context, o op, times int) error {
	for range times {
		p.ran++
		if err := o.do(ctx, p.db, p.ran); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
	}
	return nil
}

// A sample is what one operation took, on average over a slice.
type sample struct{ client, server, time, wal float64 }

// takeTurns measures both peers by turns.
func (b *bench) takeTurns(ctx context.Context, o op, turns int, slice time.Duration) (samples [2][]sample, err error) {
	n := 1
	for took := time.Duration(0); took < slice/2; n *= 2 {
		s, err := b.slice(ctx, b.peers[1], o, n)
		if err != nil {
			return samples, err
		}
		took = time.Duration(s.time * float64(n))
	}
	for turn := range turns {
		for i := range b.peers {
			who := (i + turn) % 2 // who goes first changes
			s, err := b.slice(ctx, b.peers[who], o, n)
			if err != nil {
				return samples, err
			}
			samples[who] = append(samples[who], s)
		}
	}
	return samples, nil
}

// slice does the operation n times.
func (b *bench) slice(ctx context.Context, p *peer, o op, n int) (s sample, err error) {
	runtime.GC() // so that neither clears up what the other has left
	walBefore, err := b.wal(ctx)
	if err != nil {
		return s, err
	}
	serverBefore, err := processor.Of(p.backend)
	if err != nil {
		return s, err
	}
	client, began := processor.Own(), time.Now()
	err = p.run(ctx, o, n)
	took, client := time.Since(began), processor.Own()-client
	if err != nil {
		return s, err
	}
	server, err := processor.Of(p.backend)
	if err != nil {
		return s, err
	}
	wal, err := b.wal(ctx)
	per := func(x float64) float64 { return x / float64(n) }
	return sample{
		client: per(float64(client)), server: per(float64(server - serverBefore)),
		time: per(float64(took)), wal: per(float64(wal - walBefore)),
	}, err
}

// wal is how many bytes of WAL the server has written so far.
func (b *bench) wal(ctx context.Context) (bytes int64, err error) {
	err = b.outside.QueryRowContext(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::BIGINT").Scan(&bytes)
	return bytes, err
}
