package cockroachdb

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// secret is planted wherever a password may be. It has both cases, digits and nothing that needs escaping.
const secret = "hUnter2Zebra9"

// assertClean fails if the secret is in text, as it is or in hexadecimal.
func assertClean(t *testing.T, text, where string) {
	t.Helper()
	lower := strings.ToLower(text)
	if strings.Contains(lower, strings.ToLower(secret)) || strings.Contains(lower, hex.EncodeToString([]byte(secret))) {
		t.Errorf("%s shows the secret: %s", where, text)
	}
}

// assertNoSecret fails if err, or an error it wraps, shows the secret in any way of printing it.
func assertNoSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assertClean(t, fmt.Sprintf(verb, err), fmt.Sprintf("%T as %s", err, verb))
	}
	assertClean(t, err.Error(), fmt.Sprintf("%T", err))
	assertNoSecret(t, errors.Unwrap(err))
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			assertNoSecret(t, e)
		}
	}
}

// clearEnv takes away what the machine would add to a DSN.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if key, _, _ := strings.Cut(pair, "="); strings.HasPrefix(key, "PG") {
			t.Setenv(key, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
}

func TestDSN_EachForm_IsParsed(t *testing.T) {
	const kv = "user=app password=pw dbname=bank sslmode=disable "
	for name, tc := range map[string]struct{ dsn, hosts string }{
		"postgresql":               {"postgresql://app:pw@db/bank", "db:5432"},
		"postgres":                 {"postgres://app:pw@db/bank", "db:5432"},
		"cockroachdb":              {"cockroachdb://app:pw@db/bank", "db:26257"},
		"cockroach":                {"cockroach://app:pw@db/bank", "db:26257"},
		"crdb-postgres":            {"crdb-postgres://app:pw@db/bank", "db:26257"},
		"a scheme in capitals":     {"CockroachDB://app:pw@db/bank", "db:26257"},
		"explicit port":            {"cockroachdb://app:pw@db:5432/bank", "db:5432"},
		"port in the query":        {"cockroachdb://app:pw@db/bank?port=7", "db:7"},
		"host in the query":        {"cockroachdb://app:pw@/bank?host=a,b", "a:26257,b:26257"},
		"hosts, no port":           {"cockroachdb://app:pw@a,b,c/bank", "a:26257,b:26257,c:26257"},
		"hosts, one port":          {"cockroachdb://app:pw@a,b:7,c/bank", "a:26257,b:7,c:26257"},
		"hosts, ports":             {"cockroachdb://app:pw@a:1,b:2/bank", "a:1,b:2"},
		"hosts of postgresql":      {"postgresql://app:pw@a,b:7/bank", "a:5432,b:7"},
		"IPv6":                     {"cockroachdb://app:pw@[::1]/bank", "[::1]:26257"},
		"IPv6 with ports":          {"cockroachdb://app:pw@[::1]:7,[::2],c/bank", "[::1]:7,[::2]:26257,c:26257"},
		"socket":                   {"cockroachdb://app:pw@%2Fvar%2Frun/bank", "/var/run:26257"},
		"ends with a question":     {"cockroachdb://app:pw@db/bank?", "db:26257"},
		"ends with an ampersand":   {"cockroachdb://app:pw@db/bank?sslmode=disable&", "db:26257"},
		"keyword/value":            {kv + "host=db", "db:5432"},
		"keyword/value, port":      {kv + "host=a,b port=26257", "a:26257,b:26257"},
		"keyword/value with a URL": {kv + "host=db application_name=a://b", "db:5432"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnv(t)
			cfg := mustParse(t, tc.dsn)
			assert.Equal(t, tc.hosts, strings.Join(hostsOf(cfg.ConnConfig), ","))
			assert.Equal(t, "app", cfg.ConnConfig.User)
			assert.Equal(t, "pw", cfg.ConnConfig.Password)
			assert.Equal(t, "bank", cfg.ConnConfig.Database)
			assert.NotContains(t, cfg.ConnConfig.RuntimeParams, "port")
		})
	}
}

func TestDSN_Environment_IsRead(t *testing.T) {
	clearEnv(t)
	t.Setenv("PGHOST", "db")
	t.Setenv("PGPORT", "7")
	t.Setenv("PGUSER", "app")
	t.Setenv("PGDATABASE", "bank")
	t.Setenv("PGPASSWORD", "pw")
	for dsn, hosts := range map[string]string{
		"":                         "db:7",
		"  ":                       "db:7",
		"cockroachdb://":           "db:7",
		"cockroachdb:///other":     "db:7",
		"cockroachdb://a":          "a:7",
		"cockroachdb://a,b":        "a:7,b:7",
		"cockroachdb://a:1,b":      "a:1,b:7",
		"retry_max_attempts=3":     "db:7",
		"?retry_max_attempts=3":    "",
		"postgresql://a,b/x?port=": "a:5432,b:5432",
	} {
		cfg, err := ParseConfig(dsn)
		if hosts == "" {
			assert.Error(t, err, dsn)
			continue
		}
		require.NoError(t, err, dsn)
		assert.Equal(t, hosts, strings.Join(hostsOf(cfg.ConnConfig), ","), dsn)
	}
	t.Setenv("PGPORT", "1,2")
	assert.Equal(t, "a:1,b:2", strings.Join(hostsOf(mustParse(t, "cockroachdb://a,b").ConnConfig), ","))
	assert.Equal(t, "a:9,b:26257", strings.Join(hostsOf(mustParse(t, "cockroachdb://a:9,b").ConnConfig), ","))
	t.Setenv("PGPORT", "1 &password=x")
	_, err := ParseConfig("cockroachdb://a")
	assert.ErrorContains(t, err, "port")
}

func TestDSN_ServiceFile_IsRead(t *testing.T) {
	clearEnv(t)
	file := filepath.Join(t.TempDir(), "pg_service.conf")
	require.NoError(t, os.WriteFile(file,
		[]byte("[bank]\nhost=db\nport=7\nuser=app\nretry_max_attempts=4\n[bare]\nhost=db\n"), 0o600))
	t.Setenv("PGSERVICEFILE", file)
	for dsn, hosts := range map[string]string{
		"service=bank":                   "db:7",
		"cockroachdb:///x?service=bank":  "db:7",
		"cockroachdb://a,b?service=bank": "a:26257,b:26257",
	} {
		cfg := mustParse(t, dsn)
		assert.Equal(t, hosts, strings.Join(hostsOf(cfg.ConnConfig), ","), dsn)
		assert.Equal(t, 4, cfg.RetryPolicy.MaxAttempts, "settings may be in the service file: %s", dsn)
	}
	assert.Equal(t, 5, mustParse(t, "service=bank retry_max_attempts=5").RetryPolicy.MaxAttempts, "the DSN goes before it")
	_, err := ParseConfig("service=vault")
	assert.ErrorContains(t, err, "no such service")
}

// What pgx makes of a DSN is what we make of it.
func TestDSN_WithoutOwnKeys_MeansWhatItMeansToPgx(t *testing.T) {
	clearEnv(t)
	for _, dsn := range []string{
		"postgres://app:p%40w@a:1,b:2/bank?sslmode=require&default_query_exec_mode=exec&statement_cache_capacity=7&connect_timeout=3",
		"user=app password='p w' host=a,b port=1,2 dbname=bank search_path='a, b' options='-c x=y' target_session_attrs=read-write",
		"postgresql:///bank?host=/var/run/x&application_name=a@b",
	} {
		ours := mustParse(t, dsn).ConnConfig
		theirs, err := pgx.ParseConfig(dsn)
		require.NoError(t, err)
		assert.Equal(t, theirs.RuntimeParams, ours.RuntimeParams, dsn)
		assert.Equal(t, theirs.Password, ours.Password, dsn)
		assert.Equal(t, theirs.Host, ours.Host, dsn)
		assert.Equal(t, len(theirs.Fallbacks), len(ours.Fallbacks), dsn)
		assert.Equal(t, theirs.DefaultQueryExecMode, ours.DefaultQueryExecMode, dsn)
		assert.Equal(t, theirs.StatementCacheCapacity, ours.StatementCacheCapacity, dsn)
		assert.Equal(t, theirs.ConnectTimeout, ours.ConnectTimeout, dsn)
	}
}

