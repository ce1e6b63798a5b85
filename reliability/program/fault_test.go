package program

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/reprise-go/cockroachdb/internal/crdbsim"
)

// TestNoLiars looks through all kinds of fault: a server that has done what it was asked to do, and lasting, never says
// that it has not. Else the driver would be blamed for it.
func TestNoLiars(t *testing.T) {
	t.Parallel()
	points := []crdbsim.Point{
		{SQL: "UPDATE kv SET i = 1", Status: 'I'}, // outside of a transaction: it is committed with its answer
		{SQL: "RELEASE SAVEPOINT cockroach_restart", Status: 'T'},
		{SQL: "COMMIT", Status: 'T'},
		{SQL: "SHOW COMMIT TIMESTAMP", Status: 'T'},
		{SQL: "CREATE TABLE public.made_1_1 (k INT8)", Status: 'T'},
		{SQL: "CALL halves($1, $2, $3, $4, $5, $6)", Status: 'I'},
		{SQL: "DO $$ BEGIN UPDATE kv SET i = 1; COMMIT; UPDATE kv SET i = 2; END $$", Status: 'I'},
		{SQL: "UPDATE kv SET i = 1; COMMIT; BEGIN; UPDATE kv SET i = 2", Status: 'T'}, // PostgreSQL takes it whole
	}
	unknown := map[string]bool{"40003": true}
	ofStatements := func(at crdbsim.Stage) bool { return at != crdbsim.AtConnect && at != crdbsim.AtAutocommit }
	for _, k := range faultKinds {
		for _, p := range points {
			if p.Stage = k.at; !ofStatements(k.at) || !k.where(placeOf(p)) {
				continue
			}
			if a := k.action(rand.New(rand.NewPCG(1, 1))); a.Then == crdbsim.ExecuteFail {
				assert.True(t, unknown[a.Error.Code], "%s at %q says %s", k.name, p.SQL, a.Error.Code)
			}
		}
		p := crdbsim.Point{SQL: "ROLLBACK", Status: 'T', Stage: k.at}
		if ofStatements(k.at) && k.where(placeOf(p)) {
			a := k.action(rand.New(rand.NewPCG(1, 1)))
			assert.NotContains(t, []crdbsim.Then{crdbsim.Fail, crdbsim.ExecuteFail}, a.Then,
				"%s: ROLLBACK does not fail", k.name)
		}
	}
}
