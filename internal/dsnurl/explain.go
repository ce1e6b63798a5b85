package dsnurl

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// parseErrors turns the beginnings of pgx's messages into advice. What follows them may quote the DSN.
var parseErrors = []struct{ pgx, advice string }{
	{"failed to parse as URL (invalid percent-encoded", "a '%' is not followed by two hexadecimal digits: write a '%' that stands for itself as %25"},
	{"failed to parse as URL (forbidden", "it has a NUL byte in it"},
	{"failed to parse as URL (unexpected spaces", "it has a space in it: write it as %20"},
	{"failed to parse as URL (missing key/value separator", "a query parameter has no '=': write it as key=value, and a '&' within a value as %26"},
	{"failed to parse as URL (extra key/value separator", "a query parameter has a second '=': write it as %3D"},
	{"failed to parse as URL", "an IPv6 address must be in brackets, as in [::1]:26257, and nothing but a port, '/', '?' or ',' may follow"},
	{
		"failed to parse as keyword/value (unterminated",
		`a closing quote is missing: within quotes write ' as \' and \ as \\`,
	},
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
	{
		"failed to configure TLS (sslmode is invalid",
		"sslmode must be disable, allow, prefer, require, verify-ca or verify-full",
	},
	{"failed to configure TLS (both", "sslcert and sslkey must be given together"},
	{"failed to configure TLS (unable to read sslkey", "the file that sslkey names can't be read"},
	{"failed to configure TLS (failed to decode sslkey", "the file that sslkey names is not in PEM form"},
	{"failed to configure TLS (unable to find sslpassword", "the file that sslkey names is encrypted: give sslpassword"},
	{"failed to configure TLS (unable to decrypt", "sslpassword does not decrypt the file that sslkey names"},
	{"failed to configure TLS (unable to read cert", "the file that sslcert names can't be read"},
	{
		"failed to configure TLS (unable to load cert",
		"the files that sslcert and sslkey name are not a certificate and its key",
	},
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

// explainParseError says what pgx found wrong, in words that hold nothing of the DSN. pgx's own error holds all of it,
// and hides passwords from its text only as well as it can.
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
	return parseError(advice)
}
