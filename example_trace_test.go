package cockroachdb_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/reprise-go/cockroachdb"
)

// printer is a pgx tracer that prints the application's statements, and which of them are replayed.
type printer struct{}

func (printer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	attempt, replay := cockroachdb.AttemptFrom(ctx)
	if strings.HasPrefix(data.SQL, "SELECT") {
		fmt.Println("attempt", attempt, "replay", replay)
	}
	return ctx
}

func (printer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A tracer sees a statement once for each attempt, and can tell one from the other.
func ExampleAttemptFrom() {
	cfg, err := cockroachdb.ParseConfig(exampleDSN())
	if err != nil {
		log.Fatal(err)
	}
	cfg.ConnConfig.Tracer = printer{}
	connector, err := cockroachdb.NewConnector(cfg)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()

	loseOnce(db)
	// Output:
	// attempt 1 replay false
	// attempt 2 replay true
}
