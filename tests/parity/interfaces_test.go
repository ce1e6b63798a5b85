package parity_test

import (
	"context"
	"database/sql/driver"
	"io"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reprise-go/cockroachdb/internal/testing/kit"
)

// driverInterfaces are all that database/sql knows. A Go version may add its own.
var driverInterfaces = []reflect.Type{
	reflect.TypeFor[driver.Driver](), reflect.TypeFor[driver.DriverContext](),
	reflect.TypeFor[driver.Connector](), reflect.TypeFor[io.Closer](),
	reflect.TypeFor[driver.Conn](), reflect.TypeFor[driver.ConnBeginTx](), reflect.TypeFor[driver.ConnPrepareContext](),
	reflect.TypeFor[driver.ExecerContext](), reflect.TypeFor[driver.QueryerContext](), reflect.TypeFor[driver.Pinger](),
	reflect.TypeFor[driver.SessionResetter](), reflect.TypeFor[driver.Validator](),
	reflect.TypeFor[driver.NamedValueChecker](),
	reflect.TypeFor[driver.Execer](), reflect.TypeFor[driver.Queryer](), //nolint:staticcheck // nobody has them
	reflect.TypeFor[driver.Stmt](), reflect.TypeFor[driver.StmtExecContext](), reflect.TypeFor[driver.StmtQueryContext](),
	reflect.TypeFor[driver.ColumnConverter](), //nolint:staticcheck // as above
	reflect.TypeFor[driver.Tx](), reflect.TypeFor[driver.Result](),
	reflect.TypeFor[driver.Rows](), reflect.TypeFor[driver.RowsNextResultSet](),
	reflect.TypeFor[driver.RowsColumnTypeDatabaseTypeName](), reflect.TypeFor[driver.RowsColumnTypeLength](),
	reflect.TypeFor[driver.RowsColumnTypeNullable](), reflect.TypeFor[driver.RowsColumnTypePrecisionScale](),
	reflect.TypeFor[driver.RowsColumnTypeScanType](),
}

// partsOf makes one of everything that a driver gives to database/sql.
func partsOf(t *testing.T, d driver.Driver, connector driver.Connector) map[string]any {
	t.Helper()
	ctx := context.Background()
	c, err := connector.Connect(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	stmt, err := c.(driver.ConnPrepareContext).PrepareContext(ctx, "SELECT v")
	require.NoError(t, err)
	tx, err := c.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
	require.NoError(t, err)
	res, err := stmt.(driver.StmtExecContext).ExecContext(ctx, nil)
	require.NoError(t, err)
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, rows.Close())
	require.NoError(t, tx.Rollback())
	return map[string]any{
		"driver": d, "connector": connector, "conn": c, "stmt": stmt, "tx": tx, "result": res, "rows": rows,
	}
}

// TestParity_EveryInterfaceThatPgxHas looks at what is really handed to database/sql, under whichever Go runs the test.
func TestParity_EveryInterfaceThatPgxHas(t *testing.T) {
	t.Parallel()
	r := kit.New(t, kit.Script{"SELECT v": {kit.Texts("a")}})
	ours := partsOf(t, r.Connector.Driver(), r.Connector)
	pgxConfig, err := pgx.ParseConfig(r.DSN())
	require.NoError(t, err)
	theirs := partsOf(t, stdlib.GetDefaultDriver(), stdlib.GetConnector(*pgxConfig))
	found := map[reflect.Type]bool{}
	for part := range theirs {
		for _, iface := range driverInterfaces {
			if reflect.TypeOf(theirs[part]).Implements(iface) {
				found[iface] = true
				assert.True(t, reflect.TypeOf(ours[part]).Implements(iface), "%s: %s", part, iface)
			}
		}
	}
	for _, must := range mustHaveInterfaces {
		assert.True(t, found[must], "%s is in none of pgx's parts: is it made as it should be?", must)
	}
	assert.Implements(t, (*io.Closer)(nil), ours["connector"])
	assert.Implements(t, (*driver.Validator)(nil), ours["conn"])
	_, checks := ours["stmt"].(driver.NamedValueChecker)
	assert.False(t, checks, "database/sql must go on to the connection's")
}

// mustHaveInterfaces are some that pgx has for certain. A Go version may add its own.
var mustHaveInterfaces = []reflect.Type{
	reflect.TypeFor[driver.StmtQueryContext](),
	reflect.TypeFor[driver.RowsColumnTypeScanType](), reflect.TypeFor[driver.SessionResetter](),
}
