package migrating

import (
	"context"
	"database/sql"
	"maps"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb"
	"github.com/reprise-go/cockroachdb/docs/migrating/libpq/after"
	"github.com/reprise-go/cockroachdb/docs/migrating/libpq/before"
)

// TestLibPQ runs the same transactions before and after.
func TestLibPQ(t *testing.T) {
	type bank interface {
		Transfer(ctx context.Context, from, to, amount int64) error
		Add(ctx context.Context, id int64, owner string) error
		Owners(ctx context.Context, ids []int64) ([]string, error)
		Import(ctx context.Context, owners map[int64]string) error
	}
	approve := func(string) error { return nil }
	for _, c := range []struct {
		name  string
		open  func(string) (*sql.DB, error)
		bank  func(*sql.DB) bank
		taken error
	}{
		{"before", before.Open, func(db *sql.DB) bank { return &before.Bank{DB: db, Approve: approve} }, before.ErrTaken},
		{"after", after.Open, func(db *sql.DB) bank { return &after.Bank{DB: db, Approve: approve} }, after.ErrTaken},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := c.open(newBank(t))
			db = pool(t, db, err)
			b, ctx := c.bank(db), t.Context()

			require.NoError(t, b.Transfer(ctx, 1, 2, 30))
			assert.EqualValues(t, 70, balance(t, db, 1))
			assert.EqualValues(t, 130, balance(t, db, 2))
			require.NoError(t, b.Add(ctx, 3, "Cy"))
			assert.Equal(t, c.taken, b.Add(ctx, 3, "Di"))
			require.NoError(t, b.Import(ctx, map[int64]string{4: "Di", 5: `E"d,`}))
			owners, err := b.Owners(ctx, []int64{2, 3, 5})
			require.NoError(t, err)
			assert.Equal(t, []string{"Bob", "Cy", `E"d,`}, owners)
		})
	}
}

// TestLibPQWords holds the other names of the page against both libraries.
func TestLibPQWords(t *testing.T) {
	dsn := newBank(t)
	for name, want := range map[string]string{"pgx": "23505", "postgres": "23505"} {
		_, err := open(t, name, dsn).ExecContext(t.Context(), "INSERT INTO accounts VALUES (1, 'Ada', 0)")
		require.Error(t, err)
		switch name {
		case "pgx":
			e := isA[*pgconn.PgError](t, err)
			assert.Equal(t, []string{want, "accounts", "accounts_pkey"}, []string{e.Code, e.TableName, e.ConstraintName})
		default:
			e := isA[*pq.Error](t, err)
			assert.Equal(t, []string{want, "accounts", "accounts_pkey"}, []string{string(e.Code), e.Table, e.Constraint})
		}
	}
	assert.Equal(t, pq.QuoteIdentifier(`a"b`), pgx.Identifier{`a"b`}.Sanitize())

	// Slices without pq.Array.
	db := open(t, "cockroachdb", dsn)
	var ids []int64
	row := db.QueryRowContext(t.Context(),
		"SELECT array_agg(id ORDER BY id) FROM accounts WHERE id = ANY($1)", []int64{1, 2, 3})
	require.NoError(t, row.Scan(pgtype.NewMap().SQLScanner(&ids)))
	assert.Equal(t, []int64{1, 2}, ids)

	// CopyIn is refused, and not half done.
	err := inTx(t.Context(), db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), pq.CopyIn("accounts", "id", "owner", "balance"))
		return err
	})
	assert.ErrorContains(t, err, "COPY FROM STDIN")
	assert.EqualValues(t, 2, one[int64](t, db, "SELECT count(*) FROM accounts"))
}

