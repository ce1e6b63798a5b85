// Package migrating holds the code of docs/migrating.md. For each way to come to this driver there is a small bank
// before the change and the same bank after it; the tests run both, and hold the page to what they say.
package migrating
