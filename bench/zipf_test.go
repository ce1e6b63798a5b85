package bench

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
)

// zipf draws from [0, n) with a probability that falls with the rank to the power of theta. YCSB's theta is below one,
// which math/rand's Zipf does not have.
type zipf struct{ cumulated []float64 }

func newZipf(n int, theta float64) zipf {
	z := zipf{make([]float64, n)}
	sum := 0.0
	for i := range z.cumulated {
		sum += math.Pow(float64(i+1), -theta)
		z.cumulated[i] = sum
	}
	return z
}

func (z zipf) draw(r *rand.Rand) int {
	return sort.SearchFloat64s(z.cumulated, r.Float64()*z.cumulated[len(z.cumulated)-1])
}

func TestZipf(t *testing.T) {
	const n, draws = 1000, 100_000
	z, r := newZipf(n, 0.99), rand.New(rand.NewPCG(1, 1))
	var seen [n]int
	for range draws {
		seen[z.draw(r)]++
	}
	// The sum of k^-0.99 for k up to 1000 is 7.729.
	require.InEpsilon(t, draws/7.729, seen[0], 0.05)
	require.InEpsilon(t, draws/7.729/math.Pow(10, 0.99), seen[9], 0.1)
	require.NotZero(t, seen[n/2])
}
