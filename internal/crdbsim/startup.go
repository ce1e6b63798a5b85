package crdbsim

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	codeSSL    = 80877103
	codeGSS    = 80877104
	codeCancel = 80877102
)

// startup brings a connection from its first byte to its first ReadyForQuery.
func (c *conn) startup() error {
	msg, err := c.firstMessage()
	if err != nil {
		return err
	}
	if e := c.sim.admit(c); e != nil {
		return c.refuseConnection(*e)
	}
	a, _ := c.strike(AtConnect, "")
	c.before(a)
	switch a.Then {
	case Fail:
		return c.refuseConnection(a.Error)
	case Cut:
		return errCut
	}
	if !c.sim.cfg.PostgreSQL {
		msg.Parameters = c.parameters(msg.Parameters)
	}
	startup := fmt.Sprint(msg.Parameters) // in order
	if spare := c.sim.spares.take(startup); spare != nil {
		c.up = spare
		return c.welcome()
	}
	c.up.startup, c.up.database = startup, msg.Parameters["database"]
	if c.up.database == "" {
		c.up.database = msg.Parameters["user"]
	}
	c.up.nc, err = c.sim.dial()
	if err != nil {
		return c.refuseConnection(Error{Severity: "FATAL", Code: "08006", Message: err.Error()})
	}
	c.up.in.r = bufio.NewReaderSize(c.up.nc, 2*chunkSize)
	c.up.out, err = msg.Encode(c.up.out)
	if err != nil {
		return err
	}
	if err := c.up.send(); err != nil {
		return err
	}
	return c.greet()
}

func (c *conn) refuseConnection(e Error) error {
	if e.Severity == "" {
		e.Severity = "FATAL"
	}
	c.send(e.response())
	return errors.Join(c.flush(), errCut)
}

