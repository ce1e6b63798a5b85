//go:build !unix

package guarded

import (
	"context"
	"errors"
)

// A Server is not available here: ending it with its parent, whatever happens, is done with Unix means.
type Server struct{}

// Start returns an error.
func Start(Command) (*Server, error) {
	return nil, errors.New("servers are started on Linux and macOS only: set COCKROACH_URL to a CockroachDB that is running")
}

// Folder is that of no server.
func (g *Server) Folder() string { return "" }

// Await awaits nothing.
func (g *Server) Await(context.Context, func() error) error { return nil }

// Failure returns err.
func (g *Server) Failure(err error) error { return err }

// Stop stops nothing.
func (g *Server) Stop() error { return nil }
