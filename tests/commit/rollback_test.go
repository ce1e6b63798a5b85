package commit_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/fakepg"
	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// On some versions of CockroachDB a statement runs between ROLLBACK TO and ROLLBACK, at no round trip.
func TestRollback_AfterRollbackTo_StepsOnVersionsThatNeedIt(t *testing.T) {
	t.Parallel()
	crdb := func(v string) fakepg.Option { return fakepg.Version("CockroachDB CCL " + v + " (fakepg)") }
	const plain, step = "ROLLBACK", "SELECT 1; ROLLBACK"
	nested := []string{"SAVEPOINT x", "UPDATE a", "ROLLBACK TO x"}
	for name, c := range map[string]struct {
		on    fakepg.Option
		texts []string
		want  string
	}{
		"v24.1":                  {crdb("v24.1.9"), nested, plain},
		"v24.2":                  {crdb("v24.2.0"), nested, step},
		"v25.4":                  {crdb("v25.4.3"), nested, step},
		"v26.1":                  {crdb("v26.1.0"), nested, plain},
		"PostgreSQL":             {fakepg.PlainPostgreSQL(), nested, plain},
		"a statement between":    {crdb("v25.1.0"), append(nested[:3:3], "UPDATE b"), plain},
		"no savepoint":           {crdb("v25.1.0"), nested[1:2], plain},
		"in the second of two":   {crdb("v25.1.0"), append(nested[:3:3], "UPDATE b", "ROLLBACK TO x"), step},
		"released, and not left": {crdb("v25.1.0"), []string{"SAVEPOINT x", "RELEASE SAVEPOINT x"}, plain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := kit.New(t, nil, c.on)
			tx := st.Begin(t)
			require.NoError(t, kit.ExecAll(tx, c.texts...))
			require.NoError(t, tx.Rollback())
			trips := st.Trips(1)
			assert.Equal(t, c.want, trips[len(trips)-1])
			st.WantKept(t)
		})
	}
}

// Whatever becomes of that statement, the transaction is rolled back.
func TestRollback_TheStepFails_IsRolledBack(t *testing.T) {
	t.Parallel()
	st := kit.New(t, kit.Script{"SELECT 1": {kit.Aborted}}, fakepg.Version("CockroachDB CCL v25.1.0 (fakepg)"))
	tx := st.Begin(t)
	require.NoError(t, kit.ExecAll(tx, "SAVEPOINT x", "UPDATE a", "ROLLBACK TO x"))
	require.NoError(t, tx.Rollback())
	trips := st.Trips(1)
	assert.Equal(t, []string{"SELECT 1; ROLLBACK", "ROLLBACK"}, trips[len(trips)-2:])
	st.WantKept(t)
}