// firstMessage returns the start-up message. Encryption asked for before it is declined; a request to cancel is passed
// on, and ends the connection.
func (c *conn) firstMessage() (*pgproto3.StartupMessage, error) {
	for {
		head, err := c.in.r.Peek(8)
		if err != nil {
			return nil, err
		}
		size, code := int(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint32(head[4:])
		if size < 8 || size > 10_000 {
			return nil, fmt.Errorf("crdbsim: start-up message of %d bytes", size)
		}
		raw := make([]byte, size)
		if _, err := io.ReadFull(c.in.r, raw); err != nil {
			return nil, err
		}
		switch code {
		case codeSSL, codeGSS:
			c.out = append(c.out, 'N')
			if err := c.flush(); err != nil {
				return nil, err
			}
		case codeCancel:
			if size == 16 {
				c.sim.cancelFor(binary.BigEndian.Uint32(raw[8:]), binary.BigEndian.Uint32(raw[12:]))
			}
			return nil, errCut
		default:
			msg := &pgproto3.StartupMessage{}
			return msg, msg.Decode(raw[4:])
		}
	}
}

// greet takes in what PostgreSQL says up to its first ReadyForQuery.
func (c *conn) greet() error {
	for {
		f, err := c.up.in.next()
		if err != nil {
			return errors.Join(c.flush(), err)
		}
		switch f.typ {
		case 'K':
			c.up.key = append([]byte(nil), f.body()...)
			continue
		case 'Z':
			c.up.status = f.body()[0]
			c.up.greeting, c.out = c.out, nil
			if err := errors.Join(c.install(), c.up.readOrigin()); err != nil {
				return err
			}
			return c.welcome()
		}
		c.out = append(c.out, f.raw...)
		if f.typ == 'R' {
			if err := c.authenticate(binary.BigEndian.Uint32(f.body())); err != nil {
				return err
			}
		}
	}
}

// authenticate passes on what the client replies to a request for authentication.
func (c *conn) authenticate(kind uint32) error {
	switch kind {
	case pgproto3.AuthTypeOk, pgproto3.AuthTypeSASLFinal:
		return nil
	}
	c.up.secured = true
	if err := c.flush(); err != nil {
		return err
	}
	f, err := c.in.next()
	if err != nil {
		return err
	}
	c.up.out = append(c.up.out, f.raw...)
	return c.up.send()
}

// install makes CockroachDB's functions if the database has them not.
func (c *conn) install() error {
	if c.sim.cfg.PostgreSQL {
		return nil
	}
	missing, _, err := c.up.run("SELECT to_regproc('crdb_internal.force_retry') IS NULL OR to_regproc('unique_rowid') IS NULL")
	if err == nil && missing == "t" {
		_, _, err = c.up.run(functions)
	}
	return err
}

// welcome ends the start-up. The number of the connection is what the client has to show in order to cancel what it
// does: PostgreSQL's own secret would still be good when the connection to it has gone to another client.
func (c *conn) welcome() error {
	pid := c.processID()
	c.pid.Store(pid)
	c.out = append(c.out, c.up.greeting...)
	if !c.sim.cfg.PostgreSQL {
		c.send(&pgproto3.ParameterStatus{Name: "crdb_version", Value: c.sim.cfg.Version})
	}
	c.send(&pgproto3.BackendKeyData{ProcessID: pid, SecretKey: binary.BigEndian.AppendUint32(nil, uint32(c.id))})
	return c.ready()
}

// processID is what the client is told: PostgreSQL's, or a number that names the node, and by which a cancel request
// finds the connection all the same.
func (c *conn) processID() uint32 {
	if node := c.sim.cfg.NodeID; node != 0 {
		return node<<nodeShift | uint32(c.id)&(1<<nodeShift-1)
	}
	return binary.BigEndian.Uint32(c.up.key)
}

// nodeShift is where in a process id the node is.
const nodeShift = 20

// nodeOf returns the node that a process id names, if it is one of a node.
func nodeOf(pid uint32) uint32 { return pid >> nodeShift }

// known are the start-up parameters that PostgreSQL is given. CockroachDB ignores those that it doesn't know, and so
// must we.
var known = map[string]bool{
	"user": true, "database": true, "application_name": true, "client_encoding": true, "datestyle": true,
	"timezone": true, "statement_timeout": true, "lock_timeout": true, "idle_in_transaction_session_timeout": true,
	"search_path": true, "default_transaction_read_only": true, "extra_float_digits": true, "intervalstyle": true,
	"bytea_output": true, "client_min_messages": true, "standard_conforming_strings": true, "replication": true,
}

// parameters returns those parameters that PostgreSQL knows, and keeps those that are for us.
func (c *conn) parameters(all map[string]string) map[string]string {
	kept := make(map[string]string)
	take := func(key, value string) {
		lower := strings.ToLower(key)
		switch {
		case known[lower]:
			kept[key] = value
		case isOwnVariable(lower):
			c.start[lower] = value
		}
	}
	for key, value := range options(all["options"]) { // first, since a parameter of its own goes before one in there
		take(key, value)
	}
	for key, value := range all {
		take(key, value)
	}
	kept["default_transaction_isolation"] = "serializable"
	return kept
}

// options reads -c key=value, -ckey=value and --key=value.
func options(s string) map[string]string {
	const escaped = "\x00"
	all := make(map[string]string)
	for word := range strings.FieldsSeq(strings.ReplaceAll(s, `\ `, escaped)) {
		word = strings.ReplaceAll(word, escaped, " ")
		switch {
		case strings.HasPrefix(word, "--"):
			word = word[2:]
		case strings.HasPrefix(word, "-c"):
			word = word[2:]
		}
		if key, value, ok := strings.Cut(word, "="); ok {
			all[strings.ReplaceAll(key, "-", "_")] = value
		}
	}
	return all
}

// functions are those of CockroachDB's that tests call. The lock keeps two who install them at once from tripping over
// each other.
const functions = `
SELECT pg_advisory_xact_lock(7277501);
CREATE SCHEMA IF NOT EXISTS crdb_internal;
GRANT USAGE ON SCHEMA crdb_internal TO PUBLIC;
CREATE OR REPLACE FUNCTION crdb_internal.force_retry(d interval) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	remaining float8 := extract(epoch FROM d) - coalesce(nullif(current_setting('crdbsim.elapsed', true), '')::float8, 0);
BEGIN
	IF remaining > 0 AND current_setting('crdbsim.window', true) = 'true' THEN
		PERFORM pg_sleep(remaining);
	ELSIF remaining > 0 THEN
		RAISE EXCEPTION '` + forcedRetry + `' USING ERRCODE = '40001';
	END IF;
	RETURN 0;
END $$;
CREATE SEQUENCE IF NOT EXISTS crdb_internal.rowid;
GRANT USAGE ON SEQUENCE crdb_internal.rowid TO PUBLIC;
CREATE OR REPLACE FUNCTION public.unique_rowid() RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT (extract(epoch FROM clock_timestamp()) * 100000)::bigint << 15 | nextval('crdb_internal.rowid') & 32767
$$;
CREATE OR REPLACE FUNCTION public.cluster_logical_timestamp() RETURNS numeric LANGUAGE sql VOLATILE AS $$
	SELECT (extract(epoch FROM statement_timestamp()) * 1000000000)::numeric(38, 10)
$$;
`
