package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/crdbsim"
	"github.com/reprise-go/cockroachdb/internal/engine"
)

// runDemo is init and serve on the database that the tests and the bank would take.
func runDemo(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	found, err := engine.Start(ctx, engine.Options{URL: o.url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	fmt.Fprintln(stdout, "engine:", found.Name())
	o.url = found.URL()
	if o.conflicts {
		if found.IsCockroach() {
			return errors.New("-conflicts needs PostgreSQL in CockroachDB's place: unset COCKROACH_URL and take cockroach off the PATH")
		}
		found.Sim().Inject(everyOther())
	}
	if err := runInit(ctx, o, stdout, stderr); err != nil {
		return err
	}
	return runServe(ctx, o, stdout, stderr)
}

// everyOther has a commit fail with a conflict, and succeed when it is sent again.
func everyOther() *crdbsim.Fault {
	conflict := crdbsim.Action{Then: crdbsim.Fail, Error: crdbsim.Conflict("RETRY_SERIALIZABLE")}
	return &crdbsim.Fault{Pattern: regexp.MustCompile(`^RELEASE`), Times: -1, Do: func(p crdbsim.Point) crdbsim.Action {
		if p.Match%2 == 1 {
			return crdbsim.Action{}
		}
		return conflict
	}}
}

func runInit(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	db, err := open(o, newLogger(stderr))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if err := db.createTable(ctx); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "the table todos is there")
	return nil
}

func runServe(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	logger := newLogger(stderr)
	db, err := open(o, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if err := db.check(ctx); err != nil {
		return err
	}

	servers, ctx := errgroup.WithContext(ctx)
	page, err := listen(ctx, "-listen", o.listen)
	if err != nil {
		return err
	}
	if o.metrics != "" {
		metrics, err := listen(ctx, "-metrics", o.metrics)
		if err != nil {
			return errors.Join(err, page.Close())
		}
		fmt.Fprintf(stdout, "metrics: http://%s/metrics\n", reachable(metrics.Addr()))
		servers.Go(func() error { return serve(ctx, metrics, newServer(metricsHandler(), logger)) })
	}
	fmt.Fprintf(stdout, "the list: http://%s/ (Ctrl-C ends it)\n", reachable(page.Addr()))
	servers.Go(func() error { return serve(ctx, page, newServer(newApp(db.DB, logger).handler(), logger)) })
	return servers.Wait()
}

func newLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func listen(ctx context.Context, flag, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: choose another address with it, such as 127.0.0.1:0 for any free port", flag, err)
	}
	return listener, nil
}

// reachable is an address to open in a browser here: one without a host, as in :8080, is listened to on all of them.
func reachable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}

func metricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(cockroachdb.DefaultMetrics)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
