package sqltext

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHintsIn_Locks(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"SELECT v FROM kv FOR UPDATE", "select v from kv for no key update nowait", "SELECT v FROM kv FOR /**/ SHARE",
		"SELECT v FROM kv FOR KEY SHARE", "SELECT v FROM kv ORDER BY v FOR UPDATE OF kv SKIP LOCKED",
	} {
		assert.True(t, HintsIn(sql).Locks, sql)
	}
	for _, sql := range []string{
		"SELECT v FROM kv", "SELECT 'for update'", "SELECT v -- FOR UPDATE", `SELECT v FROM "for update"`,
		"SELECT substring(v FROM 2 FOR 3) FROM share", "UPDATE kv SET v = 1",
	} {
		assert.False(t, HintsIn(sql).Locks, sql)
	}
}
