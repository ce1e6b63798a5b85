package main

import (
	"context"
	"fmt"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// The manners of contention that -contention names. They differ: on CockroachDB who waits for a lock mostly gets it and
// goes on, on PostgreSQL under SERIALIZABLE who has waited for a write always loses.
const (
	likeCockroach  = "cockroachdb"
	likePostgreSQL = "postgresql"
)

// A server is what the bank is kept on.
type server interface {
	Name() string
	NewDatabase(ctx context.Context) (dsn string, drop func(), err error)
	Close() error
}

// A manner is how a server contends, and what the report says of it.
type manner struct{ name, note string }

// startServer finds or starts the server that contends as the options say.
func startServer(ctx context.Context, o options) (server, manner, error) {
	opts := engine.Options{URL: o.url, PostgreSQL: o.contention == likePostgreSQL}
	if !opts.PostgreSQL && !engine.HasCockroach(opts) {
		return model{}, manner{"CockroachDB's, by a model of it", noteOfModel}, nil
	}
	e, err := engine.Start(ctx, opts)
	switch {
	case err != nil:
		return nil, manner{}, err
	case e.IsCockroach():
		return e, manner{"CockroachDB's own", ""}, nil
	}
	return e, manner{"PostgreSQL's", noteOfPostgreSQL}, nil
}

const noteOfPostgreSQL = `
This was PostgreSQL, standing in for CockroachDB. It can't keep a transaction's locks over a retry as CockroachDB
does, so that more retries may diverge. For your cluster's figures: COCKROACH_URL='postgresql://…' make demo
(in a database of its own, which is dropped at the end).
`

const noteOfModel = `
This was a model of CockroachDB's concurrency control, in this process: locks, refreshes, deadlocks and priorities
are as on CockroachDB, and how long things take is not (docs/contention.md). For PostgreSQL's manner of contention:
make demo DEMO_FLAGS='-contention postgresql'. For your cluster's figures: COCKROACH_URL='postgresql://…' make demo
(in a database of its own, which is dropped at the end).
`

// model makes a server of package crdbmodel for each database.
type model struct{}

func (model) Name() string { return "crdbmodel, CockroachDB's concurrency control in memory" }
func (model) Close() error { return nil }

func (model) NewDatabase(context.Context) (dsn string, drop func(), err error) {
	s := crdbmodel.New(crdbmodel.Defaults())
	l, err := crdbmodel.Listen(s)
	if err != nil {
		s.Close()
		return "", nil, fmt.Errorf("start the model: %w", err)
	}
	return l.DSN("bank"), func() { s.Close(); _ = l.Close() }, nil
}
