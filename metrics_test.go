package cockroachdb

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// families gathers m through a registry of its own.
func families(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	gathered, err := registry.Gather()
	require.NoError(t, err)
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range gathered {
		byName[f.GetName()] = f
	}
	return byName
}

// useEverything calls each method of p with each value of its labels.
func useEverything(p *poolMetrics) {
	for _, o := range allOutcomes {
		p.transactionEnded(o, 1, 3*time.Millisecond)
		p.transactionEnded(o, 4, 80*time.Millisecond)
	}
	for _, r := range allReasons {
		for _, at := range allPlaces {
			p.retried(r, at)
		}
	}
	for _, kind := range allDivergenceKinds {
		p.diverged(kind)
	}
	for _, cause := range allCauses {
		p.notReplayable(cause)
	}
	for _, cause := range endingCauses {
		p.protectionEnded(cause)
	}
	for of := range protecteds {
		for e := range extents {
			p.protection(of, e)
		}
	}
	p.replayed(7, 2*time.Millisecond)
	p.retryThrottled()
	p.waited(time.Second)
	p.waitedForLane(2 * time.Second)
	p.laneWaiting(1)
	p.historyBytes(4096)
}

func TestMetrics_PassTheLinter(t *testing.T) {
	m := NewMetrics()
	useEverything(m.acquire("bank"))
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestMetrics_Help_IsASentence(t *testing.T) {
	m := NewMetrics()
	m.acquire("bank")
	for name, family := range families(t, m) {
		help := family.GetHelp()
		assert.True(t, strings.HasSuffix(help, ".") && help[:1] == strings.ToUpper(help[:1]) && strings.Count(help, " ") > 3,
			"%s: %q", name, help)
	}
}

func TestMetrics_Names_AreThese(t *testing.T) {
	m := NewMetrics()
	m.acquire("bank")
	var names []string
	for name := range families(t, m) {
		names = append(names, name)
	}
	assert.ElementsMatch(t, []string{
		"cockroachdb_transactions_total", "cockroachdb_transaction_retries_total", "cockroachdb_transaction_attempts",
		"cockroachdb_transaction_duration_seconds",
		"cockroachdb_replay_duration_seconds", "cockroachdb_replayed_statements_total", "cockroachdb_pinned_statements_total",
		"cockroachdb_locked_reads_total", "cockroachdb_lock_changes_total",
		"cockroachdb_replay_divergences_total", "cockroachdb_not_replayable_total",
		"cockroachdb_ambiguous_commits_total", "cockroachdb_retries_throttled_total",
		"cockroachdb_backoff_seconds_total", "cockroachdb_retry_lane_waiting",
		"cockroachdb_history_bytes", "cockroachdb_savepoint_restarts_refused_total",
		"cockroachdb_failovers_total", "cockroachdb_failover_duration_seconds",
		"cockroachdb_abandoned_sessions_total", "cockroachdb_dials_total",
		"cockroachdb_connections_retired_total", "cockroachdb_commit_questions_total",
		"cockroachdb_protection_total", "cockroachdb_protection_ended_total",
	}, names)
}

func TestMetrics_AtFirst_AllLabelValuesAreZero(t *testing.T) {
	m := NewMetrics()
	m.acquire("bank")
	got := families(t, m)
	series := map[string]int{
		"cockroachdb_transactions_total":           len(allOutcomes),
		"cockroachdb_transaction_retries_total":    len(allReasons) * len(allPlaces),
		"cockroachdb_transaction_duration_seconds": 2,
		"cockroachdb_replay_divergences_total":     len(allDivergenceKinds),
		"cockroachdb_not_replayable_total":         len(allCauses),
		"cockroachdb_backoff_seconds_total":        2,
		"cockroachdb_failovers_total":              len(allFailoverOutcomes),
		"cockroachdb_dials_total":                  len(allDialOutcomes),
		"cockroachdb_commit_questions_total":       len(allCommitAnswers),
		"cockroachdb_lock_changes_total":           len(allLockChanges),
		"cockroachdb_protection_total":             int(protecteds) * int(extents),
		"cockroachdb_protection_ended_total":       len(endingCauses),
	}
	for name, family := range got {
		want := 1
		if n, ok := series[name]; ok {
			want = n
		}
		assert.Len(t, family.GetMetric(), want, name)
		for _, metric := range family.GetMetric() {
			assert.Equal(t, "bank", labelsOf(metric)["db_name"], name)
			sum := metric.GetCounter().GetValue() + metric.GetGauge().GetValue() +
				float64(metric.GetHistogram().GetSampleCount())
			assert.Zero(t, sum, name)
		}
	}
}

func labelsOf(metric *dto.Metric) map[string]string {
	labels := make(map[string]string)
	for _, pair := range metric.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}

func TestMetrics_Histograms_AreClassicAndNative(t *testing.T) {
	m := NewMetrics()
	m.acquire("bank").transactionEnded(OutcomeCommitted, 2, 3*time.Millisecond)
	got := families(t, m)
	bounds := func(name string) (list []float64) {
		for _, b := range got[name].GetMetric()[0].GetHistogram().GetBucket() {
			list = append(list, b.GetUpperBound())
		}
		return list
	}
	assert.Equal(t, []float64{1, 2, 3, 5, 10, 20}, bounds("cockroachdb_transaction_attempts"))
	milliseconds := []float64{
		.001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1.024, 2.048, 4.096, 8.192, 16.384,
	}
	assert.InDeltaSlice(t, milliseconds, bounds("cockroachdb_transaction_duration_seconds"), 1e-9)
	assert.InDeltaSlice(t, milliseconds, bounds("cockroachdb_replay_duration_seconds"), 1e-9)
	attempts := got["cockroachdb_transaction_attempts"].GetMetric()[0].GetHistogram()
	assert.Equal(t, int32(3), attempts.GetSchema(), "a factor of at most 1.1 is schema 3")
	assert.NotEmpty(t, attempts.GetPositiveSpan())
}

func TestMetrics_EachEvent_IsCounted(t *testing.T) {
	m := NewMetrics()
	p := m.acquire("bank")
	p.transactionEnded(OutcomeCommitted, 1, time.Millisecond)
	p.transactionEnded(OutcomeAmbiguous, 3, time.Second)
	p.retried(ReasonOther, PlaceCommit)
	p.replayed(5, time.Millisecond)
	p.waited(1500 * time.Millisecond)
	p.waitedForLane(500 * time.Millisecond)
	p.laneWaiting(2)
	p.laneWaiting(-1)
	p.historyBytes(100)
	p.historyBytes(-40)

	value := func(c prometheus.Collector) float64 { return testutil.ToFloat64(c) }
	assert.Equal(t, 1.0, value(m.transactions.WithLabelValues("bank", "committed")))
	assert.Equal(t, 1.0, value(m.transactions.WithLabelValues("bank", "ambiguous")))
	assert.Equal(t, 1.0, value(m.ambiguousCommits))
	assert.Equal(t, 1.0, value(m.retries.WithLabelValues("bank", "other", "commit")))
	assert.Equal(t, 5.0, value(m.replayedStatements))
	assert.Equal(t, 1.5, value(m.backoff.WithLabelValues("bank", "backoff")))
	assert.Equal(t, 0.5, value(m.backoff.WithLabelValues("bank", "lane")))
	assert.Equal(t, 1.0, value(m.laneWaiting))
	assert.Equal(t, 60.0, value(m.historyBytes))
	for _, metric := range families(t, m)["cockroachdb_transaction_duration_seconds"].GetMetric() {
		assert.EqualValues(t, 1, metric.GetHistogram().GetSampleCount(), "one with a retry, one without")
	}
}

func TestMetrics_PoolsOfOneName_AddUp(t *testing.T) {
	m := NewMetrics()
	first, second, other := m.acquire("bank"), m.acquire("bank"), m.acquire("shop")
	first.transactionEnded(OutcomeCommitted, 1, time.Millisecond)
	second.transactionEnded(OutcomeCommitted, 1, time.Millisecond)
	other.transactionEnded(OutcomeCommitted, 1, time.Millisecond)
	assert.Equal(t, 2.0, testutil.ToFloat64(m.transactions.WithLabelValues("bank", "committed")),
		"pools of one name add up")
	assert.Equal(t, 1.0, testutil.ToFloat64(m.transactions.WithLabelValues("shop", "committed")))
	assert.Len(t, families(t, m)["cockroachdb_history_bytes"].GetMetric(), 2)
}

func TestMetrics_SeveralConnectors_ShareARegistry(t *testing.T) {
	cfg := mustParse(t, "postgresql://app@db/bank")
	cfg.Metrics = NewMetrics()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(cfg.Metrics)
	for range 2 {
		_, err := NewConnector(cfg)
		require.NoError(t, err)
	}
	cfg.DBName = "the other"
	_, err := NewConnector(cfg)
	require.NoError(t, err)
	n, err := testutil.GatherAndCount(registry, "cockroachdb_history_bytes")
	require.NoError(t, err)
	assert.Equal(t, 2, n)
}

func TestMetrics_OddNames_AreTaken(t *testing.T) {
	m := NewMetrics()
	for _, name := range []string{"", "\xff\xfe", "a\x00b", `quote"new` + "\nline"} {
		useEverything(m.acquire(name))
	}
	families(t, m)
}

func TestMetrics_UnknownLabelValues_AreTaken(t *testing.T) {
	p := NewMetrics().acquire("bank")
	p.transactionEnded("unheard of", 1, -time.Second)
	p.retried("unheard of", "nowhere")
	p.diverged("unheard of")
	p.notReplayable("unheard of")
	p.replayed(-1, -1)
	p.waited(-1)
	p.waitedForLane(-1)
}

func TestMetrics_Nil_CountNothing(t *testing.T) {
	var m *Metrics
	assert.Nil(t, m.acquire("bank"))
	useEverything(m.acquire("bank"))
}

// The pool's own path allocates nothing. A native histogram does: it boxes the number of a bucket (8 bytes), unless the
// number is from 0 to 255, that is unless the value is 0.92 or more.
func TestMetrics_Counting_AllocatesNothing(t *testing.T) {
	p := NewMetrics().acquire("bank")
	useEverything(p)
	for name, use := range map[string]func(){
		"retried":        func() { p.retried(ReasonOther, PlaceRows) },
		"diverged":       func() { p.diverged(DivergedRow) },
		"not replayable": func() { p.notReplayable(CauseBytes) },
		"waits":          func() { p.waited(time.Second); p.waitedForLane(time.Second); p.laneWaiting(1); p.laneWaiting(-1) },
		"history":        func() { p.historyBytes(10); p.historyBytes(-10) },
		"slow end":       func() { p.transactionEnded(OutcomeCommitted, 2, 2*time.Second) },
	} {
		assert.Zero(t, testing.AllocsPerRun(100, use), name)
	}
	fast := func() { p.transactionEnded(OutcomeCommitted, 1, 3*time.Millisecond) }
	assert.LessOrEqual(t, testing.AllocsPerRun(100, fast), 1.0)
}

func TestMetrics_ManyGoroutines_CountExactly(t *testing.T) {
	m := NewMetrics()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				useEverything(m.acquire("bank"))
				m.acquire("shop").historyBytes(1)
			}
		})
	}
	families(t, m)
	wg.Wait()
	assert.Equal(t, 800.0, testutil.ToFloat64(m.transactions.WithLabelValues("bank", "committed")))
}

// BenchmarkMetrics_TransactionOfTen is what counting costs a transaction of ten statements that meets no conflict.
func BenchmarkMetrics_TransactionOfTen(b *testing.B) {
	const statements, size = 10, 400
	for name, m := range map[string]*Metrics{"off": nil, "on": NewMetrics()} {
		b.Run(name, func(b *testing.B) {
			p := m.acquire("bench")
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					for range statements {
						p.historyBytes(size)
					}
					p.historyBytes(-statements * size)
					p.transactionEnded(OutcomeCommitted, 1, time.Millisecond)
				}
			})
		})
	}
}
