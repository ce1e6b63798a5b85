package parity_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// likes says, of each test of pgx's stdlib, what stands for it here: one of our tests, or a parityCase that both
// drivers run; or, after "none: ", why there is nothing.
var likes = map[string]string{
	"TestSQLOpen":                                   "TestSQLOpen_InvalidDSN_FailsAtOnce",
	"TestSQLOpenFromPool":                           "none: this driver has no connections of a pgxpool's: they come from its own connector, with the retry lane",
	"TestNormalLifeCycle":                           "stmt that queries",
	"TestStmtExec":                                  "stmt",
	"TestQueryCloseRowsEarly":                       "early close",
	"TestConnExec":                                  "insert",
	"TestConnQuery":                                 "no rows",
	"TestConnConcurrency":                           "many at once",
	"TestConnQueryDifferentScanPlansIssue781":       "a plan that another scan came before",
	"TestConnQueryNull":                             "value NULL::int8",
	"TestConnQueryRowByteSlice":                     "argument []uint8 for $1::bytea",
	"TestConnQueryFailure":                          "syntax error",
	"TestConnSimpleSlicePassThrough":                "argument []int for $1::int[]",
	"TestConnQueryScanGoArray":                      "value '{1,2,3}'::int[]",
	"TestConnQueryScanArray":                        "value '{1,NULL}'::int[]",
	"TestConnQueryScanRange":                        "value int4range(1, 5)",
	"TestConnQueryRowPgxBinary":                     "binary by OID",
	"TestConnQueryRowUnknownType":                   "value point(1, 2)",
	"TestConnQueryJSONIntoByteSlice":                `value '{"a": [1, null]}'::json`,
	"TestConnExecInsertByteSliceIntoJSON":           "argument []uint8 for $1::jsonb",
	"TestTransactionLifeCycle":                      "ends of a transaction",
	"TestConnBeginTxIsolation":                      "isolation and access",
	"TestConnBeginTxReadOnly":                       "isolation and access",
	"TestBeginTxContextCancel":                      "a context that ends a transaction",
	"TestConnRaw":                                   "one connection, at length",
	"TestConnPingContextSuccess":                    "one connection, at length",
	"TestConnPrepareContextSuccess":                 "one connection, at length",
	"TestConnMultiplePrepareAndDeallocate":          "one connection, at length",
	"TestConnExecContextSuccess":                    "DDL",
	"TestConnQueryContextSuccess":                   "stmt that queries",
	"TestRowsColumnTypeDatabaseTypeName":            "lengths",
	"TestStmtExecContextSuccess":                    "stmt",
	"TestStmtExecContextCancel":                     "context done during exec",
	"TestStmtQueryContextSuccess":                   "stmt that queries",
	"TestRowsColumnTypes":                           "lengths",
	"TestQueryLifeCycle":                            "stmt that queries",
	"TestScanJSONIntoJSONRawMessage":                `value '{"a": [1, null]}'::jsonb`,
	"TestRegisterConnConfig":                        "TestRegisteredConnConfig_KnownName_Connects",
	"TestConnQueryRowConstraintErrors":              "unique violation, returning",
	"TestOptionBeforeAfterConnect":                  "TestConnect_BeforeConnect_ChangesACopy",
	"TestRandomizeHostOrderFunc":                    "TestConnect_BeforeConnect_ChangesACopy",
	"TestResetSessionHookCalled":                    "TestConn_ResetSessionHookFails_ReturnsItsError",
	"TestCheckIdleConn":                             "a connection killed while idle",
	"TestOptionShouldPing_HookCalledOnReuse":        "none: there is no ping to be chosen; TestLiveness_ServerLeftWhileIdle_IsNotUsed has what is done in its place",
	"TestOpenTransactionsDiscarded":                 "a transaction left open as text",
	"TestRowsColumnTypeLength":                      "lengths",
	"TestIsSQLScanDestination":                      "TestRows_ScanIntoSlices_NeedsNoHelp",
	"TestGoArray":                                   "value '{1,2,3}'::int[]",
	"TestGoArrayOfDriverValuer":                     "value '{sad,happy}'::mood[]",
	"TestPGTypeFlatArray":                           "value '{1,2,3}'::int[]",
	"TestPGTypeArray":                               "value '{{1,2},{3,4}}'::int8[]",
	"TestConnQueryPGTypeRange":                      "value int4range(1, 5)",
	"TestConnQueryPGTypeMultirange":                 "value int4multirange(int4range(1, 3), int4range(5, 7))",
	"TestScanBoolToString":                          "value true",
	"TestScanInterfacePreservesDatabaseSQLValues":   "value '\\x00ff'::bytea",
	"TestScanScalarPreservesDatabaseSQLConversions": "value 7::int2",
	"TestScanPreservesScannerError":                 "scan into nothing",
	"TestScanRejectsNilDestination":                 "scan into nothing",
	"TestScanNativeByteSlices":                      "value '\\x00ff'::bytea",
}

// TestParity_EachTestOfPgx_HasItsLike fails when pgx's stdlib has a test that nobody has looked at, as after an
// upgrade.
func TestParity_EachTestOfPgx_HasItsLike(t *testing.T) {
	t.Parallel()
	theirs, ours := testsOfPgx(t), append(testsIn(t, "../../*_test.go"), testsIn(t, "../*/*_test.go")...)
	var cases []string
	for _, sc := range slices.Concat(parityCases, valueCases()) {
		cases = append(cases, sc.name)
	}
	for _, sc := range poolCases {
		cases = append(cases, sc.name)
	}
	for _, name := range theirs {
		assert.Contains(t, likes, name, "a test of pgx's stdlib that has no like here")
	}
	for name, like := range likes {
		assert.Contains(t, theirs, name, "pgx's stdlib has no such test any more")
		if !strings.HasPrefix(like, "none: ") {
			assert.True(t, slices.Contains(ours, like) || slices.Contains(cases, like), "%s: there is no %q", name, like)
		}
	}
}

func testsOfPgx(t *testing.T) []string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/jackc/pgx/v5").Output()
	require.NoError(t, err)
	return testsIn(t, filepath.Join(strings.TrimSpace(string(dir)), "stdlib", "*_test.go"))
}

var testName = regexp.MustCompile(`^Test[A-Z]`)

// testsIn are the test functions in the files, but for TestMain.
func testsIn(t *testing.T, pattern string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files, pattern)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && testName.MatchString(f.Name.Name) && f.Name.Name != "TestMain" {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
