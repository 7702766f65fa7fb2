package abi

import "unsafe"

const noSuch = "abi: there is no such element"

// text returns the text that is pointed to from p+at. It has to be so short that the
// compiler puts it where it is called: a call takes a guest in Go longer.
func (v *HeadView) text(p unsafe.Pointer, at uintptr) string {
	w := load64(p, at)
	if w>>32 == 0 || w&(1<<32-1)+w>>32 > v.size || checked && !isText(v.bytes(), w) {
		v.broken = v.broken || w>>32 > 0 // an empty one may point anywhere
		w = 0
	}
	return unsafe.String((*byte)(unsafe.Add(v.m, w&(1<<32-1))), w>>32)
}

func (v *HeadView) bytes() []byte { return unsafe.Slice((*byte)(v.m), v.size) }

const errText = recordError("a string is outside the message, or not UTF-8")

// Fail lets the question be answered with an error: the operator's on_error decides then,
// about all of its apps. The first one counts.
func (v *HeadView) Fail(err error) {
	if v.err == nil {
		v.err = err
	}
}

// HasGrant says whether the account holds it: see [Head.Grants].
func (v *HeadView) HasGrant(grant string) bool {
	for i := range v.Grants() {
		if v.Grant(i) == grant {
			return true
		}
	}
	return false
}