func TestLibPQRows(t *testing.T) {
	tests := map[string]func(*testing.T){
		"a transaction that loses a conflict": losing("postgres"),
		"BEGIN":                               failingBegin("postgres"),
		"the connection is lost in a transaction":    losingConnection("postgres"),
		"Commit after a statement failed":            libPQFailedCommit,
		"a context that ends while a statement runs": libPQContext,
		"no `sslmode` in the DSN":                    libPQSSLMode,
		"keys in the DSN that are lib/pq's alone":    libPQKeys,
		"TIMESTAMPTZ, scanned into a `time.Time`":    libPQZone,
		"several statements in one `Query`":          libPQSeveral,
		"a query with arguments":                     libPQPrepared,
	}
	maps.Copy(tests, libPQValues)
	eachRow(t, "From lib/pq", tests)
}

// losing: a conflict comes to the application, and after the change it does not.
func losing(name string) func(*testing.T) {
	return func(t *testing.T) {
		dsn := newBank(t)
		isConflict(t, lose(t, open(t, name, dsn), dsn))
		db := open(t, "cockroachdb", dsn)
		require.NoError(t, lose(t, db, dsn))
		assert.EqualValues(t, 100+1000+1000+10, balance(t, db, 1))
	}
}

func failingBegin(name string) func(*testing.T) {
	return func(t *testing.T) {
		sim, dsn := newSimBank(t)
		failAt(sim, "^begin", "53400")
		_, err := open(t, name, dsn).BeginTx(t.Context(), nil)
		assert.Error(t, err)

		failAt(sim, "^begin", "53400")
		tx, err := open(t, "cockroachdb", dsn).BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = tx.ExecContext(t.Context(), "UPDATE accounts SET balance = 0")
		assert.Equal(t, "53400", isA[*pgconn.PgError](t, err).Code)
	}
}

func losingConnection(name string) func(*testing.T) {
	return func(t *testing.T) {
		sim, dsn := newSimBank(t)
		old, db := open(t, name, dsn), open(t, "cockroachdb", dsn)

		cutAt(sim, "^update")
		isOfTheNetwork(t, bump(t, old))
		cutAt(sim, "^commit")
		isOfTheNetwork(t, bump(t, old))

		cutAt(sim, "^update")
		require.NoError(t, bump(t, db))
		cutAt(sim, "^update")
		isA[*cockroachdb.ConnectionLostError](t, bump(t, open(t, "cockroachdb", dsn+withoutFailovers)))
		cutAt(sim, "^release")
		isA[*cockroachdb.AmbiguousCommitError](t, bump(t, db))
	}
}

// withoutFailovers has no other connection go on.
const withoutFailovers = "&retry_max_failovers=0"

func libPQFailedCommit(t *testing.T) {
	dsn := newBank(t)
	commit := func(name string) error {
		tx, err := open(t, name, dsn).BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer tx.Rollback()
		_, err = tx.ExecContext(t.Context(), "SELECT 1/0")
		require.Error(t, err)
		return tx.Commit()
	}
	err := commit("postgres")
	require.Error(t, err)
	assert.NotErrorIs(t, err, pgx.ErrTxCommitRollback)
	assert.ErrorIs(t, commit("cockroachdb"), pgx.ErrTxCommitRollback)
}

func libPQContext(t *testing.T) {
	const sleep = "SELECT pg_sleep(60)"
	_, dsn := newSimBank(t)
	admin := open(t, "cockroachdb", dsn)
	sleepers := func() (n int) {
		const count = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = $1"
		require.NoError(t, admin.QueryRowContext(t.Context(), count, sleep).Scan(&n))
		return n
	}
	interrupted := func(name string) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		db := open(t, name, dsn)
		go func() {
			_, err := db.ExecContext(ctx, sleep)
			ended <- err
		}()
		for sleepers() == 0 { // a request to cancel what has not begun is lost
			time.Sleep(time.Millisecond)
		}
		cancel()
		return <-ended
	}
	assert.EqualValues(t, "57014", isA[*pq.Error](t, interrupted("postgres")).Code)
	assert.ErrorIs(t, interrupted("cockroachdb"), context.Canceled)
}