func TestDSN_EachSetting_IsRead(t *testing.T) {
	values := map[string]string{
		"retry_max_attempts": "7", "retry_max_elapsed": "45s", "retry_initial_backoff": "7ms", "retry_max_backoff": "700ms",
		"retry_backoff_multiplier": "1.7", "retry_lane_wait": "1m", "retry_max_statements": "77", "retry_max_bytes": "7777",
		"retry_throttle_tokens": "17", "retry_throttle_tokens_per_commit": "0.7", "ping_after": "3s",
		"retry_max_failovers": "5", "connection_lifetime": "9m", "dials_per_second": "12",
		"load_balance_hosts": "disable", "dead_peer_timeout": "4s",
		"load_balance_groups": "0", "retry_commit_marker": "on", "retry_commit_table": "bank.markers",
		"retry_pin_generated": "off", "retry_learn_locks": "on",
		"retry_restart": "auto",
	}
	require.Len(t, settings, len(values))
	var pairs []string
	for key, value := range values {
		pairs = append(pairs, key+"="+value)
	}
	for _, dsn := range []string{
		"cockroachdb://db/bank?" + strings.Join(pairs, "&"), "host=db " + strings.Join(pairs, " "),
	} {
		cfg := mustParse(t, dsn)
		assert.Equal(t, RetryPolicy{
			MaxAttempts: 7, MaxElapsed: 45 * time.Second,
			InitialBackoff: 7 * time.Millisecond, MaxBackoff: 700 * time.Millisecond,
			BackoffMultiplier: 1.7, LaneWait: time.Minute, MaxStatements: 77, MaxBytes: 7777, MaxFailovers: 5,
		}, cfg.RetryPolicy)
		assert.Equal(t, RetryThrottle{MaxTokens: 17, TokensPerCommit: 0.7}, cfg.RetryThrottle)
		assert.Empty(t, cfg.ConnConfig.RuntimeParams)
		assert.Equal(t, 9*time.Minute, cfg.ConnLifetime)
		assert.Equal(t, 12, cfg.DialRate)
		assert.False(t, cfg.BalanceHosts)
		assert.False(t, cfg.PinGenerated)
		assert.Equal(t, LearnLocksAlways, cfg.LearnLocks)
		assert.True(t, cfg.CommitMarker)
		assert.Equal(t, RestartAuto, cfg.Restart)
		assert.Equal(t, "bank.markers", cfg.CommitTable)
	}
	assert.False(t, mustParse(t, "cockroachdb://db/bank?target_session_attrs=read-write").BalanceHosts,
		"the order may matter")
	const random = "cockroachdb://db/bank?target_session_attrs=read-write&load_balance_hosts=random"
	assert.True(t, mustParse(t, random).BalanceHosts)
	cfg := mustParse(t, "cockroachdb://db/bank")
	assert.Equal(t, DefaultRetryPolicy(), cfg.RetryPolicy)
	assert.Equal(t, DefaultRetryThrottle(), cfg.RetryThrottle)
	assert.Equal(t, RestartSavepoint, cfg.Restart)
	assert.True(t, cfg.BalanceHosts)
}

func TestDSN_HostGroups_AreReadOrRefused(t *testing.T) {
	clearEnv(t)
	for dsn, want := range map[string][]int{
		"cockroachdb://a,b,c/bank?load_balance_groups=2,1":                      {2, 1},
		"cockroachdb://a,b,c/bank?load_balance_groups=1%2C1%2C1&sslmode=prefer": {1, 1, 1},
		"cockroachdb://a,b,c/bank?load_balance_groups=3":                        {3},
		"cockroachdb://a,b,c/bank?load_balance_groups=0":                        nil,
		"cockroachdb://a,b,c/bank":                                              nil,
		"host=a,a,b port=1,2,1 load_balance_groups='2,1'":                       {2, 1},

		"cockroachdb://a,b/bank?load_balance_groups=1,1&load_balance_hosts=random&target_session_attrs=prefer-standby": {1, 1},
	} {
		assert.Equal(t, want, mustParse(t, dsn).HostGroups, dsn)
	}
	const list, sizes = `takes a list of numbers such as "2,1"`, "use the size of each group"
	for query, want := range map[string]string{
		"load_balance_groups=":                                          list + ": the value is empty",
		"load_balance_groups=near":                                      list + ": the value is not one",
		"load_balance_groups=2,,1":                                      list + ": the value is not one",
		"load_balance_groups=99999999999999999999":                      list + ": the value is out of range",
		"load_balance_groups=2":                                         "and there are 3 hosts: " + sizes,
		"load_balance_groups=2,2":                                       sizes,
		"load_balance_groups=3,0":                                       sizes,
		"load_balance_groups=4,-1":                                      sizes,
		"load_balance_groups=9223372036854775807,9223372036854775807,5": sizes,
		"load_balance_groups=2,1&load_balance_hosts=disable":            "needs BalanceHosts",
		"load_balance_groups=2,1&target_session_attrs=read-write":       "needs BalanceHosts",
	} {
		_, err := sql.Open("cockroachdb", "cockroachdb://a,b,c/bank?"+query)
		require.Error(t, err, query)
		assert.ErrorContains(t, err, `cockroachdb: DSN key "load_balance_groups" `, query)
		assert.ErrorContains(t, err, want, query)
	}
	_, err := ParseConfig("cockroachdb://a,b,c/bank?load_balance_groups=2,1&retry_initial_backoff=500ms&retry_max_backoff=100ms")
	assert.NotContains(t, fmt.Sprint(err), "load_balance_groups", "it is not to blame")
}

