package cockroachdb_test

import (
	"fmt"
	"log"
	"time"

	"github.com/reprise-go/cockroachdb"
)

// Whatever pgx takes as a DSN, and the driver's own keys. A mistyped one is an error that names the nearest right one.
func ExampleParseConfig() {
	cfg, err := cockroachdb.ParseConfig("cockroachdb://app@db1,db2,db3/bank?sslmode=verify-full&retry_max_elapsed=10s")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cfg.ConnConfig.Port, cfg.RetryPolicy.MaxElapsed, cfg.RetryPolicy.MaxAttempts)

	_, err = cockroachdb.ParseConfig("cockroachdb://app@db1,db2,db3/bank?sslmode=verify-full&retry_max_elapse=10s")
	fmt.Println(err)
	// Output:
	// 26257 10s 100
	// cockroachdb: unknown DSN key "retry_max_elapse": did you mean "retry_max_elapsed" (a duration such as "500ms")?
}

// A policy for requests that somebody is waiting for. Start from the default: a field's zero value means zero.
func ExampleRetryPolicy() {
	policy := cockroachdb.DefaultRetryPolicy()
	policy.MaxAttempts = 20
	policy.MaxElapsed = 5 * time.Second
	policy.LaneWait = time.Second
	fmt.Println(policy.Validate())

	policy.MaxAttempts = 0
	fmt.Println(policy.Validate())
	// Output:
	// <nil>
	// cockroachdb: RetryPolicy.MaxAttempts is 0: it counts the first try; use 1 to switch retries off, 2 or more to allow them
}

// A throttle that stops retrying sooner than the default's: after 50 retries in a row without one commit.
func ExampleRetryThrottle() {
	cfg, err := cockroachdb.ParseConfig(exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	cfg.RetryThrottle = cockroachdb.DefaultRetryThrottle()
	cfg.RetryThrottle.MaxTokens = 50
	fmt.Println(cfg.RetryThrottle.Validate())

	cfg.RetryThrottle.TokensPerCommit = 0
	fmt.Println(cfg.RetryThrottle.Validate())
	// Output:
	// <nil>
	// cockroachdb: RetryThrottle.TokensPerCommit is 0: use a number above zero; to switch throttling off set Off
}
