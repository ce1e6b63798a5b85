// Package mutants plants bugs in the driver, one at a time, and shows that the project's instruments find each of them.
// A check that can't fail is worth nothing.
//
// A bug is a change of one place in one file of the driver. It is planted by the Go command's -overlay, so that nothing
// is copied and the sources stay as they are. Where the driver's text has moved on, so that a bug has no place any
// more, the tests say so: it has to follow.
//
// # How to add a bug
//
// Append a [Mutant] to [All]. Old is a text that is in the file exactly once, and New is what stands there in its
// place. Both have to compile with the rest. Found names the instruments that must find it, each alone:
//
//   - [Scenarios]: the scripts of package history, by the class of the anomaly. The cheapest, and the first choice.
//   - [Programs]: the random programs of package program, by the server, a topic, the number of rounds, and the kinds
//     of anomaly of which one must be found. The interleaving differs from run to run: give it several times as many
//     rounds as it needs.
//   - [Matrix], [Sockets]: the fault matrix of the driver, by the name of a play. Its tests take a quarter of a minute
//     to build.
//   - [Test]: any other test, by its folder and its name, such as one of package kinds.
//
// Each instrument but the random programs, which have tests of their own for that, is also run on the driver as it is,
// and must find nothing there.
//
// # How to run them
//
// `go test .` looks for the place of every bug, and plants every sixth: all of them take too long for each day.
// `make mutants` plants all. MUTANT=REGEXP go test . plants those of these names.
package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/reprise-go/cockroachdb/reliability/history"
	"github.com/reprise-go/cockroachdb/reliability/program"
)

// A Mutant is a bug to plant, and what must find it.
type Mutant struct {
	Name     string
	File     string // of the driver
	Old, New string
	Found    []Instrument
}

// An Instrument is tests that fail where the driver is wrong, and what they say then.
type Instrument struct {
	Package string   // the folder of the tests, seen from this one
	Run     string   // which of them, as for go test -run
	Flags   []string // of the tests' own
	Env     []string // in addition to the environment
	Says    []string // what must be in the output, all of it
	SaysAny []string // one of these must be, if there are any
}

const (
	driver    = "../.."
	checks    = "../history"
	programs  = "../program"
	matrix    = driver + "/tests/faultmatrix"
	kinds     = "../kinds"
	prepare   = driver + "/tests/prepare"
	pooler    = driver + "/tests/pooler"
	once      = driver + "/tests/exactlyonce"
	errs      = driver + "/tests/errors"
	restart   = driver + "/tests/restart"
	runtx     = driver + "/tests/runtx"
	lane      = driver + "/tests/lane"
	replay    = driver + "/tests/replay"
	conns     = driver + "/tests/conn"
	statement = driver + "/tests/statement"
	commit    = driver + "/tests/commit"
	observe   = driver + "/tests/observe"
	fuzz      = driver + "/tests/fuzz"
	failover  = driver + "/tests/failover"
	sqltext   = driver + "/internal/sqltext"
	wire      = driver + "/internal/wire"
	crdbsim   = driver + "/internal/crdbsim"
	scenario  = "TestScenario"
	births    = "keys of the database" // a topic of random programs
)

// Scenarios are the scripts of package history on CockroachDB's manners, which call what they find by these classes.
func Scenarios(classes ...history.Class) Instrument { return ScenariosOn("CockroachDB", classes...) }

// ScenariosOn is Scenarios on the manners of a server: CockroachDB or PostgreSQL.
func ScenariosOn(server string, classes ...history.Class) Instrument {
	i := Instrument{Package: checks, Run: scenario + "/" + server}
	for _, c := range classes {
		i.Says = append(i.Says, "anomaly: "+string(c)+":")
	}
	return i
}

// Programs is up to so many rounds of random programs with a topic, until one of these kinds of anomaly is found.
func Programs(on program.Server, topic string, rounds int, kinds ...string) Instrument {
	i := Instrument{
		Package: programs, Run: "TestRandomPrograms/^" + strings.ReplaceAll(on.String(), " ", "_") + "$",
		Flags: []string{
			"-topic=" + topic, fmt.Sprint("-rounds=", rounds), "-shrink=0s", "-kinds=" + strings.Join(kinds, ","),
		},
	}
	for _, k := range kinds {
		i.SaysAny = append(i.SaysAny, "anomaly: "+k+":")
	}
	return i
}

// Matrix is the fault matrix of the transactions whose names contain a text, and what it says of them.
func Matrix(transaction string, says ...string) Instrument {
	return Instrument{Package: matrix, Run: "^TestFaultMatrix$", Env: []string{"FAULT_MATRIX= " + transaction}, Says: says}
}

// Sockets is Matrix over real sockets.
func Sockets(transaction string, says ...string) Instrument {
	i := Matrix(transaction, says...)
	i.Run = "^TestFaultMatrix_RealSockets$"
	return i
}

// Test is a test of its own, and what it says.
func Test(folder, name string, says ...string) Instrument {
	return Instrument{Package: folder, Run: "^" + name + "$", Says: says}
}

// key tells instruments apart by what they run.
func (i Instrument) key() string { return fmt.Sprint(i.Package, i.Run, i.Flags, i.Env) }

// name is for people.
func (i Instrument) name() string {
	return strings.Join(append(append([]string{filepath.Base(i.Package), i.Run}, i.Env...), i.Flags...), " ")
}

// overlay writes what -overlay wants into the folder dir, for the driver in the folder driver, and returns its path.
func (m Mutant) overlay(dir, driver string) (string, error) {
	file, err := filepath.Abs(filepath.Join(driver, m.File))
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.Old); n != 1 {
		const text = "the text that %q changes is in %s %d times and must be there once: " +
			"change the mutant as the driver has changed"
		return "", fmt.Errorf(text, m.Name, m.File, n)
	}
	mutated := filepath.Join(dir, filepath.Base(m.File))
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutated}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}
