//go:build unix

// Package failover_test takes servers away under load, with real parts: a PostgreSQL whose standby is promoted, an
// HAProxy in front of crdbsim's nodes, and a PgBouncer that is restarted.
//
// Each outage runs through pgx and through this driver. What either says must be true: what it calls committed is there
// once, and what it calls failed is not. What else is expected of this driver is in the outage.
package failover_test

import (
	"testing"

	"github.com/reprise-go/cockroachdb/internal/engine/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }
