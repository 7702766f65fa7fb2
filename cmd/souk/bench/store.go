package bench

import "errors"

// Store are the flags of `souk bench store`.
type Store struct {
	JSON bool `name:"json" help:"Print JSON, for machines."`
}

// Run measures the store.
func (c *Store) Run() error { return errors.New("measures nothing yet") }
