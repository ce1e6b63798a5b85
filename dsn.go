package cockroachdb

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reprise-go/cockroachdb/internal/dialer"
	"github.com/reprise-go/cockroachdb/internal/dsnurl"
)

// ParseConfig parses a DSN. It may be whatever pgx.ParseConfig takes: a URL, with several hosts or one;
// keyword/value pairs; nothing, for the PG* environment variables alone; or a name given by pgx's
// stdlib.RegisterConnConfig, with the default retry settings. The schemes cockroachdb, cockroach and crdb-postgres
// stand beside postgresql and postgres. With them a host without a port has that of PGPORT, or else 26257; but a URL
// of one host that leaves its port to a service file has that service's port, or else 5432.
//
// These keys are the driver's own and never reach the server:
//
//   - retry_max_attempts, retry_max_elapsed, retry_initial_backoff, retry_max_backoff, retry_backoff_multiplier,
//     retry_lane_wait, retry_max_statements, retry_max_bytes and retry_max_failovers set the field of that name of
//     [RetryPolicy];
//   - retry_restart, which may be savepoint, begin or auto, sets Restart;
//   - retry_throttle_tokens and retry_throttle_tokens_per_commit set MaxTokens and TokensPerCommit of [RetryThrottle];
//   - ping_after sets PingAfter; connection_lifetime and dials_per_second set ConnLifetime and DialRate;
//     load_balance_hosts, which may be random or disable, sets BalanceHosts; load_balance_groups, sizes such as 2,1 or
//     0 for one group of all, sets HostGroups;
//   - retry_pin_generated, which may be on or off, sets PinGenerated;
//   - retry_learn_locks, which may be runtx, on or off, sets LearnLocks;
//   - retry_commit_marker, which may be on or off, sets CommitMarker, and retry_commit_table sets CommitTable;
//   - dead_peer_timeout, a duration, is after how much silence of the network a connection that waits for an answer,
//     or to be used, is given up: the ConnConfig gets a DialFunc for it. It bounds pings too, and logins where there is
//     no connect_timeout. The default is 30 seconds; zero leaves all that to the system.
//
// Durations are written as Go's: "500ms". A key that looks like a slip for one of them is an error. The defaults, and
// what else they mean, are in the [README].
//
// No error quotes the DSN, nor a value from it. A password in a URL has its special characters percent-encoded; where
// an unescaped '@' has put a part of one into the hosts or the database's name, that is an error too.
//
// [README]: https://github.com/reprise-go/cockroachdb#tuning
func ParseConfig(dsn string) (*Config, error) {
	cfg := &Config{
		RetryPolicy:   DefaultRetryPolicy(),
		RetryThrottle: DefaultRetryThrottle(),
		Metrics:       DefaultMetrics,
		Restart:       RestartSavepoint,
		LearnLocks:    LearnLocksInRunTx,
		PingAfter:     defaultPingAfter,
		ConnLifetime:  defaultConnLifetime,
		DialRate:      defaultDialRate,
		CommitTable:   DefaultCommitTable,
		PinGenerated:  true,
	}
	if registeredName.MatchString(dsn) {
		cfg.registered = dsn
		return cfg, nil
	}
	var err error
	if cfg.ConnConfig, err = dsnurl.Parse(dsn); err != nil {
		return nil, err
	}
	if err := checkRepeated(dsn); err != nil {
		return nil, err
	}
	cfg.BalanceHosts = cfg.ConnConfig.ValidateConnect == nil // which target_session_attrs sets
	cfg.setDeadPeerTimeout(defaultDeadPeerTimeout)
	if err := takeSettings(cfg, cfg.ConnConfig.RuntimeParams); err != nil {
		return nil, err
	}
	return cfg, nil
}

const (
	defaultPingAfter       = time.Second // pgx's
	defaultConnLifetime    = 30 * time.Minute
	defaultDialRate        = 100
	defaultDeadPeerTimeout = 30 * time.Second
)

// setDeadPeerTimeout makes sockets notice a peer that has fallen silent.
func (c *Config) setDeadPeerTimeout(d time.Duration) {
	c.deadPeer = d
	if c.ConnConfig != nil {
		c.ConnConfig.DialFunc = dialer.New(c.ConnConfig.ConnectTimeout, d)
	}
}

// registeredName matches what pgx's stdlib.RegisterConnConfig returns.
var registeredName = regexp.MustCompile(`^registeredConnConfig[0-9]+$`)

