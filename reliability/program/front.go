package program

import (
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A front is what stands between the pools and PostgreSQL: one node, or a cluster with a balancer.
type front struct {
	nodes    []*crdbsim.Sim
	cluster  *crdbsim.Cluster // nil where there is one node
	balancer *crdbsim.Balancer
	dsns     []string // the ways in: by the nodes, and by the balancer if there is one
}

const (
	clusterSize  = 3
	mostAfter    = 6                     // programs between two outages
	healthChecks = 20 * time.Millisecond // of the balancer; longer than a drain tells it, so that it learns too late
)

func newFront(e *engine.Engine, server Server, dsn string) (*front, error) {
	if server == Cluster {
		return newClusterFront(e.Direct(dsn), server.config())
	}
	sim, err := e.NewSim(server.config())
	if err != nil {
		return nil, err
	}
	return &front{nodes: []*crdbsim.Sim{sim}, dsns: []string{e.Through(sim, dsn)}}, nil
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
	if f.balancer != nil {
		errs = append(errs, f.balancer.Close())
	}
	for _, n := range f.nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}
