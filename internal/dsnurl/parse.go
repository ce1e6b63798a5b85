// Package dsnurl reads the text of a DSN: URLs and key=value pairs, as pgx and libpq do, and the schemes and the port
// of CockroachDB.
package dsnurl

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// CockroachPort is where CockroachDB listens unless it is told otherwise.
const CockroachPort = "26257"

// urlScheme matches the beginning of a DSN that is a URL. Keyword/value pairs never match: an '=' comes first there.
var urlScheme = regexp.MustCompile(`^\s*([A-Za-z][A-Za-z0-9+.-]*)://`)

// A parseError says what is wrong with a DSN and what to do. It is never built from text of the DSN: a part of a
// malformed one may be a password, whichever part it looks like.
type parseError string

func (e parseError) Error() string { return "cockroachdb: cannot parse the DSN: " + string(e) }

// Parse parses a DSN as pgx does, except for the schemes and the default port. Settings that
// pgx does not know, such as the driver's own, are among the RuntimeParams of the result.
func Parse(dsn string) (*pgx.ConnConfig, error) {
	if m := urlScheme.FindStringSubmatch(dsn); m != nil {
		rest := dsn[len(m[0]):]
		switch strings.ToLower(m[1]) {
		case "postgresql", "postgres":
		case "cockroachdb", "cockroach", "crdb-postgres":
			rest = withCockroachPorts(rest)
		default:
			return nil, parseError("the scheme is none of postgresql, postgres, cockroachdb, cockroach and crdb-postgres")
		}
		if strings.Contains(splitURL(rest).path, "@") {
			return nil, parseError("there is an '@' after the first '/': write an '@' in the database's name as %40, and a '/' or an '@' in the password as %2F or %40")
		}
		dsn = "postgresql://" + rest
	}
	cc, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, explainParseError(err)
	}
	return cc, checkStrayText(cc)
}

// Keys returns the keys that a DSN sets, decoded, each as often as it is there.
func Keys(dsn string) []string {
	if m := urlScheme.FindString(dsn); m != "" {
		return splitURL(dsn[len(m):]).keys()
	}
	return keywordValueKeys(dsn)
}

// checkStrayText refuses what pgx takes for a host or a session variable though it can't be one. It comes from a
// password that isn't escaped, and would be shown by every error about that host, or sent to the server in the clear.
func checkStrayText(cc *pgx.ConnConfig) error {
	hosts := []string{cc.Host}
	for _, f := range cc.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, h := range hosts {
		if strings.Contains(h, "@") && !strings.HasPrefix(h, "/") {
			return parseError("a host has an '@' in it: write an '@' in the password of a URL as %40")
		}
	}
	for key := range cc.RuntimeParams {
		if strings.ContainsAny(key, "@:/?") {
			return parseError("a key has '@', ':', '/' or '?' in it: a URL must begin with its scheme, as in postgresql://, and such characters in its password be percent-encoded")
		}
	}
	return nil
}
