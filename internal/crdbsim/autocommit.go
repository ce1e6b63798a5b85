package crdbsim

import "github.com/jackc/pgx/v5/pgproto3"

const autocommitBeforeDDL = "autocommit_before_ddl"

// commitsBefore reports whether the transaction is committed before s: under autocommit_before_ddl a change of the
// schema is never part of a transaction that was begun before it.
func (c *conn) commitsBefore(s *statement) bool {
	return c.status == 'T' && !c.tx.committed && s.kind == kindOrdinary && s.isDDL() &&
		!c.sim.cfg.PostgreSQL && c.on(autocommitBeforeDDL)
}

// autocommit commits the transaction if that is to be done before s. If the commit fails, its error is the answer to
// s, and the transaction has failed; ok is false then.
func (c *conn) autocommit(s *statement) (ok bool, err error) {
	if !c.commitsBefore(s) {
		return true, nil
	}
	if ok, err := c.settle(); !ok || err != nil {
		return false, err
	}
	a, _ := c.strike(AtAutocommit, s.sql)
	c.before(a)
	switch a.Then {
	case Fail:
		if a.Error.Code != "40001" {
			c.tx.restart = ""
		}
		c.fail(a.Error.response())
		return false, nil
	case Cut:
		return false, errCut
	}
	c.send(notice("NOTICE", "00000",
		"auto-committing transaction before processing DDL due to autocommit_before_ddl setting"))
	e, err := c.commitAndWait()
	if err != nil {
		return false, err
	}
	if e != nil {
		c.fail(e)
		return false, nil
	}
	return c.afterAutocommit(a)
}

// afterAutocommit ends the transaction that was committed, or does what an action wants done then.
func (c *conn) afterAutocommit(a Action) (ok bool, err error) {
	c.pause(a.DelayReply)
	if a.CallReply != nil {
		a.CallReply()
	}
	switch a.Then {
	case ExecuteFail:
		c.tx.committed, c.tx.restart, c.commitTime = false, "", ""
		c.fail(a.Error.response())
		return false, nil
	case ExecuteCut, ExecuteHalf:
		return false, errCut
	}
	c.end()
	c.queueSync() // for PostgreSQL what follows is no part of a pipeline, in which it would refuse CREATE DATABASE
	return true, nil
}

// outside answers a statement about transactions where there is none: under autocommit_before_ddl, which may have
// ended it before the client expects it, by a warning.
func (c *conn) outside(tag string) (reply, error) {
	e := errNoTransaction()
	if !c.on(autocommitBeforeDDL) {
		return refuse(e)
	}
	c.send(notice("WARNING", e.Code, e.Message))
	return reply{tag: tag}, nil
}

func notice(severity, code, message string) *pgproto3.NoticeResponse {
	return &pgproto3.NoticeResponse{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: message}
}
