package kit

import "strings"

// LastAttempt lists the application's statements since the last restart, without the opening and the commit.
func (r *Rig) LastAttempt() []string {
	var attempt []string
	for _, sql := range r.Sent() {
		switch {
		case sql == RollbackTo, strings.HasPrefix(sql, "BEGIN"):
			attempt = nil
		case sql == Savepoint, sql == Release, sql == "COMMIT", sql == "ROLLBACK":
		default:
			attempt = append(attempt, sql)
		}
	}
	return attempt
}

var shortNames = strings.NewReplacer(RollbackTo, "ROLLBACK TO", Release, "RELEASE", Savepoint, "SAVEPOINT")

// Short leaves out the name of the restart savepoint.
func Short(sql string) string { return shortNames.Replace(sql) }

// Trips lists the round trips of a connection: "Describe X" of a text without a name, "Parse X" under a name, what is
// executed, and "Query X" for the simple protocol.
func (r *Rig) Trips(conn int) []string {
	texts, portal := map[string]string{}, ""
	var all []string
	for _, messages := range r.OfConn(conn) {
		var parts []string
		for _, m := range messages {
			kind, rest, _ := strings.Cut(m, " ")
			switch kind {
			case "Parse":
				name, text, _ := strings.Cut(strings.TrimPrefix(rest, "name="), " sql=")
				texts[name] = text
				if name != "" {
					parts = append(parts, "Parse "+text)
				}
			case "Describe":
				if rest == "S" || rest == "S " {
					parts = append(parts, "Describe "+texts[""])
				}
			case "Bind":
				name, _, _ := strings.Cut(strings.TrimPrefix(rest, "stmt="), " ")
				portal = texts[name]
			case "Execute":
				parts = append(parts, Short(portal))
			case "Query":
				parts = append(parts, m)
			}
		}
		all = append(all, strings.Join(parts, "; "))
	}
	return all
}
