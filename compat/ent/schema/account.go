// Package schema is what ent generates its code from.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Account is somebody's money.
type Account struct{ ent.Schema }

// Fields has no default for the identifier: it is the application that chooses it, so that a transaction can be
// replayed unseen.
func (Account) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id"),
		field.String("owner").Unique(),
		field.Int64("balance"),
	}
}
