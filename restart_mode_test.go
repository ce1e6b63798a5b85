package cockroachdb

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRestartMode_Unknown_IsRefused(t *testing.T) {
	t.Parallel()
	cfg := mustParse(t, "cockroachdb://db/bank")
	cfg.Restart = "by magic"
	_, err := NewConnector(cfg)
	require.ErrorContains(t, err, "Config.Restart")
	cfg.Restart = "" // of a Config made by hand
	_, err = NewConnector(cfg)
	require.NoError(t, err)
}

func TestVersion_Since_ComparesNumbers(t *testing.T) {
	t.Parallel()
	v := parseVersion("CockroachDB CCL v25.10.3 (x86_64-pc-linux-gnu, built 2026/01/01)")
	assert.Equal(t, version{25, 10}, v)
	assert.True(t, v.since(25, 10))
	assert.True(t, v.since(25, 2))
	assert.True(t, v.since(24, 11))
	assert.False(t, v.since(25, 11))
	assert.False(t, v.since(26, 1))
	assert.Equal(t, version{}, parseVersion("next"))
	assert.False(t, version{}.since(1, 0))
}