func libPQSSLMode(t *testing.T) {
	t.Setenv("PGSSLMODE", "") // has it set back at the end
	require.NoError(t, os.Unsetenv("PGSSLMODE"))
	_, dsn := newSimBank(t) // whose server has no encryption
	at, err := url.Parse(dsn)
	require.NoError(t, err)
	query := at.Query()
	query.Del("sslmode")
	at.RawQuery = query.Encode()

	assert.ErrorIs(t, open(t, "postgres", at.String()).PingContext(t.Context()), pq.ErrSSLNotSupported)
	assert.NoError(t, open(t, "cockroachdb", at.String()).PingContext(t.Context()))
	cfg, err := cockroachdb.ParseConfig(at.String())
	require.NoError(t, err)
	assert.NotNil(t, cfg.ConnConfig.TLSConfig, "encryption is tried first")
}

func libPQKeys(t *testing.T) {
	_, row, ok := strings.Cut(page(t), "lib/pq's alone: ")
	require.True(t, ok)
	row, _, _ = strings.Cut(row, "|")
	values := map[string]string{
		"hostaddr": "127.0.0.1", "load_balance_hosts": "random",
		"ssl_min_protocol_version": "TLSv1.2", "ssl_max_protocol_version": "TLSv1.3",
	}
	keys := regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row, -1)
	require.Greater(t, len(keys), 5)
	for _, key := range keys {
		value, ok := values[key[1]]
		if !ok {
			value = "yes"
		}
		dsn := "postgres://app@db/bank?sslmode=disable&" + key[1] + "=" + value

		older, err := pq.NewConfig(dsn)
		require.NoError(t, err)
		assert.NotContains(t, older.Runtime, key[1])

		cfg, err := cockroachdb.ParseConfig(dsn)
		require.NoError(t, err)
		assert.Contains(t, cfg.ConnConfig.RuntimeParams, key[1])
	}
}

func libPQZone(t *testing.T) {
	dsn := newBank(t)
	scan := func(name string) time.Time {
		conn, err := open(t, name, dsn).Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.ExecContext(t.Context(), "SET TIME ZONE 'Asia/Kathmandu'")
		require.NoError(t, err)
		return one[time.Time](t, conn, "SELECT '2020-06-01 12:00:00+00'::TIMESTAMPTZ")
	}
	older, newer := scan("postgres"), scan("cockroachdb")
	assert.True(t, older.Equal(newer))
	_, offset := older.Zone()
	assert.Equal(t, (5*time.Hour + 45*time.Minute).Seconds(), float64(offset))
	assert.Equal(t, time.Local, newer.Location())
}

func libPQSeveral(t *testing.T) {
	dsn := newBank(t)
	rows, err := open(t, "postgres", dsn).QueryContext(t.Context(), "SELECT 1; SELECT 2")
	require.NoError(t, err)
	defer rows.Close()
	assert.True(t, rows.Next())
	assert.False(t, rows.Next())
	assert.True(t, rows.NextResultSet())

	db := open(t, "cockroachdb", dsn)
	_, err = db.QueryContext(t.Context(), "SELECT 1; SELECT 2")
	isA[*pgconn.PgError](t, err)
	exec(t, db, "UPDATE accounts SET balance = 1 WHERE id = 1; UPDATE accounts SET balance = 2 WHERE id = 2")
	assert.EqualValues(t, 2, balance(t, db, 2))
}

func libPQPrepared(t *testing.T) {
	dsn := newBank(t)
	kept := func(name string) int64 {
		conn, err := open(t, name, dsn).Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		for range 2 {
			assert.EqualValues(t, 42, one[int64](t, conn, "SELECT $1::INT8 + 40", 2))
		}
		return one[int64](t, conn, "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%INT8 + 40%' AND statement NOT LIKE '%pg_prepared%'")
	}
	assert.EqualValues(t, 0, kept("postgres"))
	assert.EqualValues(t, 1, kept("cockroachdb"))
	cfg, err := cockroachdb.ParseConfig("postgres://app@db/bank")
	require.NoError(t, err)
	assert.Equal(t, 512, cfg.ConnConfig.StatementCacheCapacity)

	cfg, err = cockroachdb.ParseConfig("postgres://app@db/bank?default_query_exec_mode=exec")
	require.NoError(t, err)
	assert.Equal(t, pgx.QueryExecModeExec, cfg.ConnConfig.DefaultQueryExecMode)
}

