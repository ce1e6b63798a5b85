package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// A Demo is examples/bank, with metrics.
type Demo struct {
	process *process
	url     string

	// Target is the address that it serves /metrics on.
	Target string

	// Database is the db_name of the pool it runs on.
	Database string
}

// Root is the repository's folder: the one around the working directory that has the demonstration.
func Root() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "examples", "bank")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("run this inside of the repository")
		}
		folder = parent
	}
}

// StartDemo builds the demonstration and starts it with flags, on a free loopback port. It comes back when the
// driver's pool is there.
func StartDemo(ctx context.Context, scratch string, flags ...string) (*Demo, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	examples, binary := filepath.Join(root, "examples"), filepath.Join(scratch, "bank")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./bank")
	build.Dir = examples
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the demonstration: %w\n%s", err, out)
	}
	args := append([]string{"-drivers", "cockroachdb", "-metrics", "127.0.0.1:0"}, flags...)
	p, err := start(scratch, examples, binary, args...)
	if err != nil {
		return nil, err
	}
	d := &Demo{process: p}
	if err := until(ctx, p, d.ready); err != nil {
		return nil, errors.Join(p.failed(err), d.Stop())
	}
	return d, nil
}

var (
	servedAt = regexp.MustCompile(`metrics: (http://(\S+)/metrics)`)
	pool     = regexp.MustCompile(`\ncockroachdb_transactions_total\{db_name="([^"]+)",outcome="committed"\} [1-9]`)
)

// ready reports an error until transactions have committed.
func (d *Demo) ready(ctx context.Context) error {
	found := servedAt.FindStringSubmatch(d.process.output())
	if found == nil {
		return errors.New("it does not serve metrics yet")
	}
	d.url, d.Target = found[1], found[2]
	text, err := get(ctx, d.url)
	if err != nil {
		return err
	}
	found = pool.FindStringSubmatch(text)
	if found == nil {
		return errors.New("nothing has committed yet")
	}
	d.Database = found[1]
	return nil
}

// Ended is closed when the demonstration has come to its end, or was stopped.
func (d *Demo) Ended() <-chan struct{} { return d.process.ended }

// Stop ends the demonstration, and all that it has started.
func (d *Demo) Stop() error { return d.process.stop() }

// until calls ready until it has no error, the process ends, or the context does.
func until(ctx context.Context, p *process, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
		case <-p.ended:
			return fmt.Errorf("it has ended; last: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// client keeps no connection, whose goroutines would be left over.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func get(ctx context.Context, from string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", from, response.Status)
	}
	text, err := io.ReadAll(response.Body)
	return string(text), err
}
