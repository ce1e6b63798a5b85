package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
	"github.com/reprise-go/cockroachdb/reliability/outage"
)

// A simTarget is a cluster of crdbsim's over a PostgreSQL that is started for it.
type simTarget struct {
	o        options
	engine   *engine.Engine
	cluster  *crdbsim.Cluster
	balancer *crdbsim.Balancer
}

// healthChecks is how often the balancer looks at the nodes; HAProxy does so every two seconds.
const healthChecks = 2 * time.Second

func newSimTarget(ctx context.Context, o options) (*simTarget, error) {
	e, err := engine.Start(ctx, engine.Options{PostgreSQL: true})
	if err != nil {
		return nil, err
	}
	t := &simTarget{o: o, engine: e}
	if err := t.start(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *simTarget) start() error {
	upstream, err := crdbsim.Upstream(t.engine.Direct(t.engine.URL()))
	if err != nil {
		return err
	}
	if t.cluster, err = crdbsim.StartCluster(t.o.nodes, crdbsim.Config{Upstream: upstream}); err != nil {
		return err
	}
	if t.o.through == throughBalancer {
		t.balancer, err = t.cluster.Balance(healthChecks)
	}
	return err
}

func (t *simTarget) name() string { return t.engine.Name() + ", reached by " + t.o.through }

func (t *simTarget) nodes() int { return t.o.nodes }

func (t *simTarget) newDatabase(ctx context.Context) (dsn, sure string, drop func(), err error) {
	engineDSN, drop, err := t.engine.NewDatabase(ctx)
	if err != nil {
		return "", "", nil, err
	}
	sure = t.engine.Direct(engineDSN)
	cfg, err := pgx.ParseConfig(sure)
	if err != nil {
		return "", "", nil, err
	}
	dsn = t.cluster.DSN(cfg.User, cfg.Database)
	if t.balancer != nil {
		dsn = t.balancer.DSN(cfg.User, cfg.Database)
	}
	return withParams(dsn, t.o.params), sure, drop, nil
}

func (t *simTarget) takeAway(ctx context.Context, node int, away time.Duration) error {
	return outage.TakeAway(ctx, t.cluster.Node(node), outage.Way(t.o.mode), away)
}

func (t *simTarget) bringBack(_ context.Context, node int) error {
	return t.cluster.Node(node).Return()
}

func (t *simTarget) close() error {
	var errs []error
	if t.balancer != nil {
		errs = append(errs, t.balancer.Close())
	}
	if t.cluster != nil {
		errs = append(errs, t.cluster.Close())
	}
	return errors.Join(append(errs, t.engine.Close())...)
}
