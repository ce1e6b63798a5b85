package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

// ErrNone is the error where Prometheus' programs are not to be found.
var ErrNone = errors.New(`there is no prometheus and no promtool, neither on the PATH nor in .cache/prometheus: run tools/install-prometheus, or make monitoring`)

// Find gives the path of prometheus or promtool.
func Find(program string) (string, error) {
	if found, err := exec.LookPath(program); err == nil {
		return found, nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	if found, err := exec.LookPath(filepath.Join(root, ".cache", "prometheus", program)); err == nil {
		return found, nil
	}
	return "", ErrNone
}

// Job is the job's name of what a Prometheus scrapes.
const Job = "bank"

// A Prometheus is a server that scrapes a Demo every second, and evaluates rules as often.
type Prometheus struct {
	v1.API
	process *process
}

// A Past is a series that a server knows of from long before it was started: a sample a minute, From and To so long
// ago.
type Past struct {
	Series   string // in OpenMetrics' words
	Value    float64
	From, To time.Duration
}

// StartPrometheus starts a server with rules on a free loopback port, on a storage of its own below scratch.
func StartPrometheus(
	ctx context.Context, scratch string, d *Demo, ruleFiles []string, past ...Past,
) (*Prometheus, error) {
	binary, err := Find("prometheus")
	if err != nil {
		return nil, err
	}
	storage := filepath.Join(scratch, "storage")
	if err := remember(ctx, scratch, storage, past); err != nil {
		return nil, err
	}
	config := filepath.Join(scratch, "prometheus.yml")
	if err := os.WriteFile(config, []byte(configuration(d, ruleFiles)), 0o600); err != nil {
		return nil, err
	}
	p, err := start(scratch, scratch, binary,
		"--config.file="+config, "--storage.tsdb.path="+storage, "--web.listen-address=127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &Prometheus{process: p}
	if err := until(ctx, p, server.ready); err != nil {
		return nil, errors.Join(p.failed(err), server.Stop())
	}
	return server, nil
}

func configuration(d *Demo, ruleFiles []string) string {
	var b strings.Builder
	b.WriteString("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:\n")
	for _, file := range ruleFiles {
		fmt.Fprintf(&b, "  - %q\n", file)
	}
	fmt.Fprintf(&b, "scrape_configs:\n  - job_name: %s\n    static_configs: [{targets: [%q]}]\n", Job, d.Target)
	return b.String()
}

// remember writes the past into the storage, with promtool.
func remember(ctx context.Context, scratch, storage string, past []Past) error {
	if len(past) == 0 {
		return nil
	}
	promtool, err := Find("promtool")
	if err != nil {
		return err
	}
	var b strings.Builder
	now := time.Now()
	for _, p := range past {
		for at := now.Add(-p.From); at.Before(now.Add(-p.To)); at = at.Add(time.Minute) {
			fmt.Fprintf(&b, "%s %v %d\n", p.Series, p.Value, at.Unix())
		}
	}
	b.WriteString("# EOF\n")
	file := filepath.Join(scratch, "past.txt")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, promtool, "tsdb", "create-blocks-from", "openmetrics", file, storage)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("write the past: %w\n%s", err, out)
	}
	return nil
}

var listensOn = regexp.MustCompile(`(?:Listening on"? address=|Listening on","address":")(127\.0\.0\.1:\d+)`)

// ready reports an error until the server answers.
func (p *Prometheus) ready(ctx context.Context) error {
	found := listensOn.FindStringSubmatch(p.process.output())
	if found == nil {
		return errors.New("it does not listen yet")
	}
	if _, err := get(ctx, "http://"+found[1]+"/-/ready"); err != nil {
		return err
	}
	c, err := api.NewClient(api.Config{Address: "http://" + found[1], Client: client})
	if err != nil {
		return err
	}
	p.API = v1.NewAPI(c)
	return nil
}

// Stop ends the server.
func (p *Prometheus) Stop() error { return p.process.stop() }
