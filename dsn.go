package cockroachdb

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// registeredName matches what pgx's stdlib.RegisterConnConfig returns.
var registeredName = regexp.MustCompile(`^registeredConnConfig[0-9]+$`)

// cockroachPort is where CockroachDB listens unless it is told otherwise.
const cockroachPort = "26257"

// urlScheme matches the beginning of a DSN that is a URL. Keyword/value pairs never match: an '=' comes first there.
var urlScheme = regexp.MustCompile(`^\s*([A-Za-z][A-Za-z0-9+.-]*)://`)

// A dsnError says what is wrong with a DSN and what to do. It is never built from text of the DSN: a part of a malformed
// one may be a password, whichever part it looks like.
type dsnError string

func (e dsnError) Error() string { return "cockroachdb: cannot parse the DSN: " + string(e) }

// parseConnConfig parses a DSN as pgx does, except for the schemes and the default port. Settings of the driver's own are
// among the RuntimeParams of the result.
func parseConnConfig(dsn string) (*pgx.ConnConfig, error) {
	if m := urlScheme.FindStringSubmatch(dsn); m != nil {
		rest := dsn[len(m[0]):]
		switch strings.ToLower(m[1]) {
		case "postgresql", "postgres":
		case "cockroachdb", "cockroach", "crdb-postgres":
			rest = withCockroachPorts(rest)
		default:
			return nil, dsnError("the scheme is none of postgresql, postgres, cockroachdb, cockroach and crdb-postgres")
		}
		if strings.Contains(splitURL(rest).path, "@") {
			return nil, dsnError("there is an '@' behind the first '/': write an '@' in the database's name as %40, and a '/' or an '@' in the password as %2F or %40")
		}
		dsn = "postgresql://" + rest
	}
	cc, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, explainParseError(err)
	}
	return cc, checkStrayText(cc)
}

// checkStrayText refuses what pgx takes for a host or a session variable though it can't be one. It comes from a password
// that isn't escaped, and would be shown by every error about that host, or sent to the server in the clear.
func checkStrayText(cc *pgx.ConnConfig) error {
	hosts := []string{cc.Host}
	for _, f := range cc.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, h := range hosts {
		if strings.Contains(h, "@") && !strings.HasPrefix(h, "/") {
			return dsnError("a host has an '@' in it: write an '@' in the password of a URL as %40")
		}
	}
	for key := range cc.RuntimeParams {
		if strings.ContainsAny(key, "@:/?") {
			return dsnError("a key has '@', ':', '/' or '?' in it: a URL must begin with its scheme, as in postgresql://, and such characters in its password be percent-encoded")
		}
	}
	return nil
}

