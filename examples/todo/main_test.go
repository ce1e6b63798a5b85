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

// TestServe has a conflict in each transaction, looks at the log and the metrics, and ends it.
func TestServe(t *testing.T) {
	dsn := enginetest.NewDB(t)
	require.Equal(t, exitOK, mainStatus([]string{"init", "-url", dsn}, io.Discard, io.Discard))
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)

	stdout, log, status := new(buffer), new(buffer), make(chan int)
	go func() {
		status <- mainStatus([]string{"serve", "-url", dsn, "-listen", "127.0.0.1:0", "-metrics", "127.0.0.1:0", "-wire", "-conflicts"}, stdout, log)
	}()
	address := regexp.MustCompile(`(?s)metrics: (http://\S+).*the list: (http://\S+)/ `)
	require.Eventually(t, func() bool { return address.MatchString(stdout.String()) }, time.Minute, 5*time.Millisecond)
	at := address.FindStringSubmatch(stdout.String())

	v := newVisit(t, at[2])
	page := v.post("/new", item("Buy milk", "Two bottles."))
	assert.Equal(t, http.StatusOK, page.StatusCode)
	assert.Contains(t, page.main(), "The item was added.")
	assert.Regexp(t, `msg=wire id=\w+ attempt=2 replay=true sql="INSERT`, log.String())
	assert.Regexp(t, `msg=conflict id=\w+ attempts=4 reason=injected at=statement outcome=committed`, log.String())
	assert.Regexp(t, `msg=request id=\w+ method=POST path=/new status=303`, log.String())
	v.address = strings.TrimSuffix(at[1], "/metrics")
	assert.Contains(t, v.get("/metrics").body, `cockroachdb_transaction_retries_total{`)
	t.Log("\n" + log.String())

	require.NoError(t, self.Signal(os.Interrupt))
	assert.Equal(t, exitOK, <-status)
}
