// The command which says on what the tests, the demonstration and the benchmarks would run, or what to install.
package main

import (
	"fmt"
	"os"

	"github.com/reprise-go/cockroachdb/internal/engine"
)

func main() {
	found, err := engine.Find(engine.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("engine:", found)
}
