package program

import (
	"fmt"
	"testing"
	"time"
	"os"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestDebug(t *testing.T) {
	g, err := NewGroup(t.Context(), enginetest.Get(t), 4, os.Getenv("PG") != "", cockroachdb.NewMetrics())
	require.NoError(t, err)
	t.Cleanup(g.Close)
	n, _ := strconv.Atoi(os.Getenv("N"))
	names := map[string]int{}
	for seed := range n {
		w, _ := strconv.Atoi(os.Getenv("W"))
		r := NewRound(uint64(seed), Size{Workers: w, Programs: 12, Keys: 6})
		if os.Getenv("CALM") != "" {
			r.Faults = Faults{}
			for _, p := range r.programs() { p.Cancel = nil }
		}
		start := time.Now()
		h, err := g.Play(t.Context(), r)
		require.NoError(t, err)
		bad := Check(r, h)
		for _, a := range bad {
			t.Error(seed, a)
		}
		for _, res := range h.Results { if res.Err == nil { names["ok"]++ } else {names[Named(res.Err)]++ }}
		fmt.Println(seed, time.Since(start), len(h.Commits), len(h.Results), h.Faults)
		if len(bad) > 0 { break }
	}
	fmt.Println(names)
}
