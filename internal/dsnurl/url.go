package dsnurl

import (
	"cmp"
	"net/url"
	"os"
	"slices"
	"strings"
)

// urlParts are the parts of a URL after its scheme, cut where pgx and libpq cut them, which is not where net/url does:
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

// ports returns the port after each host, "" where there is none.
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

// withCockroachPorts gives every host of a URL without a port the one of PGPORT or CockroachDB's, by a parameter
// "port", which to pgx goes before the ports after the hosts.
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
	fallback := cmp.Or(url.PathEscape(os.Getenv("PGPORT")), CockroachPort)
	list := fallback // one port, or a list as long as that of the hosts
	if strings.Join(ports, "") != "" {
		if strings.Contains(fallback, "%2C") {
			fallback = CockroachPort
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
