package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// short is a command line for a run that takes no longer than it must.
func short(args ...string) []string {
	return append([]string{"-duration", "2s", "-workers", "8", "-accounts", "4"}, args...)
}

func TestRun(t *testing.T) {
	for contention, name := range map[string]string{likeCockroach: "CockroachDB's", likePostgreSQL: "PostgreSQL's"} {
		t.Run(contention, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := mainStatus(short("-contention", contention), &stdout, &stderr)
			require.Equal(t, exitOK, status, "%s", &stderr)

			out := stdout.String()
			assert.Regexp(t, `^engine: +\S.*\ncontention: `+name, out)
			assert.Regexp(t, `\n pgx +blind updates`, out)
			assert.Regexp(t, `\n cockroachdb +blind updates +[0-9,]+ +0 +0\.0%`, out, "blind updates can always be replayed")
			assert.Regexp(t, `\n cockroachdb .*\n +INSERT RETURNING, updates +[0-9,]+ +0 +0\.0%`, out,
				"so can a key that was shown")
			assert.Regexp(t, `\n +read-modify-write, RunTx +[0-9,]+ +0 +0\.0%`, out, "RunTx goes on until it commits")
			assert.Equal(t, 2, strings.Count(out, "add up to 4,000,000, as they must."))
			assert.Equal(t, 2*len(allKinds), strings.Count(stderr.String(), " committed, "),
				"a line for each load: it is no terminal")
			t.Log("\n" + out)
		})
	}
}

// rowsOf runs the demo, and returns the lines of JSON that it writes.
func rowsOf(t *testing.T, args ...string) (rows []jsonRow) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitOK, mainStatus(short(append(args, "-json")...), &stdout, &stderr), "%s", &stderr)
	for line := range strings.Lines(stdout.String()) {
		var row jsonRow
		require.NoError(t, json.Unmarshal([]byte(line), &row), line)
		rows = append(rows, row)
	}
	return rows
}

type jsonRow struct {
	Kind              string
	Committed, Failed int64
	Balanced          bool
}

func TestRunTx_EveryKindOnTheModel_NeverFails(t *testing.T) {
	rows := rowsOf(t, "-contention", likeCockroach, "-drivers", "cockroachdb+RunTx")
	require.Len(t, rows, len(allKinds))
	for _, row := range rows {
		assert.Zero(t, row.Failed, row.Kind)
		assert.Positive(t, row.Committed, row.Kind)
		assert.True(t, row.Balanced, row.Kind)
	}
}

func TestJSON(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := mainStatus(short("-duration", "500ms", "-json", "-kinds", "blind", "-drivers", "pgx+loop,cockroachdb+RunTx",
		"-params", "", "-params", "retry_lane_wait=1s&retry_max_attempts=7"), &stdout, &stderr)
	require.Equal(t, exitOK, status, "%s", &stderr)
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	require.Len(t, lines, 3)
	for i, driver := range []string{
		"pgx+loop", "cockroachdb+RunTx", "cockroachdb+RunTx retry_lane_wait=1s\\u0026retry_max_attempts=7",
	} {
		assert.Contains(t, lines[i], `"driver":"`+driver+`"`)
		assert.Contains(t, lines[i], `"balanced":true`)
		assert.Contains(t, lines[i], `"failed":0`)
	}
}

func TestMetricsAreServedWhileItRuns(t *testing.T) {
	var page string
	stderr := &onFirst{
		match: regexp.MustCompile(`(http://\S+)\n(?s:.*)cockroachdb, `), do: func(found []string) { page = get(t, found[1]) },
	}
	status := mainStatus(short("-metrics", "127.0.0.1:0", "-kinds", "blind"), io.Discard, stderr)
	require.Equal(t, exitOK, status, "%s", stderr)
	assert.Regexp(t, `\ncockroachdb_transactions_total\{db_name="\w+",outcome="committed"\} [1-9]`, page)
	assert.Regexp(t, `\ngo_sql_max_open_connections\{db_name="\w+"\} 8\n`, page)
}

