package cockroachdb

import (
	"testing"
	"github.com/stretchr/testify/require"
)

func mustParse(t *testing.T, dsn string) *Config {
	t.Helper()
	cfg, err := ParseConfig(dsn)
	require.NoError(t, err)
	return cfg
}
