package crdbmodel_test

import (
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
)

const journal = "CREATE TABLE journal (id INT PRIMARY KEY DEFAULT unique_rowid(), k INT NOT NULL, v INT NOT NULL)"

// journalKey is what an INSERT answers with.
func (c *client) journalKey(text string, args ...any) (id int64) {
	c.Helper()
	require.NoError(c, c.conn.QueryRow(c.Context(), text, args...).Scan(&id), text)
	return id
}

func TestInsert_WithAList_LeavesTheKeyToTheServer(t *testing.T) {
	for name, create := range map[string]string{
		"key first":     journal,
		"default first": "CREATE TABLE journal (id INT DEFAULT unique_rowid() PRIMARY KEY, k INT, v INT)",
		"of the table":  "CREATE TABLE journal (id INT DEFAULT unique_rowid(), k INT, v INT, PRIMARY KEY (id))",
		"BIGSERIAL":     "CREATE TABLE journal (id BIGSERIAL PRIMARY KEY, k BIGINT, v BIGINT)",
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, nil, func(s *story) {
				c := s.connect()
				c.must(create)
				first := c.journalKey("INSERT INTO journal (v, k) VALUES ($1, $2) RETURNING id", 7, 1)
				second := c.journalKey("INSERT INTO journal (v, k) VALUES (8, 2) RETURNING id")
				require.NotEqual(s, first, second)
				c.sees(7, "SELECT v FROM journal WHERE id = $1", first)
				c.sees(2, "SELECT k FROM journal WHERE id = $1", second)
			})
		})
	}
}

func TestInsert_OfTheKeyItself_TakesIt(t *testing.T) {
	tell(t, nil, func(s *story) {
		c := s.connect()
		c.must(journal)
		require.EqualValues(s, 5, c.journalKey(`INSERT INTO journal (k, v, "id") VALUES ($1, $2, $3) RETURNING id`, 1, 7, 5))
		c.sees(7, "SELECT v FROM journal WHERE id = 5")
		c.fails("23505", "duplicate key", "INSERT INTO journal (id, k, v) VALUES (5, 1, 7)")
	})
}

func TestInsert_OfSeries_ReturnsTheirRows(t *testing.T) {
	tell(t, nil, func(s *story) {
		c := s.connect()
		c.must(journal)
		rows, err := c.conn.Query(s.Context(),
			"INSERT INTO journal (k, v) SELECT n, n * 10 FROM generate_series(1, 3) AS g(n) RETURNING v, k")
		require.NoError(s, err)
		var got [][2]int64
		for rows.Next() {
			var v, k int64
			require.NoError(s, rows.Scan(&v, &k))
			got = append(got, [2]int64{v, k})
		}
		require.NoError(s, rows.Err())
		require.Equal(s, [][2]int64{{10, 1}, {20, 2}, {30, 3}}, got)
		require.EqualValues(s, 3, rows.CommandTag().RowsAffected())
	})
}

func TestInsert_ThatDoesNotFit_IsRefused(t *testing.T) {
	tell(t, nil, func(s *story) {
		c := s.connect()
		c.must(journal)
		c.fails("0A000", "leaves out column v", "INSERT INTO journal (k) VALUES (1)")
		c.fails("42601", "more, or less", "INSERT INTO journal (k, v) VALUES (1)")
		c.fails("42703", "does not exist", "INSERT INTO journal (k, w) VALUES (1, 2)")
		c.fails("42703", "does not exist", "INSERT INTO journal (k, v) VALUES (1, 2) RETURNING w")
		c.sees(0, "SELECT count(*) FROM journal")
	})
}

func TestUniqueRowID_OfAnotherAttempt_IsAnother(t *testing.T) {
	tell(t, nil, func(s *story) {
		const insert = "INSERT INTO journal (k, v) VALUES (1, 7) RETURNING id"
		c := s.connect()
		c.must(journal)
		c.must("BEGIN; SAVEPOINT cockroach_restart")
		first := c.journalKey(insert)
		c.must("ROLLBACK TO SAVEPOINT cockroach_restart")
		second := c.journalKey(insert)
		c.commit()
		require.NotEqual(s, first, second)
		c.sees(0, "SELECT count(*) FROM journal WHERE id = $1", first)
		c.sees(1, "SELECT count(*) FROM journal WHERE id = $1", second)
	})
}

func TestUniqueRowID_SameCourse_SameKeys(t *testing.T) {
	var courses [][][]int64
	for range 2 {
		tellOnce(t, nil, func(s *story) { courses = append(courses, s.drawKeys(8, 20)) })
	}
	require.Equal(t, courses[0], courses[1])
}

// drawKeys has clients insert at the same time, and returns the keys of each.
func (s *story) drawKeys(clients, rounds int) [][]int64 {
	s.connect().must(journal)
	drawn := make([][]int64, clients)
	var all sync.WaitGroup
	for n := range clients {
		c := s.connect()
		all.Go(func() {
			time.Sleep(time.Duration(n) * time.Microsecond)
			for range rounds {
				drawn[n] = append(drawn[n], c.journalKey("INSERT INTO journal (k, v) VALUES ($1, 0) RETURNING id", n))
			}
		})
	}
	all.Wait()
	return drawn
}

// TestPinned has this module's driver replay an INSERT, which asks the catalogue what the key's default does.
func TestPinned_InsertReplayed_KeepsTheKeyShown(t *testing.T) {
	tell(t, nil, func(s *story) {
		rival := s.connect()
		rival.must(journal)
		cfg, err := cockroachdb.ParseConfig(s.server.DSN())
		require.NoError(s, err)
		cfg.ConnConfig.DialFunc = pgconn.DialFunc(s.server.Dial)
		connector, err := cockroachdb.NewConnector(cfg)
		require.NoError(s, err)
		db := sql.OpenDB(connector)
		defer db.Close()

		tx, err := db.BeginTx(s.Context(), nil)
		require.NoError(s, err)
		var id int64
		const insert = "INSERT INTO journal (k, v) VALUES ($1, $2) RETURNING id"
		require.NoError(s, tx.QueryRowContext(s.Context(), insert, 1, 7).Scan(&id))
		_, err = tx.ExecContext(s.Context(), "UPDATE kv SET v = v + 1 WHERE k = 1")
		require.NoError(s, err)
		rival.must("BEGIN PRIORITY HIGH; UPDATE kv SET v = v + 10 WHERE k = 1; COMMIT") // which aborts the other one
		require.EqualValues(s, 1, s.server.Counts().Overridden)
		require.NoError(s, tx.Commit())

		rival.sees(7, "SELECT v FROM journal WHERE id = $1", id)
		rival.sees(1, "SELECT count(*) FROM journal")
		rival.sees(11, "SELECT v FROM kv WHERE k = 1")
	})
}
