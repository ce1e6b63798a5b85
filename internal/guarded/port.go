package guarded

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// FreePort returns a port that nobody listens on, from below those that systems give to outgoing connections: such a
// connection could take the port while its server is down.
func FreePort() int {
	for {
		port := 20000 + rand.IntN(10000)
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
}
