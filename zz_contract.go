package cockroachdb

// Stand-ins for what the other branches bring; dropped at the merge.

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

type RetryPolicy struct {
	MaxAttempts       int
	MaxElapsed        time.Duration
	InitialBackoff    time.Duration
	MaxBackoff        time.Duration
	BackoffMultiplier float64
	LaneWait          time.Duration
	MaxStatements     int
	MaxBytes          int
}

func DefaultRetryPolicy() RetryPolicy {
	return RetryPolicy{
		MaxAttempts: 10, MaxElapsed: 30 * time.Second, InitialBackoff: 5 * time.Millisecond,
		MaxBackoff: time.Second, BackoffMultiplier: 2, LaneWait: 2 * time.Second,
		MaxStatements: 1000, MaxBytes: 1 << 20,
	}
}

func (p RetryPolicy) Validate() error {
	if p.MaxAttempts < 1 {
		return fmt.Errorf("cockroachdb: RetryPolicy.MaxAttempts must be at least 1, is %d", p.MaxAttempts)
	}
	if p.MaxBackoff < p.InitialBackoff {
		return errors.New("cockroachdb: RetryPolicy.MaxBackoff must not be below RetryPolicy.InitialBackoff")
	}
	return nil
}

type RetryThrottle struct {
	MaxTokens       int
	TokensPerCommit float64
}

func DefaultRetryThrottle() RetryThrottle { return RetryThrottle{MaxTokens: 100, TokensPerCommit: 0.1} }

func (t RetryThrottle) Validate() error {
	if t.MaxTokens < 1 {
		return fmt.Errorf("cockroachdb: RetryThrottle.MaxTokens must be at least 1, is %d", t.MaxTokens)
	}
	return nil
}

type (
	lane     struct{}
	throttle struct{}
)

func newLane() *lane                      { return &lane{} }
func newThrottle(RetryThrottle) *throttle { return &throttle{} }

type Conn struct {
	cn *Connector
	pc *pgx.Conn
}

func newConn(cn *Connector, pc *pgx.Conn) *Conn { return &Conn{cn: cn, pc: pc} }

func (c *Conn) Conn() *pgx.Conn                     { return c.pc }
func (c *Conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("stub") }
func (c *Conn) Begin() (driver.Tx, error)           { return nil, errors.New("stub") }
func (c *Conn) Close() error                        { return c.pc.Close(context.Background()) }

type retryReason string

const reasonOther retryReason = "other"

var allRetryReasons = []retryReason{
	"write_too_old", "serializable", "async_write_failure", "commit_deadline_exceeded", "aborted", "uncertainty",
	"forced", "injected", "serialization_failure", "deadlock", "stale_plan", reasonOther,
}

type DivergenceKind string

const (
	DivergedColumns   DivergenceKind = "columns"
	DivergedRow       DivergenceKind = "row"
	DivergedEndOfRows DivergenceKind = "end_of_rows"
	DivergedCount     DivergenceKind = "count"
	DivergedSQLState  DivergenceKind = "sqlstate"
)
