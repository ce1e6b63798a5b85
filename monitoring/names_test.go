package monitoring

import (
	"database/sql"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

// series are the metrics that there are, by the names that queries use: with each label's values; nil stands for any.
type series map[string]map[string][]string

// knownSeries asks the registry: what the driver and database/sql have for a pool, what Prometheus adds, and what
// rules.yaml records.
func knownSeries(t *testing.T) series {
	cfg, err := cockroachdb.ParseConfig("postgresql://bank@localhost/bank")
	require.NoError(t, err)
	cfg.Metrics = cockroachdb.NewMetrics()
	connector, err := cockroachdb.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector) // nothing connects
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(cfg.Metrics, collectors.NewDBStatsCollector(db, "bank"))
	families, err := registry.Gather()
	require.NoError(t, err)
	all := series{}
	for _, f := range families {
		all.add(f)
	}
	rules, err := ReadRules()
	require.NoError(t, err)
	for _, r := range rules {
		if r.Record != "" {
			all.record(t, r)
		}
	}
	return all
}

func (s series) add(f *dto.MetricFamily) {
	of := map[string][]string{"job": nil, "instance": nil}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "db_name" {
				of["db_name"] = nil
			} else if !slices.Contains(of[l.GetName()], l.GetValue()) {
				of[l.GetName()] = append(of[l.GetName()], l.GetValue())
			}
		}
	}
	if f.GetType() != dto.MetricType_HISTOGRAM {
		s[f.GetName()] = of
		return
	}
	s[f.GetName()+"_count"], s[f.GetName()+"_sum"] = of, of
	bucket := map[string][]string{"le": nil}
	maps.Copy(bucket, of)
	s[f.GetName()+"_bucket"] = bucket
}

// record adds what a rule records. By the naming convention the labels that it has left are in front of the first
// colon.
func (s series) record(t *testing.T, r Rule) {
	names, err := NamesIn(r.Expr)
	require.NoError(t, err)
	level, _, ok := strings.Cut(r.Record, ":")
	require.True(t, ok, r.Record)
	of := map[string][]string{}
	for _, l := range names.Labels {
		if l != "le" { // which histogram_quantile takes away
			of[l] = s[names.Selectors[0].Metric][l]
		}
	}
	var inName []string
	for l := range of {
		inName = append(inName, l)
	}
	assert.Equal(t, level, strings.Join(slices.SortedFunc(slices.Values(inName), func(a, b string) int {
		return strings.Index(level, a) - strings.Index(level, b)
	}), "_"), "%s: the labels in its name", r.Record)
	s[r.Record] = of
}

// check holds an expression against what there is.
func (s series) check(t assert.TestingT, where, expr string) {
	names, err := NamesIn(Fill(expr, time.Minute))
	if !assert.NoError(t, err, where) {
		return
	}
	assert.NotEmpty(t, names.Selectors, where)
	of := map[string]bool{}
	for _, sel := range names.Selectors {
		known, ok := s[sel.Metric]
		if !assert.True(t, ok, "%s: there is no metric %s", where, sel.Metric) {
			continue
		}
		for l := range known {
			of[l] = true
		}
		for _, m := range sel.Labels {
			values, ok := known[m.Label]
			assert.True(t, ok, "%s: %s has no label %s", where, sel.Metric, m.Label)
			assert.Empty(t, unknown(m, values), "%s: no value of %s of %s", where, m.Label, sel.Metric)
		}
	}
	for _, l := range names.Labels {
		assert.True(t, of[l], "%s: nothing in it has a label %s", where, l)
	}
}

// unknown are the values that a matcher names, as x or x|y|z, and that its label does not have.
func unknown(m Matcher, values []string) []string {
	if values == nil {
		return nil
	}
	return slices.DeleteFunc(strings.Split(m.Value, "|"), func(v string) bool { return slices.Contains(values, v) })
}

// TestNamesExist holds every metric, label and label's value of the dashboard and the rules against the registry.
func TestNamesExist(t *testing.T) {
	known := knownSeries(t)
	d, err := ReadDashboard()
	require.NoError(t, err)
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			known.check(t, "dashboard.json: "+p.Title, q.Expr)
		}
	}
	rules, err := ReadRules()
	require.NoError(t, err)
	for _, r := range rules {
		known.check(t, r.Record+r.Alert, r.Expr)
	}
	call := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			found := call.FindStringSubmatch(v.Definition)
			require.NotNil(t, found, v.Definition)
			known.check(t, "variable "+v.Name, "count by ("+found[2]+") ("+found[1]+")")
		}
	}
}

// TestNamesAreFound plants mistakes.
func TestNamesAreFound(t *testing.T) {
	known := knownSeries(t)
	for _, mistaken := range []string{
		"cockroachdb_transaction_total",
		"cockroachdb_transaction_attempts", // a histogram's name alone is that of a native one
		`cockroachdb_transactions_total{outcom="committed"}`,
		`cockroachdb_transactions_total{outcome="commited"}`,
		`cockroachdb_transactions_total{outcome!~"committed|rolledback"}`,
		"sum by (reason) (cockroachdb_transactions_total)",
		"cockroachdb_history_bytes and on (pod) go_sql_in_use_connections",
		"go_sql_inuse_connections",
		"job_db_name:cockroachdb_transactions:rate5m",
	} {
		var found failures
		known.check(&found, "planted", mistaken)
		assert.NotZero(t, found, mistaken)
	}
}

// failures counts what would have been failures of a test.
type failures int

func (f *failures) Errorf(string, ...any) { *f++ }

// TestEverythingIsShown looks for a metric of the driver's that no panel has.
func TestEverythingIsShown(t *testing.T) {
	d, err := ReadDashboard()
	require.NoError(t, err)
	shown := map[string]bool{}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			names, err := NamesIn(Fill(q.Expr, time.Minute))
			require.NoError(t, err)
			for _, s := range names.Selectors {
				shown[family(s.Metric)] = true
			}
		}
	}
	for name := range knownSeries(t) {
		if strings.HasPrefix(name, "cockroachdb_") {
			assert.True(t, shown[family(name)], "no panel shows %s", family(name))
		}
	}
}

// family is the name of the metric that a series is of: a histogram has three.
func family(series string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		series = strings.TrimSuffix(series, suffix)
	}
	return series
}

// TestDocsNameWhatThereIs holds every metric, and every label with a value, of README.md and docs against the
// registry.
func TestDocsNameWhatThereIs(t *testing.T) {
	known := knownSeries(t)
	values := map[string][]string{}
	for _, of := range known {
		for l, v := range of {
			values[l] = append(values[l], v...)
		}
	}
	metric := regexp.MustCompile(`\b(cockroachdb|go_sql)_[a-z]\w*|\bjob_\w+:\w+:\w+`)
	label := regexp.MustCompile("`(?:[\\w:]*\\{)?(\\w+)=~?\"([^\"]*)\"\\}?`")
	pages, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	found := 0
	for _, page := range append(pages, "../README.md", "README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, name := range metric.FindAllString(string(text), -1) {
			found++
			_, plain := known[name]
			_, histogram := known[name+"_bucket"]
			assert.True(t, plain || histogram, "%s: there is no metric %s", page, name)
		}
		for _, m := range label.FindAllStringSubmatch(string(text), -1) {
			found++
			if of, ok := values[m[1]]; assert.True(t, ok, "%s: there is no label %s", page, m[1]) && len(of) > 0 {
				assert.Contains(t, of, m[2], "%s: %s", page, m[0])
			}
		}
	}
	assert.Greater(t, found, 25, "the patterns still find something")
}
