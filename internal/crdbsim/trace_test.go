package crdbsim

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notReplayed are the recordings that can't be replayed, and why.
var notReplayed = map[string]string{
	"connect":    "nothing is sent in it: TestStartup holds the start-up against it",
	"locks_kept": "PostgreSQL drops a transaction's locks with its snapshot, and a restart needs a new snapshot",
}

// otherValues are the recordings in which rows may hold other values, and why.
var otherValues = map[string]string{
	"clocks":    "timestamps, and PostgreSQL's now() is that of the restart",
	"sequences": "unique_rowid()",
}

// TestTraces holds the sim against the recordings of a real CockroachDB, in both protocols.
func TestTraces(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.trace")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	names := make(map[string]bool)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".trace")
		names[name] = true
		if notReplayed[name] != "" {
			continue
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, mode := range []string{"recorded", "simple", "extended"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				replay(t, string(data), mode, otherValues[name] == "")
			})
		}
	}
	for _, table := range []map[string]string{notReplayed, otherValues} {
		for name := range table {
			assert.True(t, names[name], "there is no recording %s", name)
		}
	}
}

// A replayer replays one recording.
type replayer struct {
	*testing.T
	mode     string
	values   bool
	sessions map[string]*client
	opened   map[string][]string // statements not sent yet: those before a Sync
	swapped  bool                // A and B have changed places
}

func replay(t *testing.T, trace, mode string, values bool) {
	w := newTestbed(t, Config{})
	p := &replayer{t, mode, values, make(map[string]*client), make(map[string][]string), false}
	for _, name := range []string{"A", "B"} {
		p.sessions[name] = w.client(t)
	}
	p.sessions["A"].query("CREATE SEQUENCE seq; CREATE TABLE r (id INT8 DEFAULT unique_rowid() PRIMARY KEY, a INT)")
	for i, line := range strings.Split(strings.TrimSpace(trace), "\n") {
		if strings.HasPrefix(line, "# which of the two loses") {
			p.seeWhoLost()
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, direction, rest := p.session(line[:1]), line[1], line[3:]
		if direction == '>' {
			p.send(name, rest)
			continue
		}
		if want := p.expected(rest); want != "" {
			got := p.sessions[name].next()
			if !values && got[0] == 'D' && want[0] == 'D' {
				got = want
			}
			require.Equal(t, want, got, "line %d: %s", i+1, line)
		}
	}
}

func (p *replayer) session(name string) string {
	if p.swapped {
		return map[string]string{"A": "B", "B": "A"}[name]
	}
	return name
}

// seeWhoLost makes sure that B is the one who has won.
func (p *replayer) seeWhoLost() {
	for _, c := range p.sessions {
		c.back = append(c.back, c.next())
	}
	p.swapped = p.sessions["A"].back[0][0] == 'C'
}

// send replays a line of what a session sends, in the protocol of the mode.
func (p *replayer) send(name, line string) {
	c := p.sessions[name]
	if line == "Sync" {
		if p.mode == "simple" {
			c.send(&pgproto3.Query{String: strings.Join(p.opened[name], "; ")})
		} else {
			c.send(&pgproto3.Sync{})
		}
		p.opened[name] = nil
		return
	}
	kind, quoted, _ := strings.Cut(line, " ")
	quoted, err := strconv.QuotedPrefix(quoted)
	require.NoError(p, err)
	sql, err := strconv.Unquote(quoted)
	require.NoError(p, err)
	switch {
	case kind == "Query" && p.mode == "extended":
		for _, s := range split(sql) {
			c.statement(s)
		}
		c.send(&pgproto3.Sync{})
	case kind == "Query":
		c.send(&pgproto3.Query{String: sql})
	case p.mode == "simple":
		p.opened[name] = append(p.opened[name], sql)
	default:
		c.statement(sql)
	}
}

// expected puts a line of what a session receives as client.next does; it is empty for messages that are not compared.
func (p *replayer) expected(line string) string {
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "CommandComplete":
		tag, err := strconv.Unquote(rest)
		require.NoError(p, err)
		return "C " + tag
	case "ErrorResponse":
		_, code, _ := strings.Cut(rest, "code=")
		return "E " + code[:5]
	case "ReadyForQuery":
		return "Z " + rest
	case "DataRow":
		text := "D"
		for rest != "" {
			quoted, err := strconv.QuotedPrefix(rest)
			require.NoError(p, err)
			value, _ := strconv.Unquote(quoted)
			text += " " + value
			rest = strings.TrimSpace(rest[len(quoted):])
		}
		return text
	case "ParseComplete", "BindComplete", "NoData", "RowDescription":
		return ""
	}
	require.Fail(p, "not understood", line)
	return ""
}

func asNetError(err error, target *net.Error) bool { return errors.As(err, target) }
