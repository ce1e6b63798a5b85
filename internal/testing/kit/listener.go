package kit

import (
	"context"
	"sync"

	"github.com/reprise-go/cockroachdb"
)

// A Listener keeps the events of a pool.
type Listener struct {
	mu      sync.Mutex
	Retries []cockroachdb.RetryEvent
	Ended   []cockroachdb.OutcomeEvent
}

// Hooks sets a Config's.
func (l *Listener) Hooks(c *cockroachdb.Config) {
	c.OnRetry = func(_ context.Context, e cockroachdb.RetryEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.Retries = append(l.Retries, e)
	}
	c.OnSettled = func(_ context.Context, e cockroachdb.OutcomeEvent) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.Ended = append(l.Ended, e)
	}
}
