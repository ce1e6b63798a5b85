package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestCommandLine(t *testing.T) {
	t.Setenv("COCKROACH_URL", "")
	for line, wanted := range map[string]string{
		"":                     "which command?",
		"run":                  `there is no command "run"`,
		"serve":                "serve needs a database",
		"init":                 "init needs a database",
		"init -conflicts":      "-conflicts is for demo",
		"demo now":             `"now" is too much`,
		"demo -x":              "flag provided but not defined: -x",
		"-listen :1":           "which command?",
		"serve -url cockroach": "",
	} {
		var stderr bytes.Buffer
		status := mainStatus(strings.Fields(line), io.Discard, &stderr)
		if wanted == "" {
			assert.Equal(t, exitFailure, status, "%s: %s", line, &stderr)
			continue
		}
		assert.Equal(t, exitUsage, status, line)
		assert.Contains(t, stderr.String(), wanted)
		assert.Contains(t, stderr.String(), "Usage: todo demo|init|serve [flags]")
	}
	var help bytes.Buffer
	assert.Equal(t, exitOK, mainStatus([]string{"-h"}, io.Discard, &help))
	assert.Contains(t, help.String(), "find a database or start one")
}

// TestInit makes the table twice, and not by serving.
func TestInit(t *testing.T) {
	dsn := enginetest.NewDB(t)
	var stderr bytes.Buffer
	assert.Equal(t, exitFailure, mainStatus([]string{"serve", "-url", dsn, "-listen", "127.0.0.1:0"}, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), "make it with todo init")
	for range 2 {
		var stdout bytes.Buffer
		assert.Equal(t, exitOK, mainStatus([]string{"init", "-url", dsn}, &stdout, io.Discard))
		assert.Contains(t, stdout.String(), "the table todos is there")
	}
}

// TestDemo has a conflict in each transaction, looks at the log and the metrics, and ends it.
func TestDemo(t *testing.T) {
	if enginetest.Get(t).IsCockroach() {
		t.Skip("injects faults, which needs crdbsim; this engine is " + enginetest.Get(t).Name())
	}
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)

	stdout, log, status := new(buffer), new(buffer), make(chan int)
	go func() {
		status <- mainStatus([]string{"demo", "-listen", "127.0.0.1:0", "-metrics", "127.0.0.1:0", "-wire", "-conflicts"},
			stdout, log)
	}()
	address := regexp.MustCompile(`(?s)metrics: (http://\S+).*the list: (http://\S+)/ `)
	require.Eventually(t, func() bool { return address.MatchString(stdout.String()) }, time.Minute, 5*time.Millisecond)
	at := address.FindStringSubmatch(stdout.String())

	v := newVisit(t, at[2])
	page := v.post("/new", item("Buy milk", "Two bottles."))
	assert.Equal(t, http.StatusOK, page.StatusCode)
	assert.Contains(t, page.main(), "The item was added.")
	assert.Regexp(t, `msg=wire id=\w+ attempt=2 replay=true sql="INSERT`, log.String())
	assert.Regexp(t, `msg=conflict id=\w+ attempts=2 reason=serializable at=commit outcome=committed`, log.String())
	assert.Regexp(t, `msg=request id=\w+ method=POST path=/new status=303`, log.String())
	v.address = strings.TrimSuffix(at[1], "/metrics")
	assert.Contains(t, v.get("/metrics").body, `cockroachdb_transaction_retries_total{`)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	assert.Contains(t, string(readme), "```\n"+onTheWire(log.String())+"```")

	require.NoError(t, self.Signal(os.Interrupt))
	assert.Equal(t, exitOK, <-status)
}

// onTheWire is what the first request has sent, as README.md shows it.
func onTheWire(log string) (lines string) {
	sent := regexp.MustCompile(`msg=wire id=(\w+) (.*\n)`).FindAllStringSubmatch(log, -1)
	for _, s := range sent {
		if s[1] == sent[0][1] {
			lines += s[2]
		}
	}
	return lines
}