func TestDSN_SettingOfAWrongValue_ErrorSaysWhatIsWanted(t *testing.T) {
	const wholeNumber, duration, number = "a whole number", `a duration such as "500ms"`, "a number"
	for pair, want := range map[string][]string{
		"retry_restart=never":                     {`"retry_restart"`, "savepoint, begin or auto", "none of them"},
		"retry_restart=":                          {`"retry_restart"`, "savepoint, begin or auto", "none of them"},
		"retry_max_attempts=many":                 {`"retry_max_attempts"`, wholeNumber, "not one"},
		"retry_max_attempts=":                     {`"retry_max_attempts"`, wholeNumber, "empty"},
		"retry_max_attempts=1.5":                  {`"retry_max_attempts"`, wholeNumber, "not one"},
		"retry_max_attempts=99999999999999999999": {`"retry_max_attempts"`, wholeNumber, "out of range"},
		"retry_max_attempts=0":                    {`"retry_max_attempts"`, wholeNumber, "use 1 to switch retries off"},
		"retry_max_elapsed=30":                    {`"retry_max_elapsed"`, duration, "no unit"},
		"retry_max_elapsed=soon":                  {`"retry_max_elapsed"`, duration, "not one"},
		"retry_max_elapsed=":                      {`"retry_max_elapsed"`, duration, "empty"},
		"retry_backoff_multiplier=x":              {`"retry_backoff_multiplier"`, number, "not one"},
		"retry_backoff_multiplier=NaN":            {`"retry_backoff_multiplier"`, number, "out of range"},
		"retry_backoff_multiplier=1e999":          {`"retry_backoff_multiplier"`, number, "out of range"},
		"retry_initial_backoff=1h":                {`"retry_initial_backoff"`, duration, "MaxBackoff"},
		"retry_throttle_tokens=0":                 {`"retry_throttle_tokens"`, "MaxTokens"},
		"retry_throttle_tokens_per_commit=x":      {`"retry_throttle_tokens_per_commit"`, number},
	} {
		for _, dsn := range []string{
			"postgresql://db/bank?" + pair, "host=db " + pair, "host=db " + strings.Replace(pair, "=", " = '", 1) + "'",
		} {
			_, err := ParseConfig(dsn)
			require.Error(t, err, dsn)
			assert.Equal(t, 1, strings.Count(err.Error(), "cockroachdb: "), err)
			for _, w := range want {
				assert.ErrorContains(t, err, w, dsn)
			}
		}
	}
	_, err := ParseConfig("postgresql://db/bank?retry_initial_backoff=500ms&retry_max_backoff=100ms")
	assert.ErrorContains(t, err, "RetryPolicy.MaxBackoff is 100ms", "each is right alone")
}

func TestDSN_SettingTwice_IsRefused(t *testing.T) {
	for _, dsn := range []string{
		"postgresql://db/bank?retry_max_attempts=3&retry_max_attempts=3",
		"cockroachdb://db/bank?retry_max_attempts=3&x=y&retry%5Fmax_attempts=4",
		"host=db retry_max_attempts=3 retry_max_attempts=4",
		`host=db retry_max_attempts = 3 password='it\'s retry_lane_wait=1s' retry_max_attempts='4'`,
	} {
		_, err := ParseConfig(dsn)
		assert.EqualError(t, err, `cockroachdb: DSN key "retry_max_attempts" (a whole number) is given more than once`, dsn)
	}
	for _, dsn := range []string{
		"postgresql://db/bank?application_name=a&application_name=b&retry_max_attempts=3",
		"host=db password='retry_max_attempts=3' retry_max_attempts=4 password=a\\ retry_max_attempts=3",
	} {
		mustParse(t, dsn)
	}
}

