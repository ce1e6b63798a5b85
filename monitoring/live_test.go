package monitoring

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/monitoring/internal/watch"
)

// patience is how long a condition may take to come true. It is for slow machines: all do within a few seconds.
const patience = 90 * time.Second

// tool finds one of Prometheus' programs. At somebody's desk they may be missing; in CI they are there.
func tool(t *testing.T, program string) string {
	t.Helper()
	found, err := watch.Find(program)
	if errors.Is(err, watch.ErrNone) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	return found
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, "promtool"), args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
}

func TestPromtoolCheckRules(t *testing.T) {
	promtool(t, "check", "rules", "--lint-fatal", "rules.yaml", "alerts.yaml")
}

func TestPromtoolTestRules(t *testing.T) { promtool(t, "test", "rules", "rules_test.yaml") }

// TestEveryQueryHasData runs the demonstration, and a Prometheus that scrapes it and evaluates the rules, and asks it
// every query of the dashboard, of the rules and of the alerts.
//
// An alert that is not firing has no data, and is not to have any; its operands have. What compares with the past, by
// offset, asks for times at which the demonstration did not run yet: promtool has written them into the server's
// storage, under the names that the server itself records since.
func TestEveryQueryHasData(t *testing.T) {
	tool(t, "prometheus")
	scratch := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Read-modify-write is the kind of transfer that has it all: retries, divergences, and commits in between.
	demo, err := watch.StartDemo(ctx, scratch, "-duration", "1h", "-workers", "8", "-kinds", "modify")
	require.NoError(t, err)
	defer func() { assert.NoError(t, demo.Stop()) }()
	server, err := watch.StartPrometheus(ctx, scratch, demo, ruleFiles(t), watch.Past{
		Series: fmt.Sprintf(
			"job_db_name:cockroachdb_retries_per_transaction:ratio_rate5m{job=%q,db_name=%q}", watch.Job, demo.Database,
		),
		Value: 0.25, From: 25 * time.Hour, To: time.Hour,
	})
	require.NoError(t, err)
	defer func() { assert.NoError(t, server.Stop()) }()

	for where, expr := range allQueries(t) {
		requireData(ctx, t, server, where, expr)
	}
	requireMoves(ctx, t, server)
	requireHealthy(ctx, t, server)
}

func ruleFiles(t *testing.T) (files []string) {
	for _, name := range []string{"rules.yaml", "alerts.yaml"} {
		file, err := filepath.Abs(name)
		require.NoError(t, err)
		files = append(files, file)
	}
	return files
}

// allQueries are the queries that must have data, by where they are.
func allQueries(t *testing.T) map[string]string {
	all := map[string]string{}
	d, err := ReadDashboard()
	require.NoError(t, err)
	for _, p := range d.Panels {
		for i, q := range p.Targets {
			all[fmt.Sprintf("panel %d, %s, query %d", p.ID, p.Title, i+1)] = Fill(q.Expr, 10*time.Second)
		}
	}
	rules, err := ReadRules()
	require.NoError(t, err)
	for _, r := range rules {
		parts := []string{r.Expr}
		if r.Record != "" {
			all["recorded "+r.Record] = r.Record
		} else {
			parts, err = Operands(r.Expr)
			require.NoError(t, err)
		}
		for i, expr := range parts {
			all[fmt.Sprintf("%s, operand %d", r.Record+r.Alert, i+1)] = expr
		}
	}
	return all
}

// requireData waits until a query comes back with numbers, each of them one: histogram_quantile gives NaN where there
// is nothing.
func requireData(ctx context.Context, t *testing.T, server *watch.Prometheus, where, expr string) {
	t.Helper()
	eventually(ctx, t, where+"\n"+expr, func() error {
		found, err := ask(ctx, server, expr)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return errors.New("no data")
		}
		for _, sample := range found {
			if math.IsNaN(float64(sample.Value)) {
				return fmt.Errorf("not a number: %v", sample)
			}
		}
		return nil
	})
}

// requireMoves waits for what a bank with hot accounts must show at a glance: a panel that says 0 whatever happens has
// data too.
func requireMoves(ctx context.Context, t *testing.T, server *watch.Prometheus) {
	d, err := ReadDashboard()
	require.NoError(t, err)
	seen := 0
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		switch p.Title {
		case "Committed", "Retries per transaction", "p99 without retries", "p99 with retries",
			"Transactions that needed a retry", "Retries, by reason", "Retries, by place", "Statements run again",
			"Divergences, by what differed", "Attempts per transaction":
		default:
			continue
		}
		seen++
		expr := "sum(" + Fill(p.Targets[0].Expr, 10*time.Second) + ") > 0"
		eventually(ctx, t, p.Title+"\n"+expr, func() error {
			found, err := ask(ctx, server, expr)
			if err == nil && len(found) == 0 {
				err = errors.New("it does not move")
			}
			return err
		})
	}
	assert.Equal(t, 11, seen, "\"Retries per transaction\" is there twice")
}

// requireHealthy asks what the server itself thinks of the rules.
func requireHealthy(ctx context.Context, t *testing.T, server *watch.Prometheus) {
	rules, err := ReadRules()
	require.NoError(t, err)
	eventually(ctx, t, "the rules are evaluated", func() error {
		result, err := server.Rules(ctx, nil)
		if err != nil {
			return err
		}
		good := 0
		for _, g := range result.Groups {
			for _, r := range g.Rules {
				switch r := r.(type) {
				case v1.AlertingRule:
					if r.Health == v1.RuleHealthGood {
						good++
					}
				case v1.RecordingRule:
					if r.Health == v1.RuleHealthGood {
						good++
					}
				}
			}
		}
		if good != len(rules) {
			return fmt.Errorf("%d of %d are well: %+v", good, len(rules), result)
		}
		return nil
	})
}

func ask(ctx context.Context, server *watch.Prometheus, expr string) (model.Vector, error) {
	value, _, _, err := server.Query(ctx, expr, time.Now())
	if err != nil {
		return nil, err
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("a %s and no vector", value.Type())
	}
	return vector, nil
}

// eventually waits until condition has no error.
func eventually(ctx context.Context, t *testing.T, what string, condition func() error) {
	t.Helper()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			require.NoError(t, err, what)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