// libPQValues: the same query through both.
var libPQValues = map[string]func(*testing.T){
	"a number or a bool as an argument where the server expects text": func(t *testing.T) {
		older, newer := pair(t)
		for _, arg := range []any{5, true} {
			var s string
			assert.NoError(t, older.QueryRowContext(t.Context(), "SELECT $1::TEXT", arg).Scan(&s))
			assert.ErrorContains(t, newer.QueryRowContext(t.Context(), "SELECT $1::TEXT", arg).Scan(&s), "argument $1")
		}
		assert.Equal(t, "5", one[string](t, newer, "SELECT $1::INT8::TEXT", 5))
		assert.Equal(t, "5", one[string](t, newer, "SELECT $1::TEXT", "5"))
	},
	"a UUID as an argument of type `[]byte` that holds its text": func(t *testing.T) {
		older, newer := pair(t)
		const id = "11111111-2222-3333-4444-555555555555"
		assert.Equal(t, id, one[string](t, older, "SELECT $1::UUID", []byte(id)))
		assert.NotEqual(t, id, one[string](t, newer, "SELECT $1::UUID", []byte(id)))
		assert.Equal(t, id, one[string](t, newer, "SELECT $1::UUID", id))
		binary := [16]byte{0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55}
		assert.Equal(t, id, one[string](t, newer, "SELECT $1::UUID", binary))
	},
	"a `time.Duration` as an argument for an `INTERVAL`": func(t *testing.T) {
		older, newer := pair(t)
		const seconds = "SELECT extract(epoch FROM $1::INTERVAL)::INT8"
		assert.EqualValues(t, time.Hour.Nanoseconds(), one[int64](t, older, seconds, time.Hour))
		assert.EqualValues(t, 3600, one[int64](t, newer, seconds, time.Hour))
	},
	"NUMERIC, UUID, INTERVAL and arrays, scanned into `any`": func(t *testing.T) {
		older, newer := pair(t)
		for _, value := range []string{"1.5::NUMERIC", "gen_random_uuid()", "'1 day'::INTERVAL", "ARRAY[1, 2]"} {
			assert.IsType(t, []byte{}, one[any](t, older, "SELECT "+value), value)
			assert.IsType(t, "", one[any](t, newer, "SELECT "+value), value)
		}
	},
	"TIME, scanned": func(t *testing.T) {
		older, newer := pair(t)
		assert.Equal(t, 12, one[time.Time](t, older, "SELECT '12:30'::TIME").Hour())
		assert.Equal(t, "12:30:00", one[any](t, newer, "SELECT '12:30'::TIME"))
		var clock time.Time
		assert.Error(t, newer.QueryRowContext(t.Context(), "SELECT '12:30'::TIME").Scan(&clock))
		assert.EqualValues(t, 750*time.Minute.Microseconds(), one[pgtype.Time](t, newer, "SELECT '12:30'::TIME").Microseconds)
	},
	"TIMESTAMP and DATE, scanned into a `time.Time`": func(t *testing.T) {
		older, newer := pair(t)
		for _, value := range []string{"'2020-06-01 12:00:00'::TIMESTAMP", "'2020-06-01'::DATE"} {
			o, n := one[time.Time](t, older, "SELECT "+value), one[time.Time](t, newer, "SELECT "+value)
			assert.True(t, o.Equal(n))
			name, offset := o.Zone()
			assert.Empty(t, name)
			assert.Zero(t, offset)
			assert.Equal(t, time.UTC, n.Location())
		}
	},
}

// pair opens a database through lib/pq and through this driver.
func pair(t *testing.T) (older, newer *sql.DB) {
	t.Helper()
	dsn := newBank(t)
	return open(t, "postgres", dsn), open(t, "cockroachdb", dsn)
}
