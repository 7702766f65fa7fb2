package modeltest

import (
	"fmt"
	"slices"
)

// This file is the model: what a sign-in and a subject token may answer, one call
// after the other. It shares nothing with what it is compared to but the texts of
// tokens. Times are milliseconds since 1970.

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// lives are the lifetimes of a history.
type lives struct {
	accessDevice, accessApp, idle, absolute, grace, code int64
}

// kind is what somebody asks for.
type kind byte

const (
	kindSignIn   kind = iota // through the page, for a code
	kindRedeem               // the code
	kindExchange             // a subject token
	kindIssue                // a subject token
	kindRefresh
	kindBearer  // shows an access token
	kindRevoke  // the operator ends one sign-in
	kindSignOut // the operator ends all of an account
	kindFinish  // a process that has started ends what sign-outs that were cut off have left
	kindCrash
	kindBefore // what a refresh did that then met a sign-out: it may have rotated before that
)

// call is what was asked, as far as it matters to one sign-in or one subject token.
type call struct {
	kind   kind
	times  []int64 // what the clock showed between the call and its answer
	kids   []byte  // the keys that were current between the two
	device bool    // of a sign-in: its client is one
	client int     // of an exchange
	forged bool    // redeem: with another verifier
	other  bool    // redeem, refresh: another client names itself
	token  pair    // refresh: its generation and kid; bearer: its times and kid
	gone   bool    // the key of the token, or the code, was retired
	lives  *lives
}

// outcome is how a call ended.
type outcome byte

const (
	done    outcome = iota // it was answered with what it asked for
	refused                // for good
	unknown                // no answer, or one that says nothing: it may have happened, wholly, in part or not
	expired                // bearer: out of date
	revoked                // bearer: its sign-in was ended
	unread                 // bearer: the key is gone
)

// answer is what came back.
type answer struct {
	outcome outcome
	pair    pair
	lasts   int64 // expires_in, seconds
	ended   bool  // revoke: the sign-in was among those it ended
}

// pair is an access token and a refresh token: what they say, and which texts they
// are. Texts have numbers within a history, from 1.
type pair struct {
	refresh, access int
	generation      uint32
	kid             byte
	issued, expires int64 // of the access token, seconds
}

// phase is how far a sign-in has come.
type phase byte

const (
	absent phase = iota
	coded        // there is a code for it
	active
	over
)

// bar is whether access tokens are refused.
type bar byte

const (
	open bar = iota
	shut     // on this process's word alone: a crash forgets it
	bolted
)

// signIn is one sign-in: a code, its family of refresh tokens, their access tokens.
type signIn struct {
	phase      phase
	bar        bar
	stale      bool // the account was signed out everywhere since
	codeUntil  int64
	generation uint32
	kid        byte // of the newest pair; 0 = nobody has seen one
	refresh    int  // the newest pair; 0 = nobody has seen one
	access     int
	rotated    int64
	created    int64
	until      int64     // when it is forgotten
	barUntil   int64     // of an ending that was begun: when the bar is forgotten, at the earliest
	late       [2]uint32 // generations in which a retry came late, the newer one first
}

const (
	lateTimes   = 2  // so often may a device be late
	lateOver    = 10 // in so many generations
	subjectLife = 10 * minute
)

// step returns what the sign-in may be after the call, if it was answered so; none if
// it can't have been. why names the rule that spoke, for the counters.
func (s signIn) step(c *call, a answer) (after []signIn, why []string) {
	may := func(next signIn, rule string) {
		after, why = append(after, next), append(why, rule)
	}
	if a.outcome == unknown {
		may(s, "")
		for _, part := range s.parts(c) {
			may(part, "")
		}
		return after, why
	}
	switch c.kind {
	case kindSignIn:
		for _, now := range c.times {
			next := s
			next.phase, next.codeUntil = coded, now/second*second+c.lives.code
			may(next, "signed in")
		}
	case kindExchange:
		for _, now := range c.times {
			if next, ok := s.begun(c, now).shown(c, a, true); ok {
				may(next, "exchanged")
			}
		}
	case kindRedeem, kindRefresh:
		for _, now := range c.times {
			next, rule, gives := s.redeem(c, now)
			if c.kind == kindRefresh {
				next, rule, gives = s.refreshed(c, now)
			}
			if gives != (a.outcome == done) {
				continue
			}
			if gives {
				var ok bool
				if next, ok = next.shown(c, a, rule == "rotated" || c.kind == kindRedeem); !ok {
					continue
				}
			}
			may(next, rule)
		}
	case kindBearer:
		for _, now := range c.times {
			want, rule := done, "access token is good"
			switch {
			case c.gone:
				want, rule = unread, "access token of a retired key"
			case now/second >= c.token.expires:
				want, rule = expired, "access token is out of date"
			case s.bar != open:
				want, rule = revoked, "access token of an ended sign-in"
			}
			if a.outcome == want {
				may(s, rule)
			}
		}
	case kindRevoke:
		if a.ended && (s.phase == active || s.phase == over) {
			may(s.ended(), "ended by the operator")
		}
		if !a.ended && (s.phase != active || s.stale || s.dead(c)) {
			may(s, "nothing to end")
		}
	case kindSignOut:
		may(s.signedOut(), "signed out everywhere")
	case kindFinish:
		if s.stale && s.phase == active {
			may(s.ended(), "a sign-out that was cut off is finished")
		} else {
			may(s, "")
		}
	case kindBefore:
		may(s, "")
		for _, now := range c.times {
			if next, _, gives := s.refreshed(c, now); gives {
				may(next, "")
			}
		}
	case kindCrash:
		if s.bar == shut {
			s.bar, s.barUntil = open, 0
		}
		may(s, "")
		// The end of a sign-in that nobody was told of, and that nobody has used until
		// its last access token was out of date, is as if it had not been begun.
		if s.phase == active && s.bar == bolted && c.times[len(c.times)-1] >= s.barUntil {
			s.bar, s.barUntil = open, 0
			may(s, "")
		}
	}
	return after, why
}

