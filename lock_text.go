package cockroachdb

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

// lockTexts are what a connector has learned of the reads by key that diverged.
type lockTexts struct {
	some atomic.Bool // that a text has diverged; every query of a transaction looks, and so takes no lock

	mu    sync.Mutex
	byKey map[wire.DescriptionKey]*lockText
	bytes int // of all texts
}

// lockText is what is known of a text that has diverged. All but the first two are guarded by lockTexts.mu.
type lockText struct {
	sql  string // as the application has it
	read *sqltext.KeyRead

	stage    lockStage
	barred   time.Time // until then it is not to be locked
	since    time.Time // when the counting of plain began
	diverged int       // how often the text has, since then, in a transaction that wrote the row that it had read

	plain  lockTally // of transactions in which it ran as it is, since then
	locked lockTally // of those in which it locked, since the latest verdict
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
	diverged  int           // that something in them diverged
	unwritten int           // that did not write to the text's table after it
	spent     time.Duration // from their first statement to their end, all together
}

// lockUse is a text that has run in a transaction.
type lockUse struct {
	text    *lockText
	locked  bool // with the lock
	written bool // after it its table was written
}

// A text locks once it has diverged learnDivergences times within learnWithin, in transactions that wrote the row that
// they had read, if those were one of learnShare or more. It is judged anew each time that it has locked in
// lockVerdict transactions.
const (
	learnDivergences = 4
	learnRuns        = 16
	learnShare       = 20
	learnWithin      = time.Minute
	lockVerdict      = 64
	lockBarred       = 5 * time.Minute // for how long a text does not lock after it was unlearned
)

// newLockTexts returns nil if nothing is to be learned.
func newLockTexts(cfg *Config) *lockTexts {
	if !cfg.LearnLocks {
		return nil
	}
	return &lockTexts{byKey: make(map[wire.DescriptionKey]*lockText)}
}

// isEmpty reports whether nothing has diverged yet.
func (l *lockTexts) isEmpty() bool { return !l.some.Load() }

// find returns what is known of a text, and whether it locks; nil if nothing is.
func (l *lockTexts) find(key wire.DescriptionKey) (text *lockText, locks bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text = l.byKey[key]; text == nil {
		return nil, false
	}
	return text, text.stage == lockLearned
}

// noteDiverged notes that a text has diverged whose row the transaction then wrote.
func (l *lockTexts) noteDiverged(key wire.DescriptionKey, read *sqltext.KeyRead) *lockText {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.byKey[key]
	if text == nil {
		size := 2*len(key.SQL) + len(key.Session)
		if l.bytes += size; l.bytes > mostTextBytes {
			clear(l.byKey)
			l.bytes = size
		}
		text = &lockText{sql: key.SQL, read: read, since: time.Now()}
		l.byKey[key] = text
		l.some.Store(true)
	}
	text.diverged++
	return text
}

// noteEnd counts a transaction in which a text ran. It reports whether the server is to be asked now whether the text
// reads by key; and what has become of the text, or "".
func (l *lockTexts) noteEnd(u *lockUse, committed, diverged bool, took time.Duration) (ask bool, change LockChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := u.text
	switch {
	case u.locked != (text.stage == lockLearned):
		return false, "" // it has changed in between
	case !u.locked:
		text.plain.count(u, committed, diverged, took)
		return text.isToLock(time.Now()), ""
	}
	text.locked.count(u, committed, diverged, took)
	if text.locked.runs < lockVerdict {
		return false, ""
	}
	if change = text.locked.verdict(&text.plain); change != "" {
		text.bar(time.Now())
	}
	text.locked = lockTally{}
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
	case t.diverged < learnDivergences, n.runs < learnRuns, learnShare*t.diverged < n.runs, 2*n.unwritten > n.runs:
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
	text.stage, text.locked = lockLearned, lockTally{}
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
	t.stage, t.since, t.diverged, t.plain = lockWatched, from, 0, lockTally{}
}

func (t *lockTally) count(u *lockUse, committed, diverged bool, took time.Duration) {
	t.runs++
	t.spent += took
	if committed {
		t.commits++
	}
	if diverged {
		t.diverged++
	}
	if !u.written {
		t.unwritten++
	}
}

// costlier is how much longer a commit may take with the locks than before.
const costlier = 3

// verdict says why locking does not pay, given what there was without it; "" if it does.
func (t *lockTally) verdict(plain *lockTally) LockChange {
	switch {
	case 2*t.unwritten > t.runs:
		return LockUnwritten
	case 2*t.diverged*plain.runs > plain.diverged*t.runs:
		return LockInVain
	case plain.commits > 0 && float64(t.spent)*float64(plain.commits) > costlier*float64(plain.spent)*float64(t.commits):
		return LockCostly
	}
	return ""
}
