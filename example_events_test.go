package cockroachdb_test

import (
	"context"
	"database/sql"
	"log"
	"log/slog"
	"os"

	"github.com/reprise-go/cockroachdb"
)

// A log of what had to be retried, through log/slog. What a RetryEvent shows there holds nothing of what the database
// stores.
func ExampleConfig_onRetry() {
	// For the example: without what is different each time.
	steady := func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, "wait", "elapsed", "reason", "err":
			return slog.Attr{}
		}
		return a
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: steady}))

	cfg, err := cockroachdb.ParseConfig(exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	cfg.OnRetry = func(ctx context.Context, e cockroachdb.RetryEvent) {
		logger.DebugContext(ctx, "transaction tried again", "retry", e)
	}
	cfg.OnSettled = func(ctx context.Context, e cockroachdb.OutcomeEvent) {
		level := slog.LevelInfo
		if e.Outcome != cockroachdb.OutcomeCommitted {
			level = slog.LevelWarn
		}
		logger.Log(ctx, level, "transaction needed retries", "end", e)
	}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	loseOnce(db)
	// Output:
	// level=INFO msg="transaction needed retries" end.attempts=2 end.outcome=committed end.at=statement end.statement=2
}

// loseOnce runs a transaction that somebody else is faster than.
func loseOnce(db *sql.DB) {
	ctx := context.Background()
	for _, statement := range []string{
		"CREATE TABLE hits (page TEXT PRIMARY KEY, n INT NOT NULL)", "INSERT INTO hits VALUES ('/', 0)",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			log.Fatal(err)
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	var page string
	if err := tx.QueryRowContext(ctx, "SELECT page FROM hits WHERE page = '/'").Scan(&page); err != nil {
		log.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "UPDATE hits SET n = n + 1 WHERE page = '/'"); err != nil { // somebody else
		log.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE hits SET n = n + 1 WHERE page = $1", page); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
}
