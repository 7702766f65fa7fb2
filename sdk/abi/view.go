package abi

import (
	"errors"
	"unsafe"
)

// HeadView is a [Head] that is read where it lies, a field when its method is called.
type HeadView struct {
	m      unsafe.Pointer // the message
	size   uint64
	err    error // the first that Fail got
	broken bool  // a text that was asked for is none

	looked bool   // for grant
	grant  string // the last that HasGrant was asked for
	held   bool   // what it said
}

const noSuch = "abi: there is no such element"

// errText is a text that lies outside of its message, or is not UTF-8.
const errText = recordError("a string is outside the message, or not UTF-8")

// errNothing is what Fail got instead of an error.
var errNothing = errors.New("abi: Fail without an error")

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

// HasGrant says whether the account holds it, which is one of [Head.Grants]. It may be
// asked about each app: they are looked through once.
func (v *HeadView) HasGrant(grant string) bool {
	if !v.looked || v.grant != grant {
		v.looked, v.grant, v.held = true, grant, v.findGrant(grant)
	}
	return v.held
}

func (v *HeadView) findGrant(grant string) bool {
	for i := range v.Grants() {
		if v.Grant(i) == grant {
			return true
		}
	}
	return false
}

// Fail has the whole question end with an error, so that the operator's on_error decides
// about all of its apps, also those that were answered. What is returned after it is not
// looked at. The first error counts.
func (v *HeadView) Fail(err error) {
	if err == nil {
		err = errNothing
	}
	if v.err == nil {
		v.err = err
	}
}
