package main

import (
	"context"
	"strings"
	"time"
)

// A target is a cluster of which nodes can be taken away.
type target interface {
	name() string
	nodes() int
	// newDatabase makes an empty database; dsn is the clients', sure a way to look at it that no node can take away.
	newDatabase(ctx context.Context) (dsn, sure string, drop func(), err error)
	// takeAway takes the node with a number from 1 away, and returns when it has been so for as long as told.
	takeAway(ctx context.Context, node int, away time.Duration) error
	bringBack(ctx context.Context, node int) error
	close() error
}

func newTarget(ctx context.Context, o options) (target, error) {
	if o.url != "" {
		return newRealTarget(ctx, o)
	}
	return newSimTarget(ctx, o)
}

// withParams adds parameters to a DSN.
func withParams(dsn, params string) string {
	switch {
	case params == "":
		return dsn
	case strings.Contains(dsn, "?"):
		return dsn + "&" + params
	}
	return dsn + "?" + params
}

// sleep returns early, with why, if ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