func get(t *testing.T, url string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if !assert.NoError(t, err) {
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	assert.NoError(t, err)
	return string(body)
}

func TestInterrupt(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	for what, c := range map[string]struct {
		match, duration string
		after           time.Duration
	}{
		"while it sets up": {match: `bank: `, duration: "1m"},
		"in a load":        {match: `bank: `, duration: "1m", after: 500 * time.Millisecond},
		"between loads":    {match: `pgx, blind updates`, duration: "2s"},
	} {
		t.Run(what, func(t *testing.T) {
			interrupt := func() { assert.NoError(t, self.Signal(os.Interrupt)) }
			out := &onFirst{match: regexp.MustCompile(c.match), do: func([]string) {
				if c.after == 0 {
					interrupt()
				} else {
					time.AfterFunc(c.after, interrupt)
				}
			}}
			assert.Equal(t, exitInterrupted, mainStatus(short("-duration", c.duration), out, out), "%s", out)
			assert.Contains(t, out.String(), "bank: interrupted\n")
			assert.NotContains(t, out.String(), "absorbed", "no table")
		})
	}
}

// onFirst does something once what is written to it matches.
type onFirst struct {
	match *regexp.Regexp
	do    func(found []string)

	mu   sync.Mutex
	text strings.Builder
	done bool
}

func (w *onFirst) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.text.Write(p)
	if found := w.match.FindStringSubmatch(w.text.String()); found != nil && !w.done {
		w.done = true
		w.do(found)
	}
	return n, err
}

func (w *onFirst) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"help":         {[]string{"-h"}, exitOK, "-workers"},
		"unknown flag": {[]string{"-worker", "3"}, exitUsage, "flag provided but not defined: -worker"},
		"too much":     {[]string{"now"}, exitUsage, `"now" is too much`},
		"no time":      {[]string{"-duration", "0s"}, exitUsage, "-duration 0s: it must be above zero"},
		"nobody":       {[]string{"-workers", "0"}, exitUsage, "-workers 0: at least 1"},
		"one account":  {[]string{"-accounts", "1"}, exitUsage, "-accounts 1: at least 2"},
		"unknown kind": {
			[]string{"-kinds", "blind,keen"}, exitUsage, `there is no kind "keen"; there are blind,insert,forupdate,readwrite,ordered,modify`,
		},
		"unknown contention": {[]string{"-contention", "oracle"}, exitUsage, `-contention "oracle"`},
		"two contentions": {
			[]string{"-contention", "cockroachdb", "-postgres"}, exitUsage, "-postgres with -contention cockroachdb",
		},
		"a URL of PostgreSQL": {
			[]string{"-contention", "postgresql", "-url", "postgresql://h/d"}, exitUsage, "-url with -contention postgresql",
		},
		"unknown driver":   {[]string{"-drivers", "pq"}, exitUsage, `there is no driver "pq"`},
		"mistyped setting": {[]string{"-params", "retry_lane_weight=1s"}, exitUsage, "retry_lane_wait"},
		"idle settings": {
			[]string{"-drivers", "pgx", "-params", "retry_lane_wait=1s"}, exitUsage, "cockroachdb is not among the -drivers",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, c.status, mainStatus(c.args, &stdout, &stderr))
			assert.Contains(t, stderr.String(), c.says)
			assert.Contains(t, stderr.String(), "Usage of bank:")
			assert.Empty(t, stdout.String())
		})
	}
}

func TestNoServer(t *testing.T) {
	for name, args := range map[string][]string{
		"nobody listens":  {"-url", "postgresql://root:secret@127.0.0.1:1/defaultdb?connect_timeout=1"},
		"no such address": {"-metrics", "127.0.0.1:none"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, exitFailure, mainStatus(args, &stdout, &stderr))
			assert.Contains(t, stderr.String(), "bank: ")
			assert.NotContains(t, stderr.String(), "secret")
		})
	}
}

func TestStatusOfAnInterruptedRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	assert.Equal(t, exitFailure, status(ctx, io.EOF, io.Discard))
	cancel()
	assert.Equal(t, exitInterrupted, status(ctx, io.EOF, io.Discard))
	assert.Equal(t, exitOK, status(ctx, nil, io.Discard), "it was too late to interrupt anything")
}
