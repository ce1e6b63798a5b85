package cockroachdb

// room is memory for the record of a transaction, taken in pieces that grow with it. None of it is used twice: what the
// application holds on to, such as a driver.Result, stays what it was.
type room struct {
	records []record
	values  [][]byte
	bytes   []byte
}

// firstRoom comes with the transaction itself, and is enough for a short one.
type firstRoom struct {
	records [2]record
	values  [8][]byte
	bytes   [128]byte
}

const (
	mostRecords = 32 // in a piece
	mostValues  = 256
	mostBytes   = 4096
)

func (f *firstRoom) room() room {
	return room{records: f.records[:0], values: f.values[:0], bytes: f.bytes[:0]}
}

func (m *room) record() *record {
	m.records = enough(m.records, 1, mostRecords)
	m.records = m.records[:len(m.records)+1]
	return &m.records[len(m.records)-1]
}

// copyOf copies encoded arguments: the record outlives what the next statement is encoded into.
func (m *room) copyOf(values [][]byte) [][]byte {
	size := 0
	for _, v := range values {
		size += len(v)
	}
	m.values = enough(m.values, len(values), mostValues)
	m.bytes = enough(m.bytes, size, mostBytes)
	first := len(m.values)
	for _, v := range values {
		if v != nil { // nil is NULL, which an empty value is not
			start := len(m.bytes)
			m.bytes = append(m.bytes, v...)
			v = m.bytes[start:len(m.bytes):len(m.bytes)]
		}
		m.values = append(m.values, v)
	}
	return m.values[first:len(m.values):len(m.values)]
}

// enough gives piece back if there is place for n more, or a new one, twice the size up to most.
func enough[T any](piece []T, n, most int) []T {
	if cap(piece)-len(piece) >= n {
		return piece
	}
	return make([]T, 0, max(n, min(2*cap(piece), most)))
}
