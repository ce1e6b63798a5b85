package wire

import (
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// send sends the statement.
func (e *exchange) send(st *Statement) error {
	f, name := e.pg.Frontend(), ""
	if st.named() {
		name = st.Prepared.Name
	} else {
		f.SendParse(&pgproto3.Parse{Query: st.SQL, ParameterOIDs: st.ParamOIDs})
	}
	f.SendBind(&pgproto3.Bind{
		PreparedStatement: name, ParameterFormatCodes: st.ParamFormats, Parameters: st.Values,
		ResultFormatCodes: st.ResultFormats,
	})
	if !st.named() || !st.Prepared.rowless {
		f.SendDescribe(&pgproto3.Describe{ObjectType: 'P'})
	}
	f.SendExecute(&pgproto3.Execute{})
	f.SendSync(&pgproto3.Sync{})
	return e.flush(st.isSmall())
}

// isSmall reports whether a socket of which all was read takes the statement at once.
func (s *Statement) isSmall() bool {
	const small = 4 << 10
	n := len(s.SQL)
	for _, v := range s.Values {
		n += lengthSize + len(v)
	}
	return n <= small
}

// backgroundReader is what pgconn reads from. Once started it reads ahead of that.
type backgroundReader interface {
	Start()
	Stop()
}

// flush sends what the Frontend holds. Unless that is small and goes to a socket, it reads, as pgconn does, while that
// takes long: a server that is blocked in writing, notifications perhaps, does not read.
func (e *exchange) flush(small bool) error {
	const long = 15 * time.Millisecond
	switch {
	case e.socket && small, e.background == nil:
		return e.pg.Frontend().Flush()
	case e.slow == nil:
		e.started = make(chan struct{})
		e.slow = time.AfterFunc(long, func() {
			e.background.Start()
			e.started <- struct{}{}
		})
	default:
		e.slow.Reset(long)
	}
	err := e.pg.Frontend().Flush()
	if !e.slow.Stop() {
		<-e.started
		e.background.Stop()
	}
	return err
}
