package cockroachdb

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/reprise-go/cockroachdb/internal/wire"
)

// What a server, and the parameters that a connection was opened with, say of what it does.

func isCockroachDB(s *wire.Session) bool { return s.PG.ParameterStatus("crdb_version") != "" }

// version is that of a CockroachDB. The zero value is one that is not known, and older than all others.
type version struct{ major, minor int }

func (v version) since(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

func versionOf(s *wire.Session) version { return parseVersion(s.PG.ParameterStatus("crdb_version")) }

var versionNumber = regexp.MustCompile(`\bv([0-9]+)\.([0-9]+)`)

// parseVersion reads a crdb_version.
func parseVersion(text string) (v version) {
	if m := versionNumber.FindStringSubmatch(text); m != nil {
		v.major, _ = strconv.Atoi(m[1])
		v.minor, _ = strconv.Atoi(m[2])
	}
	return v
}

// sessionVariable returns what a session is opened with as the value of a variable, if anything: by a parameter of its
// own or by one of the options ("-c name=value" or "--name=value").
func sessionVariable(params map[string]string, name string) (values []string) {
	for key, value := range params {
		if strings.EqualFold(key, name) {
			values = append(values, value)
		}
	}
	for word := range strings.FieldsSeq(params["options"]) {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "--"), "-c"), "=")
		if strings.EqualFold(strings.ReplaceAll(key, "-", "_"), name) {
			values = append(values, value)
		}
	}
	return values
}

// forceSavepointRestart reports whether a connection opened with these run-time parameters has the session variable
// force_savepoint_restart on, which makes every savepoint a restart savepoint.
func forceSavepointRestart(params map[string]string) bool {
	return slices.ContainsFunc(sessionVariable(params, "force_savepoint_restart"), isOn)
}

// runsTextAsOneTx reports whether a server of this version runs a text of several statements as one transaction:
// CockroachDB since v22.2, and PostgreSQL, which has no crdb_version. What is not understood does not.
func runsTextAsOneTx(crdbVersion string) bool {
	return crdbVersion == "" || parseVersion(crdbVersion).since(22, 2)
}

// isOn reads a boolean as the server does.
func isOn(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "on", "true", "t", "yes", "y", "1":
		return true
	}
	return false
}
