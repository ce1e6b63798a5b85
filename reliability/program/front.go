package program

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
	"github.com/reprise-go/cockroachdb/internal/pgbouncer"
)

// A front is what stands between the pools and PostgreSQL: one node, or a cluster with a balancer.
type front struct {
	nodes    []*crdbsim.Sim
	cluster  *crdbsim.Cluster // nil where there is one node
	balancer *crdbsim.Balancer
	pooler   *pgbouncer.PgBouncer // nil for none
	dsns     []string             // the ways in: by the nodes, and by the balancer if there is one
}

const (
	clusterSize   = 3
	pooledServers = 3                     // that all clients of a pooler share
	mostAfter     = 6                     // programs between two outages
	healthChecks  = 20 * time.Millisecond // of the balancer; longer than a drain tells it, so that it learns too late
)

func newFront(ctx context.Context, e *engine.Engine, server Server, dsn string) (*front, error) {
	if server == Cluster {
		return newClusterFront(e.Direct(dsn), server.config())
	}
	sim, err := e.NewSim(server.config())
	if err != nil {
		return nil, err
	}
	f := &front{nodes: []*crdbsim.Sim{sim}, dsns: []string{e.Through(sim, dsn)}}
	if server == Pooled {
		err = f.pool(ctx)
	}
	return f, err
}

// pool puts a pooler between.
func (f *front) pool(ctx context.Context) (err error) {
	if f.pooler, err = pgbouncer.New(ctx, f.dsns[0], pgbouncer.Options{Servers: pooledServers}); err != nil {
		return errors.Join(err, f.close())
	}
	f.dsns[0] = f.pooler.DSN()
	return nil
}

// awaitCalm waits until the pooler lets clients in again: for a second after a login has failed it refuses all.
func (f *front) awaitCalm(ctx context.Context) error {
	for f.pooler != nil {
		conn, err := pgconn.Connect(ctx, f.dsns[0])
		if err == nil {
			_, err = conn.Exec(ctx, "SELECT 1").ReadAll()
			_ = conn.Close(ctx)
		}
		if err == nil {
			return nil
		}
		if pause(ctx) != nil {
			return err
		}
	}
	return nil
}

// settle has the pooler give back the connections that no client uses. It reports whether the pooler had crashed: up to
// version 1.18 it does when a server answers a cancelled statement at the wrong moment. It is started again then.
func (f *front) settle(ctx context.Context) (crashed bool, err error) {
	if f.pooler == nil {
		return false, nil
	}
	if _, err := f.pooler.Do(ctx, "RECONNECT"); err == nil {
		return false, nil
	}
	return true, f.pooler.StartAgain(ctx)
}

func newClusterFront(direct string, cfg crdbsim.Config) (_ *front, err error) {
	of, err := pgconn.ParseConfig(direct)
	if err != nil {
		return nil, err
	}
	if cfg.Upstream, err = crdbsim.Upstream(direct); err != nil {
		return nil, err
	}
	f := &front{}
	if f.cluster, err = crdbsim.StartCluster(clusterSize, cfg); err != nil {
		return nil, err
	}
	for _, n := range f.cluster.Nodes() {
		f.nodes = append(f.nodes, n.Sim)
	}
	if f.balancer, err = f.cluster.Balance(healthChecks); err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.dsns = []string{f.cluster.DSN(of.User, of.Database), f.balancer.DSN(of.User, of.Database)}
	return f, nil
}

// inject has strike choose what happens at a stage, on every node. It is given numbers of connections that are unique
// among all nodes.
func (f *front) inject(at crdbsim.Stage, strike func(crdbsim.Point) crdbsim.Action) {
	for i, n := range f.nodes {
		n.Inject(&crdbsim.Fault{At: at, Times: -1, Do: func(p crdbsim.Point) crdbsim.Action {
			p.Conn |= uint64(i) << 32
			return strike(p)
		}})
	}
}

func (f *front) clear() {
	for _, n := range f.nodes {
		n.ClearFaults()
	}
}

// clients are how many there are, on all nodes.
func (f *front) clients() (n int) {
	for _, node := range f.nodes {
		n += node.Conns()
	}
	return n
}

func (f *front) close() error {
	var errs []error
	if f.pooler != nil {
		errs = append(errs, f.pooler.Close())
	}
	if f.balancer != nil {
		errs = append(errs, f.balancer.Close())
	}
	for _, n := range f.nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}
