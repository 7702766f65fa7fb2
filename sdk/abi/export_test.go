package abi

// Quick and Careful are the two readers of a message, which Read takes one after the
// other.
func Quick(m any, b []byte) bool { return m.(interface{ quick([]byte) bool }).quick(b) }

func Careful(m any, b []byte) error { return m.(interface{ careful([]byte) error }).careful(b) }
