package wire

import (
	"container/list"
	"sync"
	"unsafe"

	"github.com/jackc/pgx/v5/pgconn"
)

// Descriptions are what the server has said of statements' texts, for all connections of a connector. They are safe for
// concurrent use.
type Descriptions struct {
	most int // bytes that they may take

	mu     sync.Mutex
	bytes  int
	byKey  map[DescriptionKey]*list.Element
	recent list.List // of *described, the latest first
}

// A DescriptionKey is a text, and all that is known to decide what it means on a session.
type DescriptionKey struct{ SQL, Session string }

type described struct {
	key   DescriptionKey
	desc  *pgconn.StatementDescription
	bytes int
}

// NewDescriptions returns none, with room for this many bytes.
func NewDescriptions(most int) *Descriptions {
	return &Descriptions{most: most, byKey: make(map[DescriptionKey]*list.Element)}
}

// Get returns what was said last, or nil. It must not be changed.
func (d *Descriptions) Get(key DescriptionKey) *pgconn.StatementDescription {
	d.mu.Lock()
	defer d.mu.Unlock()
	elem := d.byKey[key]
	if elem == nil {
		return nil
	}
	d.recent.MoveToFront(elem)
	return elem.Value.(*described).desc
}

// Put keeps what the server says now. Those that were used longest ago make room for it. What would take a large share
// of the room is not kept.
func (d *Descriptions) Put(key DescriptionKey, desc *pgconn.StatementDescription) {
	const shares = 16
	one := &described{
		key: key, bytes: sizeOf(key, desc),
		desc: &pgconn.StatementDescription{ParamOIDs: desc.ParamOIDs, Fields: desc.Fields},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if elem := d.byKey[key]; elem != nil {
		d.drop(elem)
	}
	if one.bytes > d.most/shares {
		return
	}
	d.byKey[key] = d.recent.PushFront(one)
	d.bytes += one.bytes
	for d.bytes > d.most {
		d.drop(d.recent.Back())
	}
}

func (d *Descriptions) drop(elem *list.Element) {
	one := d.recent.Remove(elem).(*described)
	delete(d.byKey, one.key)
	d.bytes -= one.bytes
}

// sizeOf returns what it takes to keep a description.
func sizeOf(key DescriptionKey, desc *pgconn.StatementDescription) int {
	const (
		inMap = unsafe.Sizeof(DescriptionKey{}) + unsafe.Sizeof(&list.Element{})
		entry = int(unsafe.Sizeof(described{}) + unsafe.Sizeof(pgconn.StatementDescription{}) +
			unsafe.Sizeof(list.Element{}) + 2*inMap) // the map may be half full
	)
	n := entry + len(key.SQL) + len(key.Session) + len(desc.ParamOIDs)*int(unsafe.Sizeof(uint32(0)))
	for i := range desc.Fields {
		n += int(unsafe.Sizeof(desc.Fields[i])) + len(desc.Fields[i].Name)
	}
	return n
}
