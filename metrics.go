package cockroachdb

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/reprise-go/cockroachdb/internal/fleet"
)

// DefaultMetrics counts for every pool that is opened with nothing but a DSN. It is registered nowhere until you do it:
//
//	prometheus.MustRegister(cockroachdb.DefaultMetrics)
var DefaultMetrics = NewMetrics()

// Metrics is a [prometheus.Collector] of what transactions come to. One instance serves any number of pools, told
// apart by the label db_name; pools of the same db_name are counted together. All values of the other labels are
// there, at zero, as soon as a pool is. They are [listed] with their labels.
//
// [listed]: https://github.com/reprise-go/cockroachdb/blob/main/docs/metrics.md
type Metrics struct {
	transactions       *prometheus.CounterVec
	retries            *prometheus.CounterVec
	attempts           *prometheus.HistogramVec
	duration           *prometheus.HistogramVec
	replayDuration     *prometheus.HistogramVec
	replayedStatements *prometheus.CounterVec
	pinnedStatements   *prometheus.CounterVec
	lockedReads        *prometheus.CounterVec
	lockChanges        *prometheus.CounterVec
	divergences        *prometheus.CounterVec
	notReplayable      *prometheus.CounterVec
	ambiguousCommits   *prometheus.CounterVec
	commitQuestions    *prometheus.CounterVec
	failovers          *prometheus.CounterVec
	failoverDuration   *prometheus.HistogramVec
	abandoned          *prometheus.CounterVec
	dials              *prometheus.CounterVec
	retirements        *prometheus.CounterVec
	throttled          *prometheus.CounterVec
	savepointsRefused  *prometheus.CounterVec
	backoff            *prometheus.CounterVec
	laneWaiting        *prometheus.GaugeVec
	historyBytes       *prometheus.GaugeVec
	protections        *prometheus.CounterVec
	protectionEnds     *prometheus.CounterVec

	mu    sync.Mutex
	pools map[string]*poolMetrics
}

// Ensure this interface is implemented.
var _ prometheus.Collector = (*Metrics)(nil)

// What a transaction waited for before it tried again.
const (
	waitBackoff = "backoff"
	waitLane    = "lane"
)

// NewMetrics returns Metrics of its own, registered nowhere.
func NewMetrics() *Metrics {
	// Classic buckets from 1 ms, doubling, to 16.384 s: from a commit without conflict to the longest of waits in line
	// and its retries.
	seconds := prometheus.ExponentialBuckets(0.001, 2, 15)
	return &Metrics{
		transactions: counterVec("transactions_total",
			"Number of transactions that ended, by how they ended.", "outcome"),
		retries: counterVec("transaction_retries_total",
			"Number of new attempts at a transaction, by the reason for them and the place where it came to light.", "reason", "at"),
		attempts: histogramVec("transaction_attempts",
			"Number of attempts that a transaction took, the first included.", []float64{1, 2, 3, 5, 10, 20}),
		duration: histogramVec("transaction_duration_seconds",
			"Time from the beginning of a transaction to its end, by whether it took more than one attempt.", seconds, "retried"),
		replayDuration: histogramVec("replay_duration_seconds",
			"Time that it took to run the recorded statements of a transaction again and compare what they returned.", seconds),
		replayedStatements: counterVec("replayed_statements_total",
			"Number of recorded statements that were run again."),
		pinnedStatements: counterVec("pinned_statements_total",
			"Number of recorded statements that were run again with the generated values that the application had been shown."),
		lockedReads: counterVec("locked_reads_total",
			"Number of statements that were sent with a lock that the driver had learned to add."),
		lockChanges: counterVec("lock_changes_total",
			"Number of texts that began to lock, or ceased to, by what became of them.", "change"),
		divergences: counterVec("replay_divergences_total",
			"Number of replays that would have shown the application something else, by what was different first.", "kind"),
		notReplayable: counterVec("not_replayable_total",
			"Number of transactions that the driver stopped recording, by the cause, whether or not they met a conflict.", "cause"),
		ambiguousCommits: counterVec("ambiguous_commits_total",
			"Number of commits of which it is not known whether they took effect."),
		commitQuestions: counterVec("commit_questions_total",
			"Number of commits whose answer was lost and that were asked for by their marker, by what was found out.", "answer"),
		failovers: counterVec("failovers_total",
			"Number of connections lost under a transaction or a read, by whether another connection took their place.", "outcome"),
		failoverDuration: histogramVec("failover_duration_seconds",
			"Time that it took to make a connection in the place of one that was lost, or to give that up.", seconds),
		abandoned: counterVec("abandoned_sessions_total",
			"Number of connections that fell silent under a transaction; their servers were asked to cancel what they may still be doing."),
		dials: counterVec("dials_total",
			"Number of attempts to connect to a host, by what came of them.", "outcome"),
		retirements: counterVec("connections_retired_total",
			"Number of connections that were closed while idle: for their age, for a node that is going away, or to even out the spread."),
		throttled: counterVec("retries_throttled_total",
			"Number of retries refused because the token bucket of RetryThrottle was empty."),
		savepointsRefused: counterVec("savepoint_restarts_refused_total",
			"Number of restarts by ROLLBACK TO SAVEPOINT that the server could not do, so that the transaction was begun anew."),
		backoff: counterVec("backoff_seconds_total",
			"Time that transactions spent waiting before they tried again, by what they waited for.", "wait"),
		laneWaiting: gaugeVec("retry_lane_waiting",
			"Number of transactions that are waiting for the retry lane."),
		historyBytes: gaugeVec("history_bytes",
			"Memory held by the records of open transactions."),
		protections: counterVec("protection_total",
			"Number of transactions, and of statements outside one, by how far a conflict and a lost connection could have been absorbed.",
			"of", "protection"),
		protectionEnds: counterVec("protection_ended_total",
			"Number of transactions, and of statements outside one, whose protection ended, by the first cause.", "cause"),
		pools: make(map[string]*poolMetrics),
	}
}

