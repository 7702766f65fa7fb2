package store

// Stats are the engine's; false if it doesn't tell.
func (s *Store) Stats() (Stats, bool) {
	e, ok := s.engine.(interface{ Stats() Stats })
	if !ok {
		return Stats{}, false
	}
	return e.Stats(), true
}
