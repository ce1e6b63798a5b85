//go:build !unix

package engine

import (
	"context"
	"errors"
)

// guarded can't be had here: stopping a server with its parent, whatever happens, is done with Unix means.
type guarded struct{ folder string }

func startGuarded(string, string, ...string) (*guarded, error) {
	return nil, errors.New("servers are started on Linux and macOS only: set COCKROACH_URL to a CockroachDB that is running")
}

func (g *guarded) await(context.Context, func() error) error { return nil }
func (g *guarded) failure(err error) error                   { return err }
func (g *guarded) stop() error                               { return nil }
