package crdbsim

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// showCommit answers SHOW COMMIT TIMESTAMP. In an open transaction that commits it, as RELEASE of the restart
// savepoint does.
func (c *conn) showCommit() (reply, error) {
	tag := "SHOW COMMIT TIMESTAMP 1"
	switch {
	case c.status == 'E':
		return refuse(errAborted())
	case c.status == 'T' && !c.tx.committed:
		if e, err := c.commitAndWait(); e != nil || err != nil {
			return reply{failed: e}, err
		}
		tag, c.tx.releasable = "COMMIT", c.tx.restart == "cockroach_restart"
	case c.commitTime == "":
		return refuse(failure("25000", "no previous transaction"))
	}
	return reply{tag: tag, value: c.commitTime}, nil
}

// noteCommit takes note of when a transaction has committed.
func (c *conn) noteCommit() {
	c.commitTime = fmt.Sprintf("%d.0000000000", time.Now().UnixNano())
}

// releaseAgain accepts the RELEASE of a restart savepoint whose transaction SHOW COMMIT TIMESTAMP has committed; once,
// and it does nothing.
func (c *conn) releaseAgain(s *statement) bool {
	again := c.tx.releasable && s.kind == kindRelease && s.name == c.tx.restart
	if again {
		c.tx.releasable = false
	}
	return again
}

// encode returns a value of ours in the format that the client has asked for.
func encode(value string, field pgproto3.FieldDescription) ([]byte, error) {
	if field.DataTypeOID != pgtype.NumericOID || field.Format == pgtype.TextFormatCode {
		return []byte(value), nil
	}
	var n pgtype.Numeric
	if err := n.Scan(value); err != nil {
		return nil, fmt.Errorf("crdbsim: a commit timestamp: %w", err)
	}
	return pgtype.NewMap().Encode(pgtype.NumericOID, pgtype.BinaryFormatCode, n, nil)
}
