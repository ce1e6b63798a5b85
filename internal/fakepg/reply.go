package fakepg

import (
	"iter"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// A Statement is what a client asks to be executed, or, where Describing is set, to be described.
type Statement struct {
	SQL    string
	Params [][]byte // nil in the simple protocol and when describing; valid during the call only

	ParamFormats  []int16 // as in Bind
	ResultFormats []int16 // as in Bind
	Conn          int     // the connection's ID
	Nth           int     // how many times this text has been executed on the server, this one included; 0 when describing

	// Describing is set when nothing is executed: a statement is being parsed or described. Only Columns and ParamOIDs
	// of the reply are used, and Err where ErrAt is AtParse.
	Describing bool
}

// A Reply says how a statement ends. The zero Reply is success: the transaction statements do what their text says, and
// everything else gives no rows and a fitting tag (INSERT 0 1, UPDATE 1, SELECT 0, CREATE, …).
type Reply struct {
	Columns   []Column
	ParamOIDs []uint32 // default: as the client gave them in Parse, or 0, for which pgx encodes by Go type

	// The rows: Go values, encoded for their column and the format the client asked for; then the bytes as they are;
	// then those that a function yields. A slice that is yielded may be used again for the next row.
	Values   [][]any
	Rows     [][][]byte
	RowsFunc iter.Seq[[][]byte]

	Tag string // default: from the text and the number of rows

	Err          *pgproto3.ErrorResponse // FATAL in its Severity closes the connection after it
	ErrAt        Step
	ErrAfterRows int // with Err at execution: this many of the rows go before it

	EndsTx bool // at execution, or if ErrAt says so at Parse: the server's transaction ends, as with DDL that commits

	Delay time.Duration // before anything of the statement is done
	Cut   Cut
}

// A Column is what a RowDescription says of one.
type Column struct {
	Name string
	OID  uint32 // 0 is text
}

// A Step is the message to which an error is the answer.
type Step int

// What a real server answers with its errors: syntax and unknown tables at Parse, parameters it can't read at Bind,
// all others at Execute.
const (
	AtExecute Step = iota
	AtBind
	AtParse // the Reply must carry it when Describing; a statement is described at each Parse
	AtSync  // after the statement has succeeded, as where its own transaction can't be committed
)

// A Cut closes the connection in the middle of things. In all of them the client gets no ReadyForQuery.
type Cut int

// Where the connection is cut.
const (
	NoCut       Cut = iota
	CutBefore       // what went before has been answered, the statement has not
	CutHalf         // half of the bytes of the statement's answer are sent
	CutAfter        // the statement has been answered, up to and with CommandComplete
	CutShutDown     // and then the server says that it shuts down
	CutUnsent       // nothing of the whole exchange is answered
)

// Error makes an error as the server would send it.
func Error(code, message string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: message}
}

// Fatal makes err one with which the server ends the connection, and returns it.
func Fatal(err *pgproto3.ErrorResponse) *pgproto3.ErrorResponse {
	err.Severity, err.SeverityUnlocalized = "FATAL", "FATAL"
	return err
}

// Conflict is the error of a transaction that has to be retried.
func Conflict() *pgproto3.ErrorResponse {
	e := Error("40001", "restart transaction: TransactionRetryWithProtoRefreshError: TransactionRetryError: "+
		"retry txn (RETRY_SERIALIZABLE): \"sql txn\" meta={id=540d137a}")
	e.Hint = "See: https://www.cockroachlabs.com/docs/v23.1/transaction-retry-error-reference.html#retry_serializable"
	return e
}

// Aborted is the conflict of a transaction that another one has aborted, as it is sent by CockroachDB 23.1.
func Aborted() *pgproto3.ErrorResponse {
	return Error("40001", "restart transaction: TransactionRetryWithProtoRefreshError: TransactionAbortedError(ABORT_REASON_PUSHER_ABORTED): "+
		"\"sql txn\" meta={id=540d137a}")
}

// typeSizes are the sizes that a RowDescription gives; other types are of variable length.
var typeSizes = map[uint32]int16{
	pgtype.BoolOID: 1, pgtype.Int2OID: 2, pgtype.Int4OID: 4, pgtype.Int8OID: 8, pgtype.Float4OID: 4, pgtype.Float8OID: 8,
	pgtype.DateOID: 4, pgtype.TimestampOID: 8, pgtype.TimestamptzOID: 8, pgtype.UUIDOID: 16,
}

func rowDescription(columns []Column, formats []int16) pgproto3.BackendMessage {
	if len(columns) == 0 {
		return &pgproto3.NoData{}
	}
	fields := make([]pgproto3.FieldDescription, len(columns))
	for i, col := range columns {
		oid := columnOID(col)
		size, ok := typeSizes[oid]
		if !ok {
			size = -1
		}
		fields[i] = pgproto3.FieldDescription{
			Name: []byte(col.Name), DataTypeOID: oid, DataTypeSize: size, TypeModifier: -1, Format: format(formats, i),
		}
	}
	return &pgproto3.RowDescription{Fields: fields}
}

// TextColumns is the RowDescription of columns of texts.
func TextColumns(names ...string) pgproto3.BackendMessage {
	var columns []Column
	for _, name := range names {
		columns = append(columns, Column{Name: name})
	}
	return rowDescription(columns, nil)
}

// TextRow is the DataRow of texts.
func TextRow(values ...string) *pgproto3.DataRow {
	m := &pgproto3.DataRow{}
	for _, v := range values {
		m.Values = append(m.Values, []byte(v))
	}
	return m
}

func columnOID(col Column) uint32 {
	if col.OID == 0 {
		return pgtype.TextOID
	}
	return col.OID
}
