// Package telemetry shows, and tests, how the driver is traced by OpenTelemetry: events on spans by
// [cockroachdb.Config.OnRetry], spans of statements by otelpgx, which sits below the driver and sees what is replayed,
// and by otelsql, which sits above and does not.
//
// It is there to be copied from, and a module of its own, so that the driver needs none of these.
package telemetry
