package cockroachdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"log/slog"

	"github.com/reprise-go/cockroachdb"
)

// Locks that the driver learns to add to reads, with a log of what it has learned.
func ExampleConfig_onLockChanged() {
	cfg, err := cockroachdb.ParseConfig("cockroachdb://app@db1:26257/bank?retry_learn_locks=on")
	if err != nil {
		log.Fatal(err)
	}
	cfg.OnLockChanged = func(ctx context.Context, e cockroachdb.LockEvent) {
		slog.InfoContext(ctx, "learned locks", "lock", e)
	}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	fmt.Println("learns:", cfg.LearnLocks)
	// Output: learns: on
}
