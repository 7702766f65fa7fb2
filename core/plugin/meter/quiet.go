package meter

// A check may have to call, and the engine keeps nothing in a register across a call: in a short loop that alone can
// take half as long again as the loop. So a loop that is quiet gets a second one around it, which has the call:
//
//	local = counter                     editBefore
//	loop                                …
//	  if local < 0                      …
//	    refill, local = counter + units …
//	  loop
//	    local -= units, counter = local editCheck
//	    br_if 1 (local < 0)             …
//	    …
//	  end
//	end                                 editBehind
//
// The counter is right at any moment, so whoever comes next, by whatever way out of the loop, finds it. Labels of
// branches out of the loop are one further away. All this is only done for loops that turn out to be quiet, when they
// end; until then the edits stand by.

// turning is how many blocks a function may have before a loop that is not worth a second one.
const turning = 1000

// turn puts a second loop around the one that just ended.
func (f *body) turn(r region) {
	f.turned = true
	f.edits[r.before].arg = f.edits[f.checks[r.check].edit].arg
	for i := r.before; i < len(f.edits); i++ {
		f.edits[i].turned = true
	}
	f.edits = append(f.edits, edit{from: f.pos, to: f.pos, kind: editBehind, turned: true})
}

// disturb notes that somebody else pays in the last region.
func (f *body) disturb() { f.regions[len(f.regions)-1].quiet = false }

// appendBefore begins the loop around a quiet one of that type, whose turns cost so many units. Whoever comes back to it
// has paid already and pays once more: so that is added to the local, and to the counter never.
func (f *body) appendBefore(b []byte, kind byte, units uint32) []byte {
	b = appendU32(append(b, opGlobalGet), f.fuel())
	b = appendU32(append(b, opLocalSet), f.locals)
	b = append(b, opLoop, kind)
	b = appendU32(append(b, opLocalGet), f.locals)
	b = append(b, opI64Const, 0, opI64LtS, opIf, blockEmpty)
	b = appendU32(append(b, opCall), f.refill())
	b = appendU32(append(b, opGlobalGet), f.fuel())
	b = append(appendS64(append(b, opI64Const), int64(units)), opI64Add)
	b = appendU32(append(b, opLocalSet), f.locals)
	return append(b, opEnd)
}

// appendTurn writes the check of a quiet loop.
func (f *body) appendTurn(b []byte, units uint32) []byte {
	b = appendU32(append(b, opLocalGet), f.locals)
	b = appendS64(append(b, opI64Const), int64(units))
	b = appendU32(append(b, opI64Sub, opLocalTee), f.locals)
	b = appendU32(append(b, opGlobalSet), f.fuel())
	b = appendU32(append(b, opLocalGet), f.locals)
	return append(b, opI64Const, 0, opI64LtS, opIf, blockEmpty, opBr, 2, opEnd) // of if, loop and the loop around it
}
