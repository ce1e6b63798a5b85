package wirecut

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"strings"
)

// header is a message's type and length.
const header = 5

// largest is the longest message that fits: more than tests send.
const largest = 1 << 16

func frameSize(head []byte) int { return int(binary.BigEndian.Uint32(head[1:])) + 1 }

// split takes b apart into the messages it is made of.
func split(b []byte) ([][]byte, error) {
	var frames [][]byte
	for len(b) > 0 {
		if len(b) < header || frameSize(b) > len(b) {
			return nil, fmt.Errorf("wirecut: %d bytes that are no whole messages: %q", len(b), b[0])
		}
		n := frameSize(b)
		frames, b = append(frames, b[:n]), b[n:]
	}
	return frames, nil
}

func types(frames [][]byte) (all []byte) {
	for _, f := range frames {
		all = append(all, f[0])
	}
	return all
}

// nextFrame reads one message. It loses nothing if it is interrupted.
func nextFrame(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(header)
	if err != nil {
		return nil, err
	}
	n := frameSize(head)
	if n > largest {
		return nil, fmt.Errorf("wirecut: a message %q of %d bytes, more than %d", head[0], n, largest)
	}
	b, err := r.Peek(n)
	if err != nil {
		return nil, err
	}
	frame := append([]byte(nil), b...)
	_, _ = r.Discard(n) // it is buffered
	return frame, nil
}

// owed is what the server has been sent and not answered, by the types of the messages.
type owed struct {
	types    string
	skipping bool // after an error, up to a Sync
}

func (o *owed) sent(typ byte) {
	switch {
	case typ == 'S':
		o.skipping = false
	case o.skipping, typ == 'H', typ == 'X':
		return
	}
	o.types += string(rune(typ))
}

// answers says which answers of the server end which message of the client's.
var answers = map[byte]string{'P': "1", 'B': "2", 'C': "3", 'D': "Tn", 'E': "CIs", 'S': "Z", 'Q': "Z"}

func (o *owed) received(typ byte) {
	if o.types == "" {
		return
	}
	if typ == 'E' && o.types[0] != 'Q' {
		next := strings.IndexByte(o.types, 'S')
		if o.skipping = next < 0; o.skipping {
			next = len(o.types)
		}
		o.types = o.types[next:]
		return
	}
	if strings.IndexByte(answers[o.types[0]], typ) >= 0 {
		o.types = o.types[1:]
	}
}