func TestDSN_MistypedSetting_ErrorNamesTheRightOne(t *testing.T) {
	for key, want := range map[string]string{
		"retry_max_atempts":               "retry_max_attempts",
		"retry_maxattempts":               "retry_max_attempts",
		"retry_max_attempt":               "retry_max_attempts",
		"Retry_Max_Attempts":              "retry_max_attempts",
		"retry-max-attempts":              "retry_max_attempts",
		"rety_max_attempts":               "retry_max_attempts",
		"retrymaxattempts":                "retry_max_attempts",
		"retryMaxAttempts":                "retry_max_attempts",
		"max_attempts":                    "retry_max_attempts",
		"maxattempts":                     "retry_max_attempts",
		"max_retry_attempts":              "retry_max_attempts",
		"etry_max_attempts":               "retry_max_attempts",
		"rerty_max_attempts":              "retry_max_attempts",
		"retry_max_elapse":                "retry_max_elapsed",
		"max_elapsed":                     "retry_max_elapsed",
		"retry_initial_backof":            "retry_initial_backoff",
		"initial_backoff":                 "retry_initial_backoff",
		"retry_max_back_off":              "retry_max_backoff",
		"retry_backoff_multiplyer":        "retry_backoff_multiplier",
		"backoff_multiplier":              "retry_backoff_multiplier",
		"retry_lanewait":                  "retry_lane_wait",
		"lane_wait":                       "retry_lane_wait",
		"retry_max_statement":             "retry_max_statements",
		"retry_max_byte":                  "retry_max_bytes",
		"max_bytes":                       "retry_max_bytes",
		"retry_throttle_token":            "retry_throttle_tokens",
		"retry_throttle_token_per_commit": "retry_throttle_tokens_per_commit",
		"throttle_tokens_per_commit":      "retry_throttle_tokens_per_commit",
	} {
		s, ok := settingNamed(want)
		require.True(t, ok)
		for _, dsn := range []string{"cockroachdb://db/bank?" + key + "=1", "host=db " + key + "=1"} {
			_, err := ParseConfig(dsn)
			assert.EqualError(t, err, fmt.Sprintf("cockroachdb: unknown DSN key %q: did you mean %q (%s)?", key, want, s.kind),
				dsn)
		}
	}
	for _, key := range []string{
		"retry_colour", "retry_", "retries", "retry", "RETRY_X", "retry_" + secret, "retry_" + strings.Repeat("x", 1<<16),
	} {
		_, err := ParseConfig("cockroachdb://db/bank?" + key + "=1")
		require.Error(t, err, key)
		assert.ErrorContains(t, err, `in the style of "retry_...": the nearest one is "retry_`)
		assertNoSecret(t, err)
	}
}

func TestDSN_SessionVariable_IsNoMistypedSetting(t *testing.T) {
	for key := range strings.FieldsSeq(`
		application_name autocommit_before_ddl backoff client_encoding client_min_messages cluster copy_num_retries_per_batch
		copy_transaction_quality_of_service cost_scans_with_default_col_size database datestyle deadlock_timeout
		default_int_size default_statistics_target default_transaction_isolation default_transaction_priority
		default_transaction_quality_of_service default_transaction_read_only default_transaction_use_follower_reads
		disable_plan_gists distsql distsql_workmem enable_auto_rehoming enable_durable_locking_for_serializable
		enable_implicit_transaction_for_batch_statements enable_zigzag_join experimental_enable_temp_tables
		extra_float_digits force_savepoint_restart idle_in_session_timeout idle_in_transaction_session_timeout
		initial_retry_backoff_for_read_committed inject_retry_errors_enabled inject_retry_errors_on_commit_enabled
		intervalstyle jit large_full_scan_rows locality lock_timeout log_min_duration_statement max_connections
		max_identifier_length max_index_keys max_locks_per_transaction max_parallel_workers max_pool_size
		max_prepared_transactions max_retries_for_read_committed max_stack_depth max_wal_size min_wal_size
		multiple_active_portals_enabled myapp.max_attempts node_id optimizer_use_lock_elision_multiplier
		pool_max_conns prefer_lookup_joins_for_fks reorder_joins_limit results_buffer_size role search_path
		serial_normalization session_user sql_safe_updates standard_conforming_strings statement_timeout
		stub_catalog_tables temp_buffers timezone tracing transaction_isolation transaction_priority
		transaction_read_only transaction_rows_read_err transaction_rows_written_err transaction_rows_written_log
		transaction_status transaction_timeout unsafe_setting vacuum_cost_limit wal_compression work_mem
		xmloption backend_flush_after bytea_output track_commit_delay commit_delay commit_siblings max_files_per_process
		max_logical_replication_workers max_notify_queue_pages lc_messages logical_decoding_work_mem max_worker_processes`) {
		assert.NoError(t, checkSlip(key))
	}
}