// parts are what may be left of a call that came to no known end, besides nothing.
func (s signIn) parts(c *call) (left []signIn) {
	switch c.kind {
	case kindRedeem, kindRefresh:
		for _, now := range c.times {
			next, _, _ := s.redeem(c, now)
			if c.kind == kindRefresh {
				next, _, _ = s.refreshed(c, now)
			}
			if next == s {
				continue
			}
			left = append(left, next)
			if next.phase == over && next.bar == bolted {
				left = append(left, s.ending(c)...)
			}
		}
	case kindExchange:
		// The family that nobody was told of is none of anybody's sign-ins.
	case kindRevoke:
		if s.phase == active || s.phase == over {
			left = append(s.ending(c), s.ended())
		}
	case kindFinish:
		if s.stale && s.phase == active {
			left = append(s.ending(c), s.ended())
		}
	case kindSignOut:
		if s.phase == absent {
			return nil
		}
		s.stale = true
		left = append(left, s, s.signedOut())
		if s.phase == active {
			left = append(left, s.ending(c)...)
		}
	}
	return left
}

// ending is what a sign-in is on its way to its end: access tokens go first.
func (s signIn) ending(c *call) []signIn {
	s.barUntil = c.times[0] + max(c.lives.accessDevice, c.lives.accessApp) + minute
	first, then := s, s
	first.bar, then.bar = max(s.bar, shut), bolted
	return []signIn{first, then}
}

func (s signIn) ended() signIn {
	s.phase, s.bar, s.barUntil = over, bolted, 0
	return s
}

func (s signIn) signedOut() signIn {
	if s.phase == absent {
		return s
	}
	s.stale = true
	if s.phase == active {
		return s.ended()
	}
	return s
}

// dead says whether the sign-in was forgotten at some moment of the call.
func (s signIn) dead(c *call) bool {
	for _, now := range c.times {
		if now >= s.until {
			return true
		}
	}
	return false
}

// redeem is the redemption of the code: once, and whoever comes second ends it.
func (s signIn) redeem(c *call, now int64) (next signIn, rule string, gives bool) {
	switch {
	case s.phase == absent:
		return s, "a code that was never issued", false
	case c.gone:
		return s, "code of a retired key", false
	case now >= s.codeUntil:
		return s, "code is out of date", false
	case c.other:
		return s, "code of another client", false
	case s.stale:
		return s, "code from before the sign-out", false
	case s.phase != coded:
		return s.ended(), "code redeemed twice", false
	case c.forged:
		s.phase = over
		return s, "code burnt by another verifier", false
	}
	return s.begun(c, now), "code redeemed", true
}

func (s signIn) begun(c *call, now int64) signIn {
	s.phase, s.created, s.rotated = active, now, now
	return s.kept(c, now)
}

// kept moves on when the sign-in is forgotten.
func (s signIn) kept(c *call, now int64) signIn {
	s.until = now + c.lives.idle
	if c.lives.absolute > 0 {
		s.until = min(s.until, s.created+c.lives.absolute)
	}
	return s
}