const (
	metricsNamespace = "cockroachdb"
	labelDBName      = "db_name"
)

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help},
		append([]string{labelDBName}, labels...))
}

func gaugeVec(name, help string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: name, Help: help},
		[]string{labelDBName})
}

// histogramVec makes native histograms that have classic buckets too, for servers that don't know native ones.
func histogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}, append([]string{labelDBName}, labels...))
}

// A vec is a metric with labels.
type vec interface {
	prometheus.Collector
	DeletePartialMatch(labels prometheus.Labels) int
}

func (m *Metrics) vecs() []vec {
	return []vec{
		m.transactions, m.retries, m.attempts, m.duration, m.replayDuration, m.replayedStatements,
		m.pinnedStatements, m.lockedReads, m.lockChanges, m.divergences,
		m.notReplayable, m.ambiguousCommits, m.commitQuestions, m.failovers, m.failoverDuration, m.abandoned, m.dials,
		m.retirements, m.throttled, m.savepointsRefused, m.backoff, m.laneWaiting, m.historyBytes,
		m.protections, m.protectionEnds,
	}
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.vecs() {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.vecs() {
		c.Collect(ch)
	}
}

// acquire returns the counts of one db_name, and makes them appear at zero if nobody else has acquired them. Nil
// Metrics have nil counts, which count nothing.
func (m *Metrics) acquire(dbName string) *poolMetrics {
	if m == nil {
		return nil
	}
	dbName = labelValue(dbName)
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.pools[dbName]
	if !ok {
		p = newPoolMetrics(m, dbName)
		m.pools[dbName] = p
	}
	p.users++
	return p
}

// release makes the series of a db_name disappear when all who acquired them have released them.
func (m *Metrics) release(dbName string) {
	dbName = labelValue(dbName)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[dbName]
	if p.users--; p.users > 0 {
		return
	}
	delete(m.pools, dbName)
	for _, vec := range m.vecs() {
		vec.DeletePartialMatch(prometheus.Labels{labelDBName: dbName})
	}
}

// labelValue makes a label's value of a name: client_golang panics at one that is not UTF-8.
func labelValue(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

// poolMetrics are the counts of one db_name, with all label values looked up beforehand. All methods may be called on
// nil, and concurrently.
type poolMetrics struct {
	users int // that have acquired them; under Metrics.mu

	transactions       map[Outcome]prometheus.Counter
	retries            map[retryAt]prometheus.Counter
	attempts           prometheus.Observer
	duration           map[bool]prometheus.Observer // by whether it was retried
	replayDuration     prometheus.Observer
	replayedStatements prometheus.Counter
	pinnedStatements   prometheus.Counter
	lockedReads        prometheus.Counter
	lockChanges        map[LockChange]prometheus.Counter
	divergences        map[DivergenceKind]prometheus.Counter
	notReplayables     map[Cause]prometheus.Counter
	ambiguousCommits   prometheus.Counter
	commitQuestions    map[CommitAnswer]prometheus.Counter
	failovers          map[failoverOutcome]prometheus.Counter
	failoverDuration   prometheus.Observer
	abandoned          prometheus.Counter
	dials              map[dialOutcome]prometheus.Counter
	retirements        prometheus.Counter
	throttled          prometheus.Counter
	savepointsRefused  prometheus.Counter
	backoff, laneWait  prometheus.Counter
	laneQueue          prometheus.Gauge
	history            prometheus.Gauge
	protections        [protecteds][extents]prometheus.Counter
	protectionEnds     map[Cause]prometheus.Counter
}

type retryAt struct {
	reason Reason
	at     Place
}

func newPoolMetrics(m *Metrics, db string) *poolMetrics {
	p := &poolMetrics{
		transactions: children(m.transactions, db, allOutcomes),
		retries:      make(map[retryAt]prometheus.Counter),
		attempts:     m.attempts.WithLabelValues(db),
		duration: map[bool]prometheus.Observer{
			false: m.duration.WithLabelValues(db, strconv.FormatBool(false)),
			true:  m.duration.WithLabelValues(db, strconv.FormatBool(true)),
		},
		replayDuration:     m.replayDuration.WithLabelValues(db),
		replayedStatements: m.replayedStatements.WithLabelValues(db),
		pinnedStatements:   m.pinnedStatements.WithLabelValues(db),
		lockedReads:        m.lockedReads.WithLabelValues(db),
		lockChanges:        children(m.lockChanges, db, allLockChanges),
		divergences:        children(m.divergences, db, allDivergenceKinds),
		notReplayables:     children(m.notReplayable, db, allCauses),
		ambiguousCommits:   m.ambiguousCommits.WithLabelValues(db),
		commitQuestions:    children(m.commitQuestions, db, allCommitAnswers),
		failovers:          children(m.failovers, db, allFailoverOutcomes),
		failoverDuration:   m.failoverDuration.WithLabelValues(db),
		abandoned:          m.abandoned.WithLabelValues(db),
		dials:              children(m.dials, db, allDialOutcomes),
		retirements:        m.retirements.WithLabelValues(db),
		throttled:          m.throttled.WithLabelValues(db),
		savepointsRefused:  m.savepointsRefused.WithLabelValues(db),
		backoff:            m.backoff.WithLabelValues(db, waitBackoff),
		laneWait:           m.backoff.WithLabelValues(db, waitLane),
		laneQueue:          m.laneWaiting.WithLabelValues(db),
		history:            m.historyBytes.WithLabelValues(db),
		protectionEnds:     children(m.protectionEnds, db, endingCauses),
	}
	for of := range protecteds {
		for e := range extents {
			p.protections[of][e] = m.protections.WithLabelValues(db, of.String(), e.String())
		}
	}
	for _, r := range allReasons {
		for _, at := range allPlaces {
			p.retries[retryAt{r, at}] = m.retries.WithLabelValues(db, string(r), string(at))
		}
	}
	return p
}

// children looks up a counter for each value of a label.
func children[L ~string](vec *prometheus.CounterVec, db string, values []L) map[L]prometheus.Counter {
	m := make(map[L]prometheus.Counter, len(values))
	for _, v := range values {
		m[v] = vec.WithLabelValues(db, string(v))
	}
	return m
}

// increment counts one. A label value that is missing from its list must not bring the application down.
func increment(c prometheus.Counter) {
	if c != nil {
		c.Inc()
	}
}

// transactionEnded counts a transaction that took attempts attempts, the first included, and d from its beginning.
func (p *poolMetrics) transactionEnded(o Outcome, attempts int, d time.Duration) {
	if p == nil {
		return
	}
	increment(p.transactions[o])
	if o == OutcomeAmbiguous {
		p.ambiguousCommits.Inc()
	}
	p.attempts.Observe(float64(attempts))
	p.duration[attempts > 1].Observe(d.Seconds())
}

// retried counts the beginning of a new attempt.
func (p *poolMetrics) retried(r Reason, at Place) {
	if p != nil {
		increment(p.retries[retryAt{r, at}])
	}
}

// replayed counts a replay, however it ended, that ran this many statements in time d.
func (p *poolMetrics) replayed(statements int, d time.Duration) {
	if p != nil {
		p.replayedStatements.Add(float64(max(statements, 0)))
		p.replayDuration.Observe(d.Seconds())
	}
}

// statementPinned counts a statement that was run again with the generated values that were shown.
func (p *poolMetrics) statementPinned() {
	if p != nil {
		p.pinnedStatements.Inc()
	}
}

// readLocked counts a statement that was sent with a learned lock.
func (p *poolMetrics) readLocked() {
	if p != nil {
		p.lockedReads.Inc()
	}
}

// lockChanged counts what has become of a text that locks, or would have.
func (p *poolMetrics) lockChanged(change LockChange) {
	if p != nil {
		increment(p.lockChanges[change])
	}
}

// diverged counts a replay that would have shown the application something else.
func (p *poolMetrics) diverged(kind DivergenceKind) {
	if p != nil {
		increment(p.divergences[kind])
	}
}

// notReplayable counts a transaction that is no longer recorded.
func (p *poolMetrics) notReplayable(cause Cause) {
	if p != nil {
		increment(p.notReplayables[cause])
	}
}

// asked counts a question for the outcome of a commit.
func (p *poolMetrics) asked(answer CommitAnswer) {
	if p != nil {
		increment(p.commitQuestions[answer])
	}
}

// failoverOutcome is what came of the loss of a connection under a transaction or a read. It is a label's value.
type failoverOutcome string

const (
	failoverDone    failoverOutcome = "replaced"       // another connection took its place
	failoverRefused failoverOutcome = "not_replayable" // the transaction, or its session, can't be made again elsewhere
	failoverFailed  failoverOutcome = "unreachable"    // no other connection was to be had within the bounds
)

var allFailoverOutcomes = []failoverOutcome{failoverDone, failoverRefused, failoverFailed}

// failedOver counts the loss of a connection, and the time d that it took to replace it.
func (p *poolMetrics) failedOver(o failoverOutcome, d time.Duration) {
	if p != nil {
		increment(p.failovers[o])
		if o != failoverRefused {
			p.failoverDuration.Observe(d.Seconds())
		}
	}
}

// sessionAbandoned counts a server that fell silent and was asked to cancel.
func (p *poolMetrics) sessionAbandoned() {
	if p != nil {
		p.abandoned.Inc()
	}
}

// dialOutcome is what came of an attempt to connect to a host. It is a label's value.
type dialOutcome string

const (
	dialOpened      dialOutcome = "opened"
	dialUnreachable dialOutcome = "unreachable" // no connection, or none in time
	dialRefused     dialOutcome = "refused"     // the server is going away or coming up
	dialFull        dialOutcome = "full"        // it has as many connections as it takes
	dialRejected    dialOutcome = "rejected"    // it does not want this login
	dialCancelled   dialOutcome = "cancelled"   // the context was done
	dialSkipped     dialOutcome = "skipped"     // not attempted: the host is in doubt, and another attempt is under way
)

var allDialOutcomes = []dialOutcome{
	dialOpened, dialUnreachable, dialRefused, dialFull, dialRejected, dialCancelled, dialSkipped,
}

var dialOutcomes = map[fleet.Failure]dialOutcome{
	fleet.Unreachable: dialUnreachable, fleet.Refused: dialRefused, fleet.Full: dialFull, fleet.Rejected: dialRejected,
}

// dialed counts an attempt to connect to a host.
func (p *poolMetrics) dialed(o dialOutcome) {
	if p != nil {
		increment(p.dials[o])
	}
}

// retired counts a connection that was closed while idle.
func (p *poolMetrics) retired() {
	if p != nil {
		p.retirements.Inc()
	}
}

// retryThrottled counts a retry that there was no token for.
func (p *poolMetrics) retryThrottled() {
	if p != nil {
		p.throttled.Inc()
	}
}

// savepointRefused counts a restart by savepoint that the server could not do.
func (p *poolMetrics) savepointRefused() {
	if p != nil {
		p.savepointsRefused.Inc()
	}
}

// waited adds a wait before a new attempt, other than for the retry lane.
func (p *poolMetrics) waited(d time.Duration) {
	if p != nil {
		p.backoff.Add(max(d, 0).Seconds())
	}
}

// waitedForLane adds a wait for the retry lane.
func (p *poolMetrics) waitedForLane(d time.Duration) {
	if p != nil {
		p.laneWait.Add(max(d, 0).Seconds())
	}
}

// laneWaiting changes the number of transactions that are waiting for the retry lane.
func (p *poolMetrics) laneWaiting(delta int) {
	if p != nil {
		p.laneQueue.Add(float64(delta))
	}
}

// historyBytes changes the number of bytes held by the records of open transactions.
func (p *poolMetrics) historyBytes(delta int) {
	if p != nil {
		p.history.Add(float64(delta))
	}
}

// protection counts what has ended, by how far it was protected.
func (p *poolMetrics) protection(of protected, e extent) {
	if p != nil {
		p.protections[of][e].Inc()
	}
}

// protectionEnded counts what was not protected all the time.
func (p *poolMetrics) protectionEnded(cause Cause) {
	if p != nil {
		increment(p.protectionEnds[cause])
	}
}
