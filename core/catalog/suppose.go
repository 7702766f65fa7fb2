package catalog

import "fmt"

// supposedURL stands where no server is: a supposed catalogue is never downloaded from.
const supposedURL = "https://market.invalid"

// Suppose returns a snapshot in which the items stand as they are given, beside all
// others: a catalogue that may never be, for forecasts. Nothing is stored and nobody is
// told. The zero Snapshot is an empty catalogue to begin with. The error is Invalid, or
// names the item.
func (s *Snapshot) Suppose(items ...Item) (*Snapshot, error) {
	if s.replaced == nil {
		s = newSnapshot()
	}
	changes := make(map[uint64]*Entry, len(items))
	for _, it := range items {
		if err := (Rules{LoopbackHTTP: true}).Validate(it); err != nil {
			return nil, fmt.Errorf("item %d: %w", it.ID, err)
		}
		it = it.clone()
		it.normalise()
		e, err := newEntry(it, supposedURL)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", it.ID, err)
		}
		changes[it.ID] = e
	}
	return s.with(changes), nil
}