// parseErrors turns the beginnings of pgx's messages into advice. What follows them may quote the DSN.
var parseErrors = []struct{ pgx, advice string }{
	{"failed to parse as URL (invalid percent-encoded", "a '%' is not followed by two hexadecimal digits: write a '%' that stands for itself as %25"},
	{"failed to parse as URL (forbidden", "it has a NUL byte in it"},
	{"failed to parse as URL (unexpected spaces", "it has a space in it: write it as %20"},
	{"failed to parse as URL (missing key/value separator", "a query parameter has no '=': write it as key=value, and a '&' within a value as %26"},
	{"failed to parse as URL (extra key/value separator", "a query parameter has a second '=': write it as %3D"},
	{"failed to parse as URL", "an IPv6 address must be in brackets, as in [::1]:26257, and nothing but a port, '/', '?' or ',' may follow"},
	{"failed to parse as keyword/value (unterminated", `a closing quote is missing: within quotes write ' as \' and \ as \\`},
	{"failed to parse as keyword/value (forbidden", "it has a NUL byte in it"},
	{"failed to parse as keyword/value", "it is neither a URL nor made of key=value pairs: put a value with spaces between single quotes"},
	{"failed to read service (unable to find", "the service file has no such service"},
	{"failed to read service", "the service file can't be read"},
	{"invalid sslcertmode", "sslcertmode must be disable, allow or require"},
	{"invalid connect_timeout", "connect_timeout must be a whole number of seconds"},
	{"could not match", "give one port for all hosts, or one for each"},
	{"invalid port", "a port must be a number from 1 to 65535; in the password of a URL write ':' as %3A, '/' as %2F, '?' as %3F and '@' as %40"},
	{"failed to configure TLS (unable to read CA file", "the file that sslrootcert names can't be read"},
	{"failed to configure TLS (unable to add CA", "the file that sslrootcert names holds no certificate in PEM form"},
	{"failed to configure TLS (unable to load system", "the system's certificates can't be read"},
	{"failed to configure TLS (sslmode is invalid", "sslmode must be disable, allow, prefer, require, verify-ca or verify-full"},
	{"failed to configure TLS (both", "sslcert and sslkey must be given together"},
	{"failed to configure TLS (unable to read sslkey", "the file that sslkey names can't be read"},
	{"failed to configure TLS (failed to decode sslkey", "the file that sslkey names is not in PEM form"},
	{"failed to configure TLS (unable to find sslpassword", "the file that sslkey names is encrypted: give sslpassword"},
	{"failed to configure TLS (unable to decrypt", "sslpassword does not decrypt the file that sslkey names"},
	{"failed to configure TLS (unable to read cert", "the file that sslcert names can't be read"},
	{"failed to configure TLS (unable to load cert", "the files that sslcert and sslkey name are not a certificate and its key"},
	{"failed to configure TLS", "the TLS settings don't fit together"},
	{"unknown target_session_attrs", "target_session_attrs must be any, read-write, read-only, primary, standby or prefer-standby"},
	{"invalid min_protocol_version", "min_protocol_version must be 3.0, 3.2 or latest"},
	{"invalid max_protocol_version", "max_protocol_version must be 3.0, 3.2 or latest"},
	{"min_protocol_version cannot", "min_protocol_version is above max_protocol_version"},
	{"unknown channel_binding", "channel_binding must be disable, prefer or require"},
	{"invalid require_auth", "require_auth must list authentication methods, all with a '!' before them or none"},
	{"cannot parse statement_cache_capacity", "statement_cache_capacity must be a whole number"},
	{"cannot parse description_cache_capacity", "description_cache_capacity must be a whole number"},
	{"invalid default_query_exec_mode", "default_query_exec_mode must be cache_statement, cache_describe, describe_exec, exec or simple_protocol"},
}

// explainParseError says what pgx found wrong, in words that hold nothing of the DSN. pgx's own error holds all of it, and
// hides passwords from its text only as well as it can.
func explainParseError(err error) error {
	advice := "pgx does not take it"
	if pe, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		bare := *pe
		bare.ConnString = "" // leaves "cannot parse ``: message (reason)"
		_, text, _ := strings.Cut(bare.Error(), "``: ")
		for _, e := range parseErrors {
			if strings.HasPrefix(text, e.pgx) {
				advice = e.advice
				break
			}
		}
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		advice += ": " + pathErr.Err.Error() // the system's reason, without the path
	}
	return dsnError(advice)
}

// urlParts are the parts of a URL behind its scheme, cut where pgx and libpq cut them, which is not where net/url does:
// there may be several hosts. Joined, the parts are the text again.
type urlParts struct {
	userinfo string // ends with '@' if there is one
	hosts    string
	path     string // begins with '/' if there is one
	query    string // begins with '?' if there is one
}

func splitURL(rest string) (u urlParts) {
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		u.userinfo, rest = rest[:i+1], rest[i+1:]
	}
	end := 0
	for end < len(rest) && rest[end] != '/' && rest[end] != '?' {
		if rest[end] == '[' {
			end += max(strings.IndexByte(rest[end:], ']'), 0)
		}
		end++
	}
	u.hosts, rest = rest[:end], rest[end:]
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		rest, u.query = rest[:i], rest[i:]
	}
	u.path = rest
	return u
}

// ports returns the port behind each host, "" where there is none.
func (u urlParts) ports() []string {
	var ports []string
	rest := u.hosts
	for {
		if strings.HasPrefix(rest, "[") {
			rest = rest[max(strings.IndexByte(rest, ']'), 0):]
		}
		host, next, more := strings.Cut(rest, ",")
		_, port, _ := strings.Cut(host, ":")
		ports = append(ports, port)
		if !more {
			return ports
		}
		rest = next
	}
}

