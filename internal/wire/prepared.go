package wire

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reprise-go/cockroachdb/internal/sqltext"
)

// Prepared is what is known of a statement's text once the server has described it.
type Prepared struct {
	Name          string // "" for a description alone
	Desc          *pgconn.StatementDescription
	Columns       *Columns
	Class         sqltext.Class
	resultFormats []int16
	paramFormats  []int16 // of the latest arguments: the next ones will be of the same types

	pins int           // how many holders keep it from being evicted
	elem *list.Element // its place among those that may be evicted; nil while it is pinned
	gone bool          // the server no longer has it, or soon won't
}

// NewPrepared makes a Prepared of what the server has described.
func NewPrepared(name, sql string, class sqltext.Class, desc *pgconn.StatementDescription) *Prepared {
	desc.Name, desc.SQL = name, sql
	formats := formatsFor(desc.Fields, databaseSQLFormats)
	return &Prepared{Name: name, Desc: desc, Class: class, resultFormats: formats, Columns: newColumns(desc.Fields, formats)}
}

// Gone reports whether the server no longer has the statement, or soon won't.
func (p *Prepared) Gone() bool { return p.gone }

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

// NameOf returns the name under which a text is prepared: a digest of it. So the name means the same on every
// connection, whatever stands between the driver and the server and hands connections from client to client.
func NameOf(sql string) string {
	const prefix, size = "reprise_", 16
	var name [len(prefix) + 2*size]byte
	sum := sha256.Sum256([]byte(sql))
	copy(name[:], prefix)
	hex.Encode(name[len(prefix):], sum[:size])
	return string(name[:])
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
	if c.byText[p.Desc.SQL] == p {
		delete(c.byText, p.Desc.SQL)
	}
	if p.elem != nil {
		c.recent.Remove(p.elem)
		p.elem = nil
	}
	c.Doom(p.Name)
}

// ForgetAll takes everything out of the cache: the server has deallocated it.
func (c *Cache) ForgetAll() {
	for _, p := range c.byText {
		c.Forget(p)
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
