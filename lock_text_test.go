package cockroachdb

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
	"github.com/reprise-go/cockroachdb/internal/wire"
)

func TestLockTexts_ManyTexts_TakeBoundedMemory(t *testing.T) {
	t.Parallel()
	texts := newLockTexts(&rulesElsewhere)
	most := 0
	for n := range 1000 {
		sql := fmt.Sprintf("SELECT v FROM kv WHERE k = '%d%s'", n, strings.Repeat("x", 4<<10))
		key := wire.DescriptionKey{SQL: sql}
		texts.noteLost(key, sqltext.ParseKeyRead(sql))
		found, _ := texts.find(key)
		require.NotNil(t, found, "the latest is kept")
		size := 0
		for key := range texts.byKey {
			size += 2 * len(key.SQL)
		}
		most = max(most, size)
	}
	assert.LessOrEqual(t, most, mostTextBytes)
	assert.Greater(t, most, mostTextBytes/2)
}

func TestLockRules_Judge(t *testing.T) {
	t.Parallel()
	plain := lockTally{runs: 100, commits: 80, lost: 20, spent: 100 * time.Second}
	for want, locked := range map[LockChange]lockTally{
		"":            {runs: 64, commits: 58, lost: 6, spent: 217 * time.Second, unwritten: 32},
		LockUnwritten: {runs: 64, commits: 64, unwritten: 33},
		LockInVain:    {runs: 64, commits: 57, lost: 7, spent: 64 * time.Second},
		LockCostly:    {runs: 64, commits: 60, lost: 4, spent: 226 * time.Second},
	} {
		assert.Equal(t, want, rulesElsewhere.judge(&locked, &plain), "%+v", locked)
	}
}
