// Package guarded runs servers for tests and demonstrations, each in a folder of its own, and ends them with whoever
// started them, however that ends.
package guarded

import (
	"errors"
	"os"
	"time"
)

// A Command is what a server is started with.
type Command struct {
	// Commands are of sh. They find their arguments in $1 and so on, and their folder, which they are in, in $folder.
	// They call run, with the program that is to be ended and whose output is logged.
	Commands string
	Args     []string
	Env      []string // in addition to what all servers have

	// Signal ends the program that is running: KILL, for example.
	Signal string

	// Prepare, if set, puts files into the folder before the commands run. They are not the user's who runs them, who may
	// read and remove them, but no folders among them.
	Prepare func(folder string) error
}

// ErrEnded says that the commands have ended before the server was ready.
var ErrEnded = errors.New("the server ended while it was starting")

// pause is between two looks at a server that is starting.
const pause = 10 * time.Millisecond

// Environment is what servers run in: little, so that PGDATA, COCKROACH_… and the like of the developer's don't matter.
func Environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}
