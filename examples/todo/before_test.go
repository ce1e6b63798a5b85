package main

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cockroachdb/cockroach-go/v2/crdb/crdbgorm"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	gormlog "gorm.io/gorm/logger"
)

// updateBefore is what update was without this driver: a closure, which may run several times.
func (a *app) updateBefore(w http.ResponseWriter, r *http.Request) error {
	ticked, cleared, err := changedBoxes(r)
	if err != nil {
		return err
	}
	var done, reopened int
	err = crdbgorm.ExecuteTx(r.Context(), a.db, nil, func(tx *gorm.DB) error {
		var err error
		done, err = setDone(tx, ticked, true)
		if err != nil {
			return err
		}
		reopened, err = setDone(tx, cleared, false)
		return err
	})
	if err != nil {
		return err
	}
	return say(w, r, note{Done: done, Reopened: reopened, Missing: len(ticked) + len(cleared) - done - reopened})
}

// TestBeforeAndAfter runs both on pgx's own driver, in a conflict: what the loop does there for the one, nobody does
// for the other.
func TestBeforeAndAfter(t *testing.T) {
	s := newSite(t)
	s.needsSim(t)
	ids := s.add(t, "milk")
	pool, err := sql.Open("pgx", s.dsn)
	require.NoError(t, err)
	defer pool.Close()
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: gormlog.Discard})
	require.NoError(t, err)
	onPgx := newApp(db, newLogger(s.log))

	for _, c := range []struct {
		name    string
		handler http.Handler
		status  int
		done    []string
	}{
		{"after, on pgx", answer(onPgx, onPgx.update), http.StatusInternalServerError, nil},
		{"before, on pgx", answer(onPgx, onPgx.updateBefore), http.StatusSeeOther, []string{"milk"}},
	} {
		fault := conflictAt(`^update`)
		s.sim.Inject(fault)
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(boxes(ids, nil).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		assert.Equal(t, c.status, w.Code, c.name)
		assert.Equal(t, 1, fault.Hits(), c.name)
		assert.Equal(t, c.done, s.done(t), c.name)
	}
}

// TestByDSN is the one line that a program changes.
func TestByDSN(t *testing.T) {
	dsn := newSite(t).dsn
	db, err := gorm.Open(postgres.New(postgres.Config{DriverName: "cockroachdb", DSN: dsn}), &gorm.Config{})
	require.NoError(t, err)
	pool, err := db.DB()
	require.NoError(t, err)
	defer pool.Close()
	var n int64
	require.NoError(t, db.WithContext(t.Context()).Model(&Todo{}).Count(&n).Error)
	assert.Zero(t, n)
}
