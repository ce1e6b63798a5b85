// Package fakepg is a server that only pretends: it speaks the PostgreSQL protocol, holds no data, answers what a test
// tells it to, and writes down every message a driver sends. It is for tests of exact bytes and of the number of round
// trips.
//
// A test either plays the server message by message,
//
//	srv := fakepg.Start(t, func(c *fakepg.Conn) {
//		c.ReceiveUntilSync()
//		c.Send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, …)
//		c.Ready('T')
//	})
//
// or lets the package keep the protocol, the prepared statements and the transaction status, and decides only what each
// statement answers:
//
//	srv := fakepg.Start(t, fakepg.Answer(func(s fakepg.Statement) fakepg.Reply {
//		if s.SQL == "UPDATE kv SET v = 1" {
//			return fakepg.Reply{Err: fakepg.Conflict()}
//		}
//		return fakepg.Reply{}
//	}))
//
// Both can be had on one connection: a handler may play some messages and then call [Conn.Serve].
package fakepg
