//go:build !unix

package pgbouncer

import (
	"context"
	"errors"
)

// ErrNone is the error of [New].
var ErrNone = errors.New("this operating system is none that PgBouncer is started on here")

// Options are of no use here.
type Options struct{ Servers int }

// A PgBouncer is nil here.
type PgBouncer struct{}

// New returns ErrNone.
func New(context.Context, string, Options) (*PgBouncer, error) { return nil, ErrNone }

// DSN is "" here.
func (*PgBouncer) DSN() string { return "" }

// Do returns ErrNone.
func (*PgBouncer) Do(context.Context, string) ([]map[string]string, error) { return nil, ErrNone }

// StartAgain returns ErrNone.
func (*PgBouncer) StartAgain(context.Context) error { return ErrNone }

// Close does nothing.
func (*PgBouncer) Close() error { return nil }