// checkRepeated refuses a driver's setting that is in the DSN twice: of two values one would be ignored in silence.
func checkRepeated(dsn string) error {
	keys := dsnurl.Keys(dsn)
	slices.Sort(keys)
	for i, key := range keys {
		if s, ok := settingNamed(key); ok && i > 0 && keys[i-1] == key {
			return fmt.Errorf("cockroachdb: DSN key %q (%s) is given more than once", s.key, s.kind)
		}
	}
	return nil
}

// A setting is one of the driver's own DSN keys.
type setting struct {
	key  string
	kind string // in words, with an article
	set  func(*Config, string) error
}

var settings = []setting{
	wholeNumber("retry_max_attempts", func(c *Config) *int { return &c.RetryPolicy.MaxAttempts }),
	duration("retry_max_elapsed", func(c *Config) *time.Duration { return &c.RetryPolicy.MaxElapsed }),
	duration("retry_initial_backoff", func(c *Config) *time.Duration { return &c.RetryPolicy.InitialBackoff }),
	duration("retry_max_backoff", func(c *Config) *time.Duration { return &c.RetryPolicy.MaxBackoff }),
	number("retry_backoff_multiplier", func(c *Config) *float64 { return &c.RetryPolicy.BackoffMultiplier }),
	duration("retry_lane_wait", func(c *Config) *time.Duration { return &c.RetryPolicy.LaneWait }),
	wholeNumber("retry_max_statements", func(c *Config) *int { return &c.RetryPolicy.MaxStatements }),
	wholeNumber("retry_max_bytes", func(c *Config) *int { return &c.RetryPolicy.MaxBytes }),
	wholeNumber("retry_max_failovers", func(c *Config) *int { return &c.RetryPolicy.MaxFailovers }),
	word("retry_restart", "savepoint, begin or auto", func(c *Config) *RestartMode { return &c.Restart }),
	wholeNumber("retry_throttle_tokens", func(c *Config) *int { return &c.RetryThrottle.MaxTokens }),
	number("retry_throttle_tokens_per_commit", func(c *Config) *float64 { return &c.RetryThrottle.TokensPerCommit }),
	duration("ping_after", func(c *Config) *time.Duration { return &c.PingAfter }),
	duration("connection_lifetime", func(c *Config) *time.Duration { return &c.ConnLifetime }),
	wholeNumber("dials_per_second", func(c *Config) *int { return &c.DialRate }),
	choice("load_balance_hosts", "random", "disable", func(c *Config) *bool { return &c.BalanceHosts }),
	{"load_balance_groups", `a list of numbers such as "2,1"`, (*Config).setHostGroups},
	choice("retry_pin_generated", "on", "off", func(c *Config) *bool { return &c.PinGenerated }),
	word("retry_learn_locks", "runtx, on or off", func(c *Config) *LockLearning { return &c.LearnLocks }),
	choice("retry_commit_marker", "on", "off", func(c *Config) *bool { return &c.CommitMarker }),
	{"retry_commit_table", "the name of a table", (*Config).setCommitTable},
	{"dead_peer_timeout", durationKind, (*Config).parseDeadPeerTimeout},
}

func settingNamed(key string) (setting, bool) {
	for _, s := range settings {
		if s.key == key {
			return s, true
		}
	}
	return setting{}, false
}

func wholeNumber(key string, field func(*Config) *int) setting {
	return setting{key, "a whole number", func(c *Config, text string) error {
		n, err := strconv.Atoi(text)
		*field(c) = n
		return valueError(err, text)
	}}
}

func number(key string, field func(*Config) *float64) setting {
	return setting{key, "a number", func(c *Config, text string) error {
		x, err := strconv.ParseFloat(text, 64)
		if err == nil && (math.IsNaN(x) || math.IsInf(x, 0)) {
			err = strconv.ErrRange
		}
		*field(c) = x
		return valueError(err, text)
	}}
}

// choice is a setting of two words, of which yes sets the field.
func choice(key, yes, no string, field func(*Config) *bool) setting {
	return setting{key, yes + " or " + no, func(c *Config, text string) error {
		*field(c) = text == yes
		if text != yes && text != no {
			return errors.New("the value is neither")
		}
		return nil
	}}
}

// word is for a field of a type that knows its words.
func word[T interface {
	~string
	validate() error
}](key, kind string, field func(*Config) *T) setting {
	return setting{key, kind, func(c *Config, text string) error {
		*field(c) = T(text)
		if text == "" || T(text).validate() != nil {
			return errors.New("the value is none of them")
		}
		return nil
	}}
}

