//go:build go1.27

package parity_test

import (
	"database/sql/driver"
	"reflect"
)

func init() {
	driverInterfaces = append(driverInterfaces, reflect.TypeFor[driver.RowsColumnScanner]())
	mustHaveInterfaces = append(mustHaveInterfaces, reflect.TypeFor[driver.RowsColumnScanner]())
}
