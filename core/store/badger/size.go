package badger

// Size is about how many bytes the records take on the disk. Those that were written
// last are still in memory and not counted.
func (e *Engine) Size() int64 {
	if e.closed.Load() {
		return 0
	}
	var n int64
	for _, t := range e.db.Tables() {
		n += int64(t.OnDiskSize)
	}
	return n
}
