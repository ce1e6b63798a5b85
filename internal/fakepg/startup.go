package fakepg

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"
)

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
}

// startUp leads a client to its first ReadyForQuery. It reports false where the connection was only for a cancel
// request.
func (c *Conn) startUp() bool {
	for {
		m, err := c.be.ReceiveStartupMessage()
		if err != nil {
			c.ended(err)
		}
		switch m := m.(type) {
		case *pgproto3.SSLRequest:
			if c.srv.opts.tls == nil {
				c.reply('N')
				continue
			}
			c.reply('S')
			c.encrypt(c.srv.opts.tls)
		case *pgproto3.GSSEncRequest:
			c.reply('N')
		case *pgproto3.CancelRequest:
			c.countPlain()
			c.srv.cancels.Add(1)
			return false
		case *pgproto3.StartupMessage:
			c.countPlain()
			c.welcome(cmp.Or(m.Parameters["TimeZone"], "UTC"))
			return true
		}
	}
}

func (c *Conn) countPlain() {
	if c.TLS() == nil {
		c.srv.plain.Add(1)
	}
}

// reply answers a request for encryption.
func (c *Conn) reply(b byte) {
	if _, err := c.nc.Write([]byte{b}); err != nil {
		panic(errGone)
	}
}

// encrypt goes on in TLS. A client that does not like what it sees hangs up.
func (c *Conn) encrypt(config *tls.Config) {
	encrypted := tls.Server(c.nc, config)
	if err := encrypted.Handshake(); err != nil {
		panic(errGone)
	}
	c.nc, c.be = encrypted, pgproto3.NewBackend(encrypted, nil)
}

// welcome sends what a real CockroachDB says of itself (crdb-traces/connect.trace), to a client that asked for a time
// zone.
func (c *Conn) welcome(timeZone string) {
	c.id = int(c.srv.connections.Add(1))
	c.Send(&pgproto3.AuthenticationOk{})
	for _, p := range [][2]string{
		{"server_version", "13.0.0"},
		{"server_encoding", "UTF8"},
		{"client_encoding", "UTF8"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"TimeZone", timeZone},
		{"integer_datetimes", "on"},
		{"standard_conforming_strings", "on"},
		{"crdb_version", c.srv.opts.version},
	} {
		if p[1] != "" {
			c.Send(&pgproto3.ParameterStatus{Name: p[0], Value: p[1]})
		}
	}
	c.Send(&pgproto3.BackendKeyData{ProcessID: uint32(c.id), SecretKey: []byte{0, 0, 0, 1}})
	c.Ready('I')
}
