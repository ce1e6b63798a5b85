//go:build go1.27

package migrating

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestLibPQSlices: without pq.Array, without an SQLScanner.
func TestLibPQSlices(t *testing.T) {
	_, newer := pair(t)
	assert.Equal(t, []string{"Ada", "Bob"}, one[[]string](t, newer, "SELECT array_agg(owner ORDER BY id) FROM accounts"))
}
