package cockroachdb

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// A ledger counts for a connector how far what it ran was protected. To count what was protected takes no lock.
type ledger struct {
	since   time.Time
	tallies [protecteds]tally

	mu       sync.Mutex
	causes   map[Cause]int64
	texts    map[textKey]*endingText
	shapes   map[string]string // of texts met before, so that they need not be read again
	unlisted int64
	clock    int64
}

// A tally counts by extent.
type tally [extents]atomic.Int64

func (t *tally) protection() Protection {
	whole, untilCommit := t[protectedWhole].Load(), t[protectedUntilCommit].Load()
	return Protection{
		Total: whole + untilCommit + t[protectionEnded].Load(), UntilCommit: whole + untilCommit, Whole: whole,
	}
}

type textKey struct {
	shape string
	cause Cause
}

type endingText struct {
	ReportText
	latest int64 // when it was last counted, by the ledger's clock
}

const (
	mostTexts  = 100
	mostShapes = 256     // of texts that are kept with their literals,
	shapeLimit = 4 << 10 // each of no more bytes than these
)

func newLedger() *ledger {
	return &ledger{
		since: time.Now(), causes: make(map[Cause]int64), texts: make(map[textKey]*endingText),
		shapes: make(map[string]string),
	}
}

// count counts what has ended.
func (l *ledger) count(of protected, s *shield, m *poolMetrics) {
	e := protectedWhole
	switch {
	case s.lost.cause != "":
		e = protectionEnded
		l.blame(&s.lost)
		m.protectionEnded(s.lost.cause)
	case s.atRisk:
		e = protectedUntilCommit
	}
	l.tallies[of][e].Add(1)
	m.protection(of, e)
}

// blame counts what has ended a protection.
func (l *ledger) blame(b *blame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.causes[b.cause]++
	if b.text == "" {
		return
	}
	l.clock++
	key := textKey{l.shapeOf(b.text), b.cause}
	t := l.texts[key]
	if t == nil {
		t = l.list(key, b.remedyText())
	}
	t.Count++
	t.latest = l.clock
}

// shapeOf returns the shape of a text. The caller holds mu.
func (l *ledger) shapeOf(text string) string {
	shape, ok := l.shapes[text]
	if ok {
		return shape
	}
	shape = sqltext.Shape(text)
	if len(l.shapes) >= mostShapes {
		clear(l.shapes)
	}
	if len(text) <= shapeLimit {
		l.shapes[text] = shape
	}
	return shape
}

// list makes room for a text, and puts it on the list. The one that makes room is the least frequent, and of those the
// one that was not met for the longest time: what comes often stays. The caller holds mu.
func (l *ledger) list(key textKey, remedy string) *endingText {
	if len(l.texts) >= mostTexts {
		var least *endingText
		var leastKey textKey
		for k, t := range l.texts {
			if least == nil || t.Count < least.Count || t.Count == least.Count && t.latest < least.latest {
				least, leastKey = t, k
			}
		}
		l.unlisted += least.Count
		delete(l.texts, leastKey)
	}
	t := &endingText{ReportText: ReportText{
		Fingerprint: fingerprintOf(key.shape), Text: key.shape, Cause: key.cause, Remedy: remedy,
	}}
	l.texts[key] = t
	return t
}

// report returns what was noted so far.
func (l *ledger) report() Report {
	r := Report{
		Since: l.since, At: time.Now(),
		Transactions: l.tallies[ofTransaction].protection(), Statements: l.tallies[ofStatement].protection(),
		Causes: []ReportCause{}, Texts: []ReportText{}, // not null, in JSON
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Unlisted = l.unlisted
	for cause, n := range l.causes {
		r.Causes = append(r.Causes, ReportCause{Cause: cause, Count: n, Remedy: remedies[cause]})
	}
	for _, t := range l.texts {
		r.Texts = append(r.Texts, t.ReportText)
	}
	slices.SortFunc(r.Causes, func(a, b ReportCause) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause))
	})
	slices.SortFunc(r.Texts, func(a, b ReportText) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text), cmp.Compare(a.Cause, b.Cause))
	})
	return r
}

func fingerprintOf(text string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return fmt.Sprintf("%016x", h.Sum64())
}
