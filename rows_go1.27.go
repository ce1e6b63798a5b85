//go:build go1.27

package cockroachdb

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Ensure the interface is implemented. Where it is, database/sql never calls Next: a row is observed by NextRow.
var _ driver.RowsColumnScanner = (*rows)(nil)

// NextRow hands over the next row.
func (r *rows) NextRow() error { return r.advance() }

// ScanColumn scans a column of the row that NextRow handed over: what database/sql knows how to convert by its rules,
// and everything else, such as slices and ranges, by pgx's.
func (r *rows) ScanColumn(ctx driver.ScanContext, i int, dest any) error {
	if dest == nil {
		return errors.New("destination not a pointer")
	}
	v := reflect.ValueOf(dest)
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("destination pointer is nil")
	}
	src := r.row[i]
	if !convertedBySQL(v.Type()) {
		field := r.columns.Fields[i]
		return r.typeMap().Scan(field.DataTypeOID, field.Format, src, dest)
	}
	var value driver.Value
	if src != nil {
		var err error
		if value, err = r.columns.Decoders(r.typeMap())[i](src); err != nil {
			return r.misencoded(i, err)
		}
	}
	return sql.ConvertAssign(ctx, dest, value)
}

var convertedBySQLCache sync.Map // of reflect.Type to bool

// convertedBySQL reports whether database/sql converts into a destination of type t. It is decided before the scan:
// trying one after the other could call the application's code twice.
func convertedBySQL(t reflect.Type) bool {
	if known, ok := convertedBySQLCache.Load(t); ok {
		return known.(bool)
	}
	is := isConvertedBySQL(t)
	convertedBySQLCache.Store(t, is)
	return is
}

func isConvertedBySQL(t reflect.Type) bool {
	named := map[reflect.Type]bool{}
	for {
		if t.Implements(reflect.TypeFor[sql.Scanner]()) {
			return true
		}
		// pgx's own kinds of byte slice.
		if t.Implements(reflect.TypeFor[pgtype.ArraySetter]()) || t.Implements(reflect.TypeFor[pgtype.BytesScanner]()) {
			return false
		}
		if t.Kind() != reflect.Pointer {
			return isScalar(t)
		}
		if t.Name() != "" { // only a named pointer type can point at itself
			if named[t] {
				return false
			}
			named[t] = true
		}
		t = t.Elem()
	}
}

func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Interface, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	case reflect.Struct:
		return t.ConvertibleTo(reflect.TypeFor[time.Time]())
	default:
		return false
	}
}