func TestDSN_Malformed_ErrorSaysWhatToDo(t *testing.T) {
	clearEnv(t)
	for dsn, want := range map[string]string{
		"mysql://app@db/bank":                                       "the scheme is none of",
		"db/bank":                                                   "neither a URL nor",
		"app:pw@db/bank?sslmode=disable":                            "must begin with its scheme",
		"postgresql://app:p%w@db/bank":                              "%25",
		"postgresql://app:p@w@db/bank":                              "%40",
		"postgresql://app:12/w@db/bank":                             "%2F",
		"postgresql://app:p/w@db/bank":                              "%2F",
		"postgresql://app@db:x/bank":                                "port must be a number",
		"cockroachdb://app@db:x/bank":                               "port must be a number",
		"postgresql://app@db/bank?sslmode":                          "no '='",
		"postgresql://app@db/bank?options=-c a=b":                   "second '='",
		"postgresql://app@db/ba nk":                                 "%20",
		"postgresql://app@[::1/bank":                                "brackets",
		"postgresql://app@db/bank\x00":                              "NUL",
		"host=db\x00":                                               "NUL",
		"host=db password='x":                                       "closing quote",
		"host=db password=x y":                                      "single quotes",
		"host=a,b port=1,2,3":                                       "one port for all",
		"host=db sslmode=maybe":                                     "verify-full",
		"host=db sslcertmode=maybe":                                 "sslcertmode",
		"host=db sslrootcert=/nowhere/x":                            "no such file",
		"host=db sslcert=/nowhere/x":                                "together",
		"host=db sslcert=/nowhere/x sslkey=/nowhere/y":              "sslkey names can't be read: no such file",
		"host=db connect_timeout=1s":                                "seconds",
		"host=db target_session_attrs=x":                            "read-write",
		"host=db min_protocol_version=x":                            "min_protocol_version",
		"host=db max_protocol_version=x":                            "max_protocol_version",
		"host=db min_protocol_version=3.2 max_protocol_version=3.0": "above",
		"host=db channel_binding=x":                                 "channel_binding",
		"host=db require_auth=x":                                    "require_auth",
		"host=db statement_cache_capacity=x":                        "statement_cache_capacity",
		"host=db description_cache_capacity=x":                      "description_cache_capacity",
		"host=db default_query_exec_mode=x":                         "simple_protocol",
		"host=db service=x servicefile=/nowhere/x":                  "service file can't be read",
	} {
		_, err := ParseConfig(dsn)
		require.Error(t, err, dsn)
		assert.ErrorContains(t, err, want, dsn)
		assert.True(t, strings.HasPrefix(err.Error(), "cockroachdb: cannot parse the DSN: "), err)
	}
}

