package cockroachdb

// arena is memory for the record of a transaction, taken in pieces that grow with it. None of it is used twice: what
// the application holds on to, such as a driver.Result, stays what it was.
type arena struct {
	records []record
	values  [][]byte
	bytes   []byte
}

// firstArena comes with the transaction itself, and is enough for a short one.
type firstArena struct {
	records [2]record
	values  [8][]byte
	bytes   [128]byte
}

const (
	mostRecords = 32 // in a piece
	mostValues  = 256
	mostBytes   = 4096
)

func (f *firstArena) arena() arena {
	return arena{records: f.records[:0], values: f.values[:0], bytes: f.bytes[:0]}
}

func (m *arena) record() *record {
	one := take(&m.records, 1, mostRecords)[:1]
	return &one[0]
}

// copyOf copies encoded values, which outlive the buffer that they are in.
func (m *arena) copyOf(values [][]byte) [][]byte {
	size := 0
	for _, v := range values {
		size += len(v)
	}
	copies, bytes := take(&m.values, len(values), mostValues), take(&m.bytes, size, mostBytes)
	for _, v := range values {
		if len(v) > 0 { // nil, which is NULL, stays nil, and an empty value empty
			start := len(bytes)
			bytes = append(bytes, v...)
			v = bytes[start:len(bytes):len(bytes)]
		}
		copies = append(copies, v)
	}
	return copies
}

// take returns space for n elements, growing *piece (doubling, up to most) when it is full. Large requests get their
// own allocation, so that the rest of the current piece is not wasted.
func take[T any](piece *[]T, n, most int) []T {
	if cap(*piece)-len(*piece) < n {
		if n > most/4 {
			return make([]T, 0, n)
		}
		*piece = make([]T, 0, max(n, min(2*cap(*piece), most)))
	}
	first := len(*piece)
	*piece = (*piece)[:first+n]
	return (*piece)[first : first : first+n]
}