// keys returns the keys of the query, decoded, each as often as it is there.
func (u urlParts) keys() []string {
	var keys []string
	for pair := range strings.SplitSeq(strings.TrimPrefix(u.query, "?"), "&") {
		raw, _, _ := strings.Cut(pair, "=")
		if key, err := url.PathUnescape(strings.Trim(raw, " ")); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// withCockroachPorts gives every host of a URL without a port the one of PGPORT or CockroachDB's, by a parameter "port",
// which to pgx goes before the ports behind the hosts.
func withCockroachPorts(rest string) string {
	u := splitURL(rest)
	keys := u.keys()
	if slices.Contains(keys, "port") {
		return rest
	}
	ports := u.ports()
	service := slices.Contains(keys, "service") || os.Getenv("PGSERVICE") != ""
	if service && len(ports) == 1 {
		return rest // the service may have a port, and that goes before ours
	}
	if strings.Trim(strings.Join(ports, ""), "0123456789") != "" {
		return rest // pgx will say that a port isn't a number
	}
	fallback := cmp.Or(url.PathEscape(os.Getenv("PGPORT")), cockroachPort)
	list := fallback // one port, or a list as long as that of the hosts
	if strings.Join(ports, "") != "" {
		if strings.Contains(fallback, "%2C") {
			fallback = cockroachPort
		}
		for i, p := range ports {
			ports[i] = cmp.Or(p, fallback)
		}
		list = strings.Join(ports, ",")
	}
	sep := "?"
	if u.query != "" {
		sep = "&"
	}
	if strings.HasSuffix(u.query, "?") || strings.HasSuffix(u.query, "&") {
		sep = ""
	}
	return rest + sep + "port=" + list
}

// keywordValueKeys returns the keys of a DSN made of key=value pairs, each as often as it is there. It follows libpq's
// rules of quoting, and leaves complaints about them to pgx.
func keywordValueKeys(dsn string) []string {
	const space = " \t\n\r\v\f"
	var keys []string
	for {
		key, rest, ok := strings.Cut(dsn, "=")
		if !ok {
			return keys
		}
		keys = append(keys, strings.Trim(key, space))
		rest = strings.TrimLeft(rest, space)
		end := space
		if strings.HasPrefix(rest, "'") {
			rest, end = rest[1:], "'"
		}
		i := 0
		for i < len(rest) && strings.IndexByte(end, rest[i]) < 0 {
			if rest[i] == '\\' {
				i++
			}
			i++
		}
		dsn = rest[min(i+1, len(rest)):]
	}
}

// checkRepeated refuses a driver's setting that is in the DSN twice: of two values one would be ignored in silence.
func checkRepeated(dsn string) error {
	var keys []string
	if m := urlScheme.FindString(dsn); m != "" {
		keys = splitURL(dsn[len(m):]).keys()
	} else {
		keys = keywordValueKeys(dsn)
	}
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
	wholeNumber("retry_throttle_tokens", func(c *Config) *int { return &c.RetryThrottle.MaxTokens }),
	number("retry_throttle_tokens_per_commit", func(c *Config) *float64 { return &c.RetryThrottle.TokensPerCommit }),
	duration("ping_after", func(c *Config) *time.Duration { return &c.PingAfter }),
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

func duration(key string, field func(*Config) *time.Duration) setting {
	return setting{key, `a duration such as "500ms"`, func(c *Config, text string) error {
		d, err := time.ParseDuration(text)
		if _, notNumber := strconv.ParseFloat(text, 64); err != nil && notNumber == nil {
			return errors.New("the value has no unit")
		}
		*field(c) = d
		return valueError(err, text)
	}}
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

// takeSettings moves the driver's settings from params to cfg, checks them, and refuses keys that look like a slip for one:
// the server ignores keys that it doesn't know.
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

// checkSettings validates what the DSN has made of cfg. The error names the key that is wrong by itself, if there is one
// such; if values are wrong only together, the policy's error names their fields.
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
		alone := Config{RetryPolicy: DefaultRetryPolicy(), RetryThrottle: DefaultRetryThrottle()}
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

// nearestSetting returns the setting that key is most like, and how many letters are between them. Separators and case
// don't count, nor does the order of the words, nor a missing "retry".
func nearestSetting(key string) (nearest setting, distance int) {
	distance = math.MaxInt
	got := letters(key[:min(len(key), 64)]) // none of ours is as long
	for _, s := range settings {
		d := editDistance(got, letters(s.key))
		// A name without its "retry" has fewer letters to be told apart by, so a slip costs double there.
		d = min(d, 2*editDistance(got, letters(strings.TrimPrefix(s.key, "retry_"))))
		if sortedWords(key) == sortedWords(s.key) {
			d = 0
		}
		if d < distance {
			nearest, distance = s, d
		}
	}
	return nearest, distance
}

func letters(key string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
}

func sortedWords(key string) string {
	return strings.Join(slices.Sorted(strings.SplitSeq(strings.ToLower(key), "_")), "_")
}

// editDistance counts the letters to insert, remove, replace or swap with their neighbour to get from a to b.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