// leakyDSNs are DSNs, most of them broken, with the secret where a password may end up.
func leakyDSNs() []string {
	var dsns []string
	// A password around the secret, as someone would write it who doesn't escape.
	for _, pw := range []string{
		"%s", "@%s", "%s@", "a@%s@b", "%%%s", "%%zz%s", "%s%%", "/%s", "%s/", "?%s", "%s?x=y", "#%s", "%s#", ":%s", "a:%s:b",
		"[%s", "%s]", "&%s", "%s&x", "a=%s", "=%s=", " %s", "%s x",
		"'%s", "%s'", `\%s`, `%s\`, "12/%s", "12/3?%s=x", ",%s", "%s,",
		"a,b:%s", "\x00%s", "%s\n", "\x7f%s", "%%00%s", "://%s", "retry_%s=1",
		"x retry_%s=1", "x&retry_%s=1", "12?retry_max_attempts=%s",
		"x retry_max_attempts=%s", "x sslrootcert=%s", "x sslmode=%s",
		"x connect_timeout=%s", "x service=%s", "12/x?sslrootcert=%s&a=",
	} {
		pw := fmt.Sprintf(pw, secret)
		for _, scheme := range []string{
			"postgresql://", "postgres://", "cockroachdb://", "crdb-postgres://", "mysql://", "postgresql:/", "//", "",
		} {
			for _, tail := range []string{
				"@db/bank", "@db:26257/bank?sslmode=disable",
				"@a,b:1/bank?retry_max_atempts=3", "@db:port/bank", "@[::1/bank", "", "@",
			} {
				dsns = append(dsns, scheme+"app:"+pw+tail, scheme+":"+pw+tail)
			}
			dsns = append(dsns, scheme+"app@db/bank?password="+pw, scheme+"app@db/bank?sslpassword="+pw+"&retry_max_attempts=x",
				scheme+"app@db/bank?pass%77ord="+pw+"&sslmode=x", scheme+"app@db:x/bank?password="+pw)
		}
		for _, format := range []string{
			"password=%s", "password='%s'", "password = %s", "password='%s", "password=%s'", "password==%s", "PASSWORD=%s",
		} {
			for _, tail := range []string{"", " host=db", " host=db port=x", " sslmode=x", " retry_max_attempts=x", " =", " x"} {
				dsns = append(dsns, "user=app "+fmt.Sprintf(format, pw)+tail, "sslpassword="+pw+tail)
			}
		}
	}
	return dsns
}

func TestDSN_SecretAnywhere_IsInNoError(t *testing.T) {
	clearEnv(t)
	failed := 0
	for _, dsn := range leakyDSNs() {
		cfg, err := ParseConfig(dsn)
		if err != nil {
			failed++
			assertNoSecret(t, err)
			continue
		}
		_, err = NewConnector(cfg)
		assertNoSecret(t, err)
		if strings.Contains(dsn, "@db") || strings.Contains(dsn, "@a,b") {
			// Otherwise the secret may stand where a host or the database's name does in a DSN without a password.
			assertClean(t, fmt.Sprintf("%+v", cfg), fmt.Sprintf("the Config of %q", dsn))
		}
	}
	t.Logf("%d of %d DSNs are in error", failed, len(leakyDSNs()))
	assert.Greater(t, failed, 1000)
}

func TestDSN_SecretInTheEnvironment_IsInNoError(t *testing.T) {
	clearEnv(t)
	passfile := filepath.Join(t.TempDir(), "pgpass")
	require.NoError(t, os.WriteFile(passfile, []byte("db:*:*:*:"+secret+"\n"), 0o600))
	dsns := []string{
		"host=db port=x", "postgresql://db/bank?retry_max_attempts=x",
		"host=db sslmode=x", "host=nobody.invalid", "host=db sslrootcert=/nowhere",
	}
	for _, env := range [][2]string{
		{"PGPASSWORD", secret},
		{"PGPASSFILE", passfile},
		{"PGSSLPASSWORD", secret},
		{"PGSERVICEFILE", secret},
		{"PGPORT", secret},
	} {
		t.Setenv(env[0], env[1])
		for _, dsn := range dsns {
			cfg, err := ParseConfig(dsn)
			assertNoSecret(t, err)
			if err == nil {
				assertClean(t, fmt.Sprintf("%+v %#v", cfg, *cfg), "a Config")
			}
		}
	}
	t.Setenv("PGPORT", "")
	cfg := mustParse(t, "host=db user=app passfile="+passfile)
	require.Equal(t, secret, cfg.ConnConfig.Password)
	assertClean(t, fmt.Sprintf("%+v %#v %v", cfg, *cfg, mustConnector(t, cfg)), "a Config")
}

// Whatever surrounds the secret, no error shows it: no error repeats any of the DSN but a key very like one of ours.
func FuzzDSNErrorsShowNoSecret(f *testing.F) {
	for i, dsn := range leakyDSNs() {
		if i%97 == 0 {
			before, after, _ := strings.Cut(dsn, secret)
			f.Add(before, after)
		}
	}
	f.Add("cockroachdb://app:", "@db/bank?retry_max_atempts=3")
	f.Add("postgresql://db/bank?retry_max_attempts", "=1")
	f.Fuzz(func(t *testing.T, before, after string) {
		cfg, err := ParseConfig(before + secret + after)
		assertNoSecret(t, err)
		if err == nil {
			_, err = NewConnector(cfg)
			assertNoSecret(t, err)
			_ = cfg.String()
		}
	})
}
