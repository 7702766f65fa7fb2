//go:build !linux

package badger

// adviseLogs does nothing: how other systems keep the pages of mapped files is not
// known to us.
func adviseLogs(string) error { return nil }
