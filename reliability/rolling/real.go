package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb/internal/engine"
)

// A realTarget is a cluster that is running, with commands to stop and start its nodes.
type realTarget struct {
	o      options
	engine *engine.Engine
}

func newRealTarget(ctx context.Context, o options) (*realTarget, error) {
	e, err := engine.Start(ctx, engine.Options{URL: o.url})
	if err != nil {
		return nil, err
	}
	return &realTarget{o, e}, nil
}

func (t *realTarget) name() string { return t.engine.Name() }

func (t *realTarget) nodes() int { return t.o.nodes }

func (t *realTarget) newDatabase(ctx context.Context) (dsn, sure string, drop func(), err error) {
	dsn, drop, err = t.engine.NewDatabase(ctx)
	return withParams(dsn, t.o.params), dsn, drop, err
}

func (t *realTarget) takeAway(ctx context.Context, node int, away time.Duration) error {
	began := time.Now()
	if err := shell(ctx, t.o.stopCmd, node); err != nil {
		return err
	}
	return sleep(ctx, away-time.Since(began))
}

func (t *realTarget) bringBack(ctx context.Context, node int) error {
	return shell(ctx, t.o.startCmd, node)
}

func (t *realTarget) close() error { return t.engine.Close() }

// shell runs a command for a node.
func shell(ctx context.Context, command string, node int) error {
	command = strings.ReplaceAll(command, "{node}", strconv.Itoa(node))
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}
