package main

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/bench/internal/aside"
)

func TestMain(m *testing.M) {
	if aside.IsServer() {
		exitOn(aside.Serve(replies))
		return
	}
	os.Exit(m.Run())
}

func TestStorms_Few_OpenAllWithoutErrors(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a database, which -short leaves out")
	}
	var out strings.Builder
	o := options{conns: 5, turns: 2}
	require.NoError(t, measureStorms(t.Context(), &out, &o))
	require.NoError(t, measureLogins(t.Context(), &out, &o))
	for _, s := range stormers {
		assert.Equal(t, 2, strings.Count(out.String(), "| "+s.title+" | 5 | 0 |"), "on both servers: %s", &out)
	}
}

func TestProfile_ALockOthersWaitFor_CountsAtItsHolder(t *testing.T) {
	p := profileOf("mutex")
	before, err := p.start()
	require.NoError(t, err)
	got := make(waits)
	require.Eventually(t, func() bool {
		holdWhileAnotherWaits()
		after, err := p.read()
		require.NoError(t, err)
		got.add(after, before)
		return got[module+"/bench/scale.holdWhileAnotherWaits"].times > 0
	}, time.Minute, time.Millisecond)
	assert.Positive(t, got.of(rest).took)
	_, err = p.stop()
	require.NoError(t, err)
}

func holdWhileAnotherWaits() {
	var mu sync.Mutex
	var wg sync.WaitGroup
	mu.Lock()
	wg.Go(func() {
		mu.Lock()
		defer mu.Unlock()
	})
	time.Sleep(time.Millisecond) // most likely long enough; if not, it is called again
	mu.Unlock()
	wg.Wait()
}

func TestOwner_Function_IsThatOfItsPackage(t *testing.T) {
	for function, want := range map[string]string{
		module + ".(*pool).acquired":                      thisDriver,
		module + "/internal/lane.(*Lane).TryEnter":        thisDriver,
		"main.(*load).runFor.func1":                       rest,
		"database/sql.(*DB).putConn":                      ofSQL,
		"github.com/jackc/pgx/v5/stdlib.(*Driver).Open":   "pgx",
		"runtime.unlock":                                  "Go's runtime",
		"runtime._LostContendedRuntimeLock":               "Go's runtime",
		"github.com/prometheus/client_golang.(*x).Lookup": rest,
	} {
		assert.Equal(t, want, ownerOf(function), function)
	}
}
