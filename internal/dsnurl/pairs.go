package dsnurl

import "strings"

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
