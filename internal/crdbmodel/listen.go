package crdbmodel

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// A Listener is a socket on the loopback by which clients come to a [Server], in real time, that don't know
// [Server.Dial].
type Listener struct {
	server   *Server
	listener net.Listener
	running  sync.WaitGroup
}

// Listen has a socket lead to s. It must be closed, after s.
func Listen(s *Server) (*Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("crdbmodel: %w", err)
	}
	l := &Listener{server: s, listener: listener}
	l.running.Go(l.accept)
	return l, nil
}

// DSN leads to the socket. The server has one database, whatever it is called here.
func (l *Listener) DSN(database string) string {
	return fmt.Sprintf("postgresql://root@%s/%s?sslmode=disable", l.listener.Addr(), database)
}

func (l *Listener) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil { // closed
			return
		}
		l.running.Go(func() { l.join(client) })
	}
}

// join passes on what a client and the server say until either of them goes away.
func (l *Listener) join(client net.Conn) {
	defer client.Close()
	server, err := l.server.Dial(context.Background(), "", "")
	if err != nil {
		return
	}
	l.running.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	_, _ = io.Copy(client, server)
}

// Close closes the socket and waits until nothing is left of it.
func (l *Listener) Close() error {
	err := l.listener.Close()
	l.running.Wait()
	return err
}
