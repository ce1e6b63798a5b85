package wire

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// Prepared is what is known of a statement's text once the server has described it.
//
// The server is asked to describe the text without a name. Only with its first run the statement is prepared, under a
// name that is a digest of what it is: its text, the types of its parameters, and its columns. So a name means the same
// on every connection, whatever stands between the driver and the server and hands sessions from client to client.
type Prepared struct {
	Name          string // "" for a description alone
	Desc          *pgconn.StatementDescription
	Columns       *Columns
	Class         sqltext.Class
	rowless       bool // it can't return rows
	resultFormats []int16
	paramFormats  []int16 // of the latest arguments: the next ones will be of the same types

	unconfirmed bool // another connection's server has described it, and not yet this one's

	pins     int           // how many holders keep it from being evicted
	elem     *list.Element // its place among those that may be evicted; nil while it is pinned
	onServer bool          // it is prepared, as far as is known
	asText   bool          // the server can't run it by its name
	gone     bool          // it is out of date, or was evicted
}

// NewPrepared makes a Prepared of what the server has described. named says that it is to be prepared under a name.
func NewPrepared(named bool, sql string, class sqltext.Class, desc *pgconn.StatementDescription) *Prepared {
	desc.SQL = sql
	if named {
		desc.Name = nameOf(desc)
	}
	formats := formatsFor(desc.Fields, databaseSQLFormats)
	return &Prepared{
		Name: desc.Name, Desc: desc, Class: class, resultFormats: formats, Columns: newColumns(desc.Fields, formats),
		rowless: len(desc.Fields) == 0 && sqltext.ChangesRows(sql),
	}
}

// NamePrefix is what the names of all prepared statements begin with.
const NamePrefix = "reprise_"

// nameOf returns the name of a statement, which is a digest of what it is.
func nameOf(desc *pgconn.StatementDescription) string {
	const size = 16
	h := sha256.New()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(desc.SQL))))
	_, _ = io.WriteString(h, desc.SQL)
	var types []byte
	types = binary.BigEndian.AppendUint32(types, uint32(len(desc.ParamOIDs)))
	for _, oid := range desc.ParamOIDs {
		types = binary.BigEndian.AppendUint32(types, oid)
	}
	for i := range desc.Fields {
		field := &desc.Fields[i]
		types = binary.BigEndian.AppendUint32(types, field.DataTypeOID)
		types = binary.BigEndian.AppendUint32(types, uint32(field.TypeModifier))
		types = binary.BigEndian.AppendUint32(types, uint32(len(field.Name)))
		types = append(types, field.Name...)
	}
	_, _ = h.Write(types)
	return NamePrefix + hex.EncodeToString(h.Sum(nil)[:size])
}

// Gone reports whether what is known of the statement is out of date, or no longer kept.
func (p *Prepared) Gone() bool { return p.gone }

// Lost notes that it is not known any more which server has the statement: it is to be prepared anew.
func (p *Prepared) Lost() { p.onServer = false }

// RunsAsText has the statement run as text from now on. It must not be prepared any more: the server can't run what it
// prepares.
func (p *Prepared) RunsAsText() { p.asText = true }

// OnServer reports whether the statement is prepared, as far as is known.
func (p *Prepared) OnServer() bool { return p.onServer }

func (p *Prepared) describes(desc *pgconn.StatementDescription) bool {
	return slices.Equal(p.Desc.ParamOIDs, desc.ParamOIDs) &&
		slices.EqualFunc(p.Desc.Fields, desc.Fields, func(a, b pgconn.FieldDescription) bool {
			return a.DataTypeOID == b.DataTypeOID && a.TypeModifier == b.TypeModifier && a.Name == b.Name
		})
}

// CopyOf returns a copy of formats that stays as it is; mostly it has been made before.
func (p *Prepared) CopyOf(formats []int16) []int16 {
	if p == nil {
		return slices.Clone(formats)
	}
	if !slices.Equal(p.paramFormats, formats) {
		p.paramFormats = slices.Clone(formats)
	}
	return p.paramFormats
}

// Cache holds the prepared statements of a connection, at most Capacity of them besides those that are pinned. What is
// evicted is deallocated with the next message, at no round trip of its own.
type Cache struct {
	Capacity int
	byText   map[string]*Prepared
	recent   list.List // of those that are not pinned, the latest first
	doomed   []string  // names to deallocate
}

// NewCache returns an empty cache.
func NewCache(capacity int) *Cache {
	return &Cache{Capacity: capacity, byText: make(map[string]*Prepared)}
}

// Get returns what is prepared for a text, or nil.
func (c *Cache) Get(sql string) *Prepared {
	p := c.byText[sql]
	if p != nil && p.elem != nil {
		c.recent.MoveToFront(p.elem)
	}
	return p
}

// Pinned reports whether p is pinned.
func (p *Prepared) Pinned() bool { return p.pins > 0 }

// Put gives p a place in the cache; the one that was used longest ago may lose its own for it.
func (c *Cache) Put(p *Prepared) {
	c.byText[p.Desc.SQL] = p
	p.elem = c.recent.PushFront(p)
	for c.recent.Len() > c.Capacity {
		c.Forget(c.recent.Back().Value.(*Prepared))
	}
}

// Keep gives p a place, unless it has one.
func (c *Cache) Keep(p *Prepared) {
	if p.elem == nil && !p.Pinned() {
		c.Put(p)
	}
}

// Pin keeps p from being evicted; it takes no place from others.
func (c *Cache) Pin(p *Prepared) {
	p.pins++
	c.byText[p.Desc.SQL] = p
	if p.elem != nil {
		c.recent.Remove(p.elem)
		p.elem = nil
	}
}

// Unpin undoes one Pin.
func (c *Cache) Unpin(p *Prepared) {
	p.pins--
	if p.pins == 0 && !p.gone {
		c.Put(p)
	}
}

// Forget takes p out of the cache and has the server deallocate it.
func (c *Cache) Forget(p *Prepared) {
	if p.gone {
		return
	}
	p.gone = true
	if p.onServer {
		c.Doom(p.Name)
	}
	if c.byText[p.Desc.SQL] == p {
		delete(c.byText, p.Desc.SQL)
	}
	if p.elem != nil {
		c.recent.Remove(p.elem)
		p.elem = nil
	}
}

// Deallocated notes that the server has deallocated everything.
func (c *Cache) Deallocated() {
	for _, p := range c.byText {
		p.onServer = false
	}
	c.doomed = nil
}

// Doom has the server deallocate what it has prepared under a name, with the next message.
func (c *Cache) Doom(name string) {
	if name != "" {
		c.doomed = append(c.doomed, name)
	}
}

func (c *Cache) takeDoomed() []string {
	names := c.doomed
	c.doomed = nil
	return names
}
