//go:build !wasip1

package abi

import "unicode/utf8"

// checked says whether a reader looks at what texts are made of, and at what they
// are together.
const checked = true

// isText says whether the text at w, which is in the message b, is UTF-8.
func isText(b []byte, w uint64) bool { return utf8.Valid(b[uint32(w):][:w>>32]) }