func (c *Config) setCommitTable(text string) error {
	c.CommitTable = text
	if !isTableName(text) {
		return errors.New("the value is not one")
	}
	return nil
}

func (c *Config) setHostGroups(text string) error {
	c.HostGroups = nil
	if text == "0" {
		return nil
	}
	for size := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return valueError(err, text)
		}
		c.HostGroups = append(c.HostGroups, n)
	}
	return nil
}

func (c *Config) parseDeadPeerTimeout(text string) error {
	d, err := parseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("the value is below zero")
	}
	if err == nil {
		c.setDeadPeerTimeout(d)
	}
	return err
}

const durationKind = `a duration such as "500ms"`

func duration(key string, field func(*Config) *time.Duration) setting {
	return setting{key, durationKind, func(c *Config, text string) error {
		d, err := parseDuration(text)
		*field(c) = d
		return err
	}}
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if _, notNumber := strconv.ParseFloat(text, 64); err != nil && notNumber == nil {
		return 0, errors.New("the value has no unit")
	}
	return d, valueError(err, text)
}

// valueError says what kept a value from being parsed, without quoting it.
func valueError(err error, text string) error {
	switch {
	case err == nil:
		return nil
	case text == "":
		return errors.New("the value is empty")
	case errors.Is(err, strconv.ErrRange):
		return errors.New("the value is out of range")
	default:
		return errors.New("the value is not one")
	}
}

// takeSettings moves the driver's settings from params to cfg, checks them, and refuses keys that look like a slip for
// one: the server ignores keys that it doesn't know.
func takeSettings(cfg *Config, params map[string]string) error {
	given := make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(params)) {
		s, ok := settingNamed(key)
		if !ok {
			if err := checkSlip(key); err != nil {
				return err
			}
			continue
		}
		if err := s.set(cfg, params[key]); err != nil {
			return fmt.Errorf("cockroachdb: DSN key %q takes %s: %w", s.key, s.kind, err)
		}
		given[key] = params[key]
		delete(params, key)
	}
	return checkSettings(cfg, given)
}

// checkSettings validates what the DSN has made of cfg. The error names the key whose value is wrong. If values are
// wrong only together, the policy's error names their fields.
func checkSettings(cfg *Config, given map[string]string) error {
	all := cfg.validate()
	if all == nil {
		return nil
	}
	for _, s := range settings {
		text, ok := given[s.key]
		if !ok {
			continue
		}
		alone := Config{
			RetryPolicy: DefaultRetryPolicy(), RetryThrottle: DefaultRetryThrottle(),
			ConnConfig: cfg.ConnConfig, BalanceHosts: cfg.BalanceHosts, // which HostGroups is checked against
		}
		_ = s.set(&alone, text) // it went well before
		if err := alone.validate(); err != nil {
			return fmt.Errorf("cockroachdb: DSN key %q (%s): %s", s.key, s.kind, withoutPrefix(err))
		}
	}
	return fmt.Errorf("cockroachdb: the DSN's retry settings: %s", withoutPrefix(all))
}

func withoutPrefix(err error) string { return strings.ReplaceAll(err.Error(), "cockroachdb: ", "") }

// checkSlip reports a key that isn't one of the driver's, but begins as they do or is nearly one.
func checkSlip(key string) error {
	s, distance := nearestSetting(key)
	lower := strings.ToLower(key)
	ours := strings.HasPrefix(lower, "retry") || strings.HasPrefix(lower, "retries") // no session variable does
	if !ours && distance > len(s.key)/5 {
		return nil
	}
	if distance > len(s.key)/3 {
		// Too far off to be a slip of the fingers: perhaps not a key at all but a piece of a password. Don't repeat it.
		return fmt.Errorf("cockroachdb: unknown DSN key in the style of \"retry_...\": the nearest one is %q (%s)", s.key, s.kind)
	}
	return fmt.Errorf("cockroachdb: unknown DSN key %q: did you mean %q (%s)?", key, s.key, s.kind)
}

// nearestSetting returns the setting that key is most like, and how many letters are between them.
func nearestSetting(key string) (nearest setting, distance int) {
	distance = math.MaxInt
	for _, s := range settings {
		if d := dsnurl.Distance(key, s.key); d < distance {
			nearest, distance = s, d
		}
	}
	return nearest, distance
}
