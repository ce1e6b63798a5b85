package cockroachdb

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// learnedLocks are what a connector has learned of reads by key that lost. What pays in RunTx need not pay in unchanged
// code, and so they learn apart. Either is nil if it does not learn.
type learnedLocks struct{ inRunTx, elsewhere *lockTexts }

func newLearnedLocks(learning LockLearning) (l learnedLocks) {
	if learning != LearnLocksNever {
		l.inRunTx = newLockTexts(&rulesInRunTx)
	}
	if learning == LearnLocksAlways {
		l.elsewhere = newLockTexts(&rulesElsewhere)
	}
	return l
}

// lockTexts are the texts that were learned for some of the transactions.
type lockTexts struct {
	rules *lockRules

	known atomic.Bool // a text has lost; every query of a transaction looks, and so takes no lock

	mu    sync.Mutex
	byKey map[wire.DescriptionKey]*lockText
	bytes int // of all texts
}

// lockText is what is known of a text that has lost: of which a row that it had read was written by others before its
// transaction wrote it. All but the first three are guarded by lockTexts.mu.
type lockText struct {
	of   *lockTexts
	sql  string // as the application has it
	read *sqltext.KeyRead

	stage  lockStage
	barred time.Time // until then it is not to be locked
	since  time.Time // when the counting of plain began
	lost   int       // how often the text has since then

	plain  lockTally // of transactions in which it ran as it is, since then
	locked lockTally // of those in which it locked, since the latest verdict
	first  bool      // locked is of those that came first, beside some that did not lock
}

// lockStage is what is done with a text.
type lockStage uint8

const (
	lockWatched lockStage = iota // it runs as it is
	lockAsked                    // likewise, and the server is being asked whether it reads by key
	lockLearned                  // it locks
)

// lockTally counts transactions in which a text ran.
type lockTally struct {
	runs      int
	commits   int
	lost      int           // that something in them has diverged, or RunTx has called its function again
	unwritten int           // that did not write to the text's table after it
	spent     time.Duration // from their first statement to their end, all together
}

// lockUse is a text that has run in a transaction.
type lockUse struct {
	text    *lockText
	locked  bool // with the lock
	written bool // after it its table was written
}

// lockRules say when a text locks, and when it does not any more.
type lockRules struct {
	runs     int     // it has run so often before it locks,
	verdict  int     // and it is judged each time that it has locked in so many transactions,
	second   bool    // but not the first time
	costlier float64 // how many times as long a commit may take with the lock as before
	spares   bool    // it must spare half of the losses
}

// In unchanged code each loss is an error that the application sees, and a lock may cost something. In RunTx it costs
// nothing but time, and the lock must not take more.
var (
	rulesElsewhere = lockRules{runs: 16, verdict: 64, costlier: 3, spares: true}
	rulesInRunTx   = lockRules{runs: 128, verdict: 128, second: true, costlier: 1.25}
)

// A text locks once it has lost learnLosses times within learnWithin, in one of learnShare of the transactions or more.
const (
	learnLosses = 4
	learnShare  = 20
	learnWithin = time.Minute
	lockBarred  = 5 * time.Minute // for how long a text does not lock after it was unlearned
)

func newLockTexts(rules *lockRules) *lockTexts {
	return &lockTexts{rules: rules, byKey: make(map[wire.DescriptionKey]*lockText)}
}

// isEmpty reports whether nothing has lost yet.
func (l *lockTexts) isEmpty() bool { return !l.known.Load() }

// find returns what is known of a text, and whether it locks; nil if nothing is.
func (l *lockTexts) find(key wire.DescriptionKey) (text *lockText, locks bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text = l.byKey[key]; text == nil {
		return nil, false
	}
	return text, text.stage == lockLearned
}

// noteLost notes that others have written the row that a text had read before its transaction wrote it.
func (l *lockTexts) noteLost(key wire.DescriptionKey, read *sqltext.KeyRead) *lockText {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.byKey[key]
	if text == nil {
		size := 2*len(key.SQL) + len(key.Session)
		if l.bytes += size; l.bytes > mostTextBytes {
			clear(l.byKey)
			l.bytes = size
		}
		text = &lockText{of: l, sql: key.SQL, read: read, since: time.Now()}
		l.byKey[key] = text
		l.known.Store(true)
	}
	text.lost++
	return text
}

// noteEnd counts a transaction in which a text ran. It reports whether the server is to be asked now whether the text
// reads by key; and what has become of the text, or "".
func (l *lockTexts) noteEnd(u *lockUse, committed, lost bool, took time.Duration) (ask bool, change LockChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := u.text
	switch {
	case u.locked != (text.stage == lockLearned):
		return false, "" // it has changed in between
	case !u.locked:
		text.plain.count(u, committed, lost, took)
		return text.isToLock(time.Now()), ""
	}
	text.locked.count(u, committed, lost, took)
	if text.locked.runs < l.rules.verdict {
		return false, ""
	}
	if !text.first {
		change = l.rules.judge(&text.locked, &text.plain)
	}
	if change != "" {
		text.bar(time.Now())
	}
	text.locked, text.first = lockTally{}, false
	return false, change
}

// isToLock reports whether it is time to lock, and the server is to be asked first. The caller holds mu.
func (t *lockText) isToLock(now time.Time) bool {
	n := &t.plain
	switch {
	case t.stage != lockWatched:
		return false
	case now.Before(t.barred):
		t.watch(t.barred)
		return false
	case now.Sub(t.since) > learnWithin:
		t.watch(now)
		return false
	case t.lost < learnLosses, n.runs < t.of.rules.runs, learnShare*t.lost < n.runs, 2*n.unwritten > n.runs:
		return false
	}
	t.stage = lockAsked
	return true
}

// answered takes note of whether the server says that a text reads by key.
func (l *lockTexts) answered(text *lockText, byKey bool) LockChange {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !byKey {
		text.bar(time.Now())
		return LockNoKey
	}
	text.stage, text.locked, text.first = lockLearned, lockTally{}, l.rules.second
	return LockLearned
}

// unasked has a text watched as before: the server could not be asked.
func (l *lockTexts) unasked(text *lockText) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text.stage = lockWatched
}

// failed has a text not lock for a while. It reports whether it did so far.
func (l *lockTexts) failed(text *lockText) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	locked := text.stage == lockLearned
	text.bar(time.Now())
	return locked
}

// bar has a text not lock for a while. The caller holds mu.
func (t *lockText) bar(now time.Time) {
	t.barred = now.Add(lockBarred)
	t.watch(t.barred)
}

// watch begins to count anew. The caller holds mu.
func (t *lockText) watch(from time.Time) {
	t.stage, t.since, t.lost, t.plain = lockWatched, from, 0, lockTally{}
}

func (t *lockTally) count(u *lockUse, committed, lost bool, took time.Duration) {
	t.runs++
	t.spent += took
	if committed {
		t.commits++
	}
	if lost {
		t.lost++
	}
	if !u.written {
		t.unwritten++
	}
}

// judge says why locking does not pay, given what there was without it; "" if it does.
func (r *lockRules) judge(locked, plain *lockTally) LockChange {
	switch {
	case 2*locked.unwritten > locked.runs:
		return LockUnwritten
	case r.spares && 2*locked.lost*plain.runs > plain.lost*locked.runs:
		return LockInVain
	case float64(locked.spent)*float64(plain.commits) > r.costlier*float64(plain.spent)*float64(locked.commits):
		return LockCostly
	}
	return ""
}
