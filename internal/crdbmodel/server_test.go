package crdbmodel_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/crdbmodel"
)

func TestLatency_OfARoundTrip_IsTwiceThatOfAWay(t *testing.T) {
	tell(t, free, func(s *story) {
		c := s.connect()
		s.server.SetLatency(25 * time.Millisecond)
		trips, began := s.server.RoundTrips(), time.Now()
		c.must("BEGIN; COMMIT")
		require.EqualValues(s, 1, s.server.RoundTrips()-trips)
		require.InDelta(s, 50*time.Millisecond, time.Since(began), float64(slack))
	})
}

// slack is what sessions wait for their own instants, for a few steps.
const slack = 50 * time.Microsecond

// free is a server on which nothing takes time but what a test says.
func free(cfg *crdbmodel.Config) { cfg.Statement, cfg.Row, cfg.Control, cfg.Commit = 0, 0, 0, 0 }

func TestProcessors_OfTwo_FourStatements_TakeTwiceTheTime(t *testing.T) {
	tell(t, func(cfg *crdbmodel.Config) { free(cfg); cfg.Statement = time.Second }, func(s *story) {
		var all []*promise
		clients := []*client{s.connect(), s.connect(), s.connect(), s.connect()}
		for _, c := range clients {
			all = append(all, c.query("SELECT count(*) FROM kv"))
		}
		time.Sleep(3 * time.Second)
		var longest time.Duration
		for _, p := range all {
			p.succeeds()
			longest = max(longest, p.took)
		}
		require.InDelta(s, 2*time.Second, longest, float64(100*time.Millisecond))
	})
}

func TestNodes_KeyThatAnotherOneLeads_TakesARoundTripMore(t *testing.T) {
	hops := func(cfg *crdbmodel.Config) { free(cfg); cfg.Nodes, cfg.Hop = 2, time.Second }
	tell(t, hops, func(s *story) {
		c := s.connect() // the second, and so on node 1
		for key, want := range []time.Duration{2 * time.Second, 0} {
			began := time.Now()
			c.sees(0, "SELECT v FROM kv WHERE k = $1", key)
			require.InDelta(s, want, time.Since(began), float64(slack))
		}
	})
}

func TestStatement_ThatIsNotKnown_IsRefusedByName(t *testing.T) {
	tell(t, nil, func(s *story) {
		c := s.connect()
		for _, sql := range []string{
			"SELECT version()", "DELETE FROM kv", "SELECT v FROM kv ORDER BY v", "UPDATE kv SET k = 3 WHERE k = 1",
			"TRUNCATE kv", "SELECT 'text'", "INSERT INTO kv (k) VALUES (1)",
		} {
			c.fails("0A000", "crdbmodel", sql)
		}
		c.fails("42P01", "does not exist", "SELECT v FROM nowhere")
		c.fails("42703", "does not exist", "SELECT nothing FROM kv")
		c.fails("23505", "duplicate key", "INSERT INTO kv VALUES (1, 1)")
	})
}

// TestRepeatability has a load with deadlocks and conflicts run twice, and counts the same.
func TestRepeatability_SameSeed_SameCourse(t *testing.T) {
	var courses []crdbmodel.Counts
	for range 2 {
		tellOnce(t, nil, func(s *story) {
			s.contend(12, 30)
			courses = append(courses, s.server.Counts())
		})
	}
	require.Equal(t, courses[0], courses[1])
	require.NotZero(t, courses[0].Deadlocks)
	require.NotZero(t, courses[0].TooOld)
}

// contend has clients move amounts between rows at random, each so many times, until they commit.
func (s *story) contend(clients, rounds int) {
	var all sync.WaitGroup
	for n := range clients {
		c := s.connect()
		r := rand.New(rand.NewPCG(1, uint64(n)))
		all.Go(func() {
			time.Sleep(time.Duration(n) * time.Microsecond)
			for range rounds {
				from, to, careful := r.IntN(5), r.IntN(5), r.IntN(2) == 0
				for c.move(from, to, careful) != nil {
					c.must("ROLLBACK")
				}
			}
		})
	}
	all.Wait()
}

func (c *client) move(from, to int, careful bool) error {
	c.must("BEGIN")
	var v int
	if careful {
		if err := c.conn.QueryRow(c.Context(), "SELECT v FROM kv WHERE k = $1", from).Scan(&v); err != nil {
			return err
		}
	}
	if err := c.do("UPDATE kv SET v = v - 1 WHERE k = $1", from); err != nil {
		return err
	}
	if err := c.do("UPDATE kv SET v = v + 1 WHERE k = $1", to); err != nil {
		return err
	}
	err := c.do("COMMIT")
	if err != nil {
		c.must("BEGIN") // for the ROLLBACK that follows
	}
	return err
}