// refreshed is the use of a refresh token.
func (s signIn) refreshed(c *call, now int64) (next signIn, rule string, gives bool) {
	switch {
	case c.gone:
		return s, "refresh token of a retired key", false
	case s.phase != active && s.phase != over:
		return s, "refresh token of no sign-in", false
	case now >= s.until && s.until == s.created+c.lives.absolute:
		return s, "sign-in is too old", false
	case now >= s.until:
		return s, "sign-in was idle for too long", false
	case c.other:
		return s, "refresh token of another client", false
	case s.phase == over:
		return s.ended(), "sign-in was ended", false
	case s.bar != open:
		return s.ended(), "an ending is brought to its end", false
	case s.stale:
		return s.ended(), "account was signed out", false
	}
	newest := s.generation
	switch used := c.token.generation; {
	case used == newest:
		s.generation, s.rotated = newest+1, now
		s.refresh, s.access, s.kid = 0, 0, 0
		return s.kept(c, now), "rotated", true
	case used+1 == newest && now-s.rotated <= c.lives.grace:
		return s, "retry within the grace", true
	case used+1 == newest && c.device && s.mayBeLate():
		rule = "late retry"
		if s.late[0] != newest {
			s.late = [2]uint32{newest, s.late[0]}
		} else {
			rule = "late retry, once more"
		}
		if s.rotated+c.life() <= now {
			s.rotated, s.access = now, 0
			rule += ", with a fresh access token"
		}
		return s.kept(c, now), rule, true
	case used+1 == newest && c.device:
		return s.ended(), "late for the third time", false
	case used+1 == newest:
		return s.ended(), "an app is late", false
	case used < newest:
		return s.ended(), "reuse", false
	}
	return s, "a generation that never was", false
}

// mayBeLate says whether a device may be late in this generation: in no more than two
// of the last ten.
func (s *signIn) mayBeLate() bool {
	if s.late[0] == s.generation {
		return true
	}
	times := 0
	for _, g := range s.late {
		if g != 0 && g+lateOver > s.generation {
			times++
		}
	}
	return times < lateTimes
}

func (c *call) life() int64 {
	if c.device {
		return c.lives.accessDevice
	}
	return c.lives.accessApp
}

// shown compares the pair that was answered with the newest: the same texts, if
// somebody has seen them, and what they say. A fresh one is under a current key.
func (s signIn) shown(c *call, a answer, fresh bool) (next signIn, ok bool) {
	p := a.pair
	expires := s.rotated + c.life()
	if c.lives.absolute > 0 {
		expires = min(expires, s.created+c.lives.absolute)
	}
	switch {
	case p.generation != s.generation, p.issued != s.rotated/second, p.expires != expires/second:
		return s, false
	case s.refresh != 0 && s.refresh != p.refresh, s.access != 0 && s.access != p.access:
		return s, false
	case s.kid != 0 && s.kid != p.kid:
		return s, false
	case fresh && !slices.Contains(c.kids, p.kid):
		return s, false
	}
	lasts := false
	for _, at := range c.times {
		lasts = lasts || a.lasts == max(0, p.expires-at/second)
	}
	s.refresh, s.access, s.kid = p.refresh, p.access, p.kid
	return s, lasts
}

func (s signIn) String() string {
	return fmt.Sprintf("phase %d, bar %d, stale %v, generation %d, rotated %d, until %d, late %v", s.phase, s.bar, s.stale, s.generation, s.rotated, s.until, s.late)
}

// subject is one subject token that this server issued.
type subject struct {
	there bool
	stale bool
	bound int // the client it belongs to; 0 = to none yet
	until int64
}

func (s subject) step(c *call, a answer) (after []subject, why []string) {
	may := func(next subject, rule string) {
		after, why = append(after, next), append(why, rule)
	}
	if a.outcome == unknown {
		may(s, "")
	}
	switch c.kind {
	case kindIssue:
		for _, now := range c.times {
			may(subject{there: true, until: now + subjectLife}, "subject token issued")
		}
	case kindSignOut:
		s.stale = s.there
		may(s, "signed out everywhere")
	case kindCrash, kindFinish:
		may(s, "")
	case kindBefore:
		may(s, "")
		for _, now := range c.times {
			if next, _, gives := s.exchanged(c, now); gives {
				may(next, "")
			}
		}
	case kindExchange:
		for _, now := range c.times {
			next, rule, gives := s.exchanged(c, now)
			if a.outcome == unknown || gives == (a.outcome == done) {
				may(next, rule)
			}
		}
	}
	return after, why
}

func (s subject) exchanged(c *call, now int64) (next subject, rule string, gives bool) {
	switch {
	case !s.there:
		return s, "a subject token that was never issued", false
	case now >= s.until:
		return s, "subject token is out of date", false
	case s.bound != 0 && s.bound != c.client:
		return s, "subject token of another client", false
	}
	rule = "subject token bound"
	if s.bound != 0 {
		rule = "subject token used again"
	}
	s.bound = c.client
	if s.stale {
		return s, "subject token from before the sign-out", false
	}
	return s, rule, true
}
