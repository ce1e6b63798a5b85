package cockroachdb

import (
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/dsnurl"
)

// meaning is what a connection's configuration comes to, but for what can't be compared, such as functions.
type meaning struct {
	Places             []string
	Database, User, PW string
	TLS                []bool
	Params             map[string]string
	Mode               pgx.QueryExecMode
	Capacities         [2]int
	Timeout, Rest      string
}

func meaningOf(cc *pgx.ConnConfig) meaning {
	m := meaning{
		Places: []string{fmt.Sprint(cc.Host, " ", cc.Port)}, TLS: []bool{cc.TLSConfig != nil},
		Database: cc.Database, User: cc.User, PW: cc.Password,
		Params: maps.Clone(cc.RuntimeParams), Mode: cc.DefaultQueryExecMode,
		Capacities: [2]int{cc.StatementCacheCapacity, cc.DescriptionCacheCapacity}, Timeout: cc.ConnectTimeout.String(),
		Rest: fmt.Sprint(
			cc.KerberosSpn, cc.KerberosSrvName, cc.SSLNegotiation, cc.MinProtocolVersion,
			cc.MaxProtocolVersion, cc.ChannelBinding, cc.ValidateConnect != nil,
		),
	}
	for _, f := range cc.Fallbacks {
		m.Places, m.TLS = append(m.Places, fmt.Sprint(f.Host, " ", f.Port)), append(m.TLS, f.TLSConfig != nil)
	}
	maps.DeleteFunc(m.Params, func(key, _ string) bool { _, ours := settingNamed(key); return ours })
	return m
}

// FuzzDSN: a DSN that is taken means to this driver what it means to pgx, its own keys and the default port of its own
// schemes apart; sql.Open says the same as ParseConfig; what is taken can be printed without its password.
func FuzzDSN(f *testing.F) {
	for _, dsn := range []string{
		"", "host=db port=1 user=app password='p\\'w' dbname=bank",
		"postgresql://app:pw@a:1,[::1]:2,c/bank?sslmode=disable&application_name=x%20y",
		"cockroachdb://app@db/bank?retry_max_attempts=3", "cockroach://a,b:7",
		"crdb-postgres://u:p@/db?host=/tmp&port=1", "postgres:///?retry_max_elapsed=1s&retry_lane_wait=0s",
		"host=a,b port=1,2 retry_max_bytes=1 default_query_exec_mode=exec",
		"postgresql://db?retry_throttle_tokens=1&retry_throttle_tokens_per_commit=0.5",
		"host=db statement_cache_capacity=0 description_cache_capacity=3 connect_timeout=9", "cockroachdb://[::1", "cockroachdb://a?port=9", "cockroachdb://a:1,b?x=y&",
		"postgresql://h?options=-c%20force_savepoint_restart%3Don&target_session_attrs=read-write", " cockroachdb://a", "COCKROACHDB://a",
		"cockroachdb://a,b,c/bank?load_balance_groups=2,1",
	} {
		f.Add(dsn)
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		if strings.Contains(dsn, "/dev") || strings.Contains(dsn, "/proc") || registeredName.MatchString(dsn) {
			return // files that pgx would read, and that never end
		}
		cfg, err := ParseConfig(dsn)
		db, openErr := sql.Open("cockroachdb", dsn)
		if openErr == nil {
			require.NoError(t, db.Close())
		}
		if err != nil {
			require.EqualError(t, openErr, err.Error())
			return
		}
		require.NoError(t, openErr)
		require.NoError(t, cfg.RetryPolicy.Validate())
		require.NoError(t, cfg.RetryThrottle.Validate())
		for key := range cfg.ConnConfig.RuntimeParams {
			_, ours := settingNamed(key)
			require.False(t, ours, key)
		}
		checkMeaning(t, dsn, cfg)
		checkPrinted(t, cfg)
	})
}

// schemeOf matches the scheme of a DSN that is a URL.
var schemeOf = regexp.MustCompile(`^\s*[A-Za-z][A-Za-z0-9+.-]*://`)

func checkMeaning(t *testing.T, dsn string, cfg *Config) {
	got, theirs := meaningOf(cfg.ConnConfig), dsn
	scheme := schemeOf.FindString(dsn)
	if scheme != "" {
		theirs = "postgresql://" + dsn[len(scheme):]
	}
	cc, err := pgx.ParseConfig(theirs)
	require.NoError(t, err)
	want := meaningOf(cc)
	if s := strings.ToLower(strings.TrimSpace(scheme)); s != "" && !strings.HasPrefix(s, "postgres") {
		for i, place := range want.Places {
			ours := got.Places[min(i, len(got.Places)-1)]
			if strings.HasSuffix(place, " 5432") && strings.HasSuffix(ours, " "+dsnurl.CockroachPort) {
				want.Places[i] = strings.TrimSuffix(place, "5432") + dsnurl.CockroachPort
			}
		}
	}
	require.Equal(t, want, got)
}

func checkPrinted(t *testing.T, cfg *Config) {
	pw := cfg.ConnConfig.Password
	m := meaningOf(cfg.ConnConfig)
	if len(pw) < 6 || strings.Contains(fmt.Sprint(m.Places, m.Database, m.User, cfg.RetryPolicy, cfg.RetryThrottle), pw) || strings.Contains("cockroachdb.Config{hosts= database= user= db_name= retry_policy= retry_throttle=}", pw) {
		return // it is there, but not as the password
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		assert.NotContains(t, fmt.Sprintf(verb, cfg), pw)
	}
}
