package statement_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// A read outside a transaction that loses after some of its rows is run again, whatever word it begins with; what may
// write is not.
func TestOutside_LosesAfterRows_ReadsAreRunAgain(t *testing.T) {
	t.Parallel()
	for text, again := range map[string]bool{
		"SELECT v FROM kv":                                              true,
		"select v from kv -- all":                                       true,
		"/* a */ (SELECT v FROM kv)":                                    true,
		"((SELECT v FROM kv) UNION (SELECT v FROM w))":                  true,
		"WITH a AS (SELECT v FROM kv) SELECT v FROM a":                  true,
		"WITH RECURSIVE a AS (SELECT v FROM kv) SELECT v FROM a":        true,
		"VALUES ('1'), ('2')":                                           true,
		"TABLE kv":                                                      true,
		"SELECT v FROM kv FOR UPDATE":                                   true,
		"SELECT v FROM kv FOR SHARE":                                    true,
		"SELECT count(*), lower(v) FROM kv GROUP BY v":                  true,
		"SHOW TABLES":                                                   true,
		"SELECT 'INSERT INTO kv'":                                       true,
		"SELECT pay(v) FROM kv":                                         false,
		"SELECT nextval('s')":                                           false,
		"SELECT \"nextval\"('s')":                                       false,
		"SELECT set_config('a', 'b', false)":                            false,
		"SELECT pg_advisory_lock(1)":                                    false,
		"WITH a AS (DELETE FROM kv RETURNING v) SELECT v FROM a":        false,
		"SELECT v INTO w FROM kv":                                       false,
		"INSERT INTO kv VALUES (1) RETURNING v":                         false,
		"SELECT * FROM [INSERT INTO kv VALUES (1) RETURNING v]":         false,
		"(WITH a AS (UPDATE kv SET v = 1 RETURNING v) SELECT v FROM a)": false,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			const large = 9 << 10 // so that it is shown at once
			all := kit.Texts(strings.Repeat("1", large), "2", "3")
			st := kit.New(t, kit.Script{text: kit.Always(kit.BreakOff(all, 2), all)})
			rows := kit.Query(t, st, text)
			values, err := rows.Rest()
			if again {
				require.NoError(t, err)
				assert.Equal(t, []string{strings.Repeat("1", large), "2", "3"}, values)
				return
			}
			require.Equal(t, "40001", kit.StateOf(err))
			assert.Equal(t, 1, st.Times(text))
		})
	}
}

// No transaction rests in the pool, with its locks.
func TestTransactionAsText_LeftOpen_DoesNotRestInThePool(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"BEGIN; UPDATE a", "BEGIN", "START TRANSACTION", "BEGIN; UPDATE a; COMMIT; BEGIN"} {
		st := kit.New(t, kit.Script{})
		kit.Exec(t, st, text)
		assert.Zero(t, st.Stats().OpenConnections, text)
		kit.Exec(t, st, "UPDATE b")
		assert.Equal(t, 2, st.Server.Connections(), text)
	}
}

// On data: the rival does not wait for a lock of a connection that rests.
func TestTransactionAsText_LeftOpenOnData_HoldsNoLock(t *testing.T) {
	t.Parallel()
	kv := kit.NewKV(t)
	kit.Exec(t, kv.DB, "BEGIN; UPDATE kv SET v = 1 WHERE k = 1") // COMMIT was forgotten
	kit.Exec(t, kv.Rival, "UPDATE kv SET v = 2 WHERE k = 1")
	assert.Equal(t, 2, kv.Value(t, 1))
}
