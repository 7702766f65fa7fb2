package abi

// HasQuick says whether a message has two readers; Quick and Careful are they, which Read
// takes one after the other.
func HasQuick(m any) bool {
	_, ok := m.(interface{ quick([]byte) bool })
	return ok
}

func Quick(m any, b []byte) bool { return m.(interface{ quick([]byte) bool }).quick(b) }

func Careful(m any, b []byte) error { return m.(interface{ careful([]byte) error }).careful(b) }

// ViewBroken says whether a view was asked for a text that is none.
func ViewBroken(v interface{ Fail(error) }) bool {
	switch v := v.(type) {
	case *EntitleView:
		return v.broken
	case *SelectVersionView:
		return v.broken
	}
	panic("there is no such view")
}
