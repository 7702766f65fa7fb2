package modeltest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// step is a line of a script. Whom it is about is picked when its turn comes, among
// those who are there then, so a script without some of its lines is a script.
type step struct {
	do   deed
	pick uint32        // whom it is about
	how  uint32        // how it is done
	lose bool          // the answer never arrives
	move time.Duration // of deedWait
}

type deed byte

const (
	deedSignIn   deed = iota // somebody signs in on the page
	deedRedeem               // a code that waits is redeemed
	deedSecond               // a code is redeemed that was before
	deedForge                // a code is redeemed with another verifier, or by another client
	deedIssue                // a subject token
	deedExchange             // of a subject token
	deedRefresh              // by somebody who holds a refresh token
	deedCopy                 // a thief gets what somebody holds, or held
	deedSteal                // a thief refreshes
	deedReturn               // somebody who was refused tries again
	deedStranger             // a refresh under the name of another client
	deedBearer               // an access token is shown
	deedRevoke               // one sign-in is ended
	deedSignOut              // all are
	deedWait                 // time passes
	deedKey                  // a new key
	deedRetire               // the oldest key goes, whoever is signed out by that
	deedCrash                // the process dies and starts again
	deedPause                // all that are under way come to their ends
)

// script is a history before it has happened.
type script struct {
	seed    uint64
	callers int
	racing  bool // everybody runs at once, and not one call to the engine after the other
	disk    bool // the engine's files are copied at each crash
	lives   lives
	worn    bool    // a device or two that lose every other answer
	faults  float64 // share of the engine's calls that come to no known end
	steps   []step
}

// Weights of deeds: what people do who mean well, and what happens besides.
var (
	kindly = []struct {
		deed
		weight int
	}{
		{deedSignIn, 5}, {deedRedeem, 7}, {deedIssue, 3}, {deedExchange, 5}, {deedRefresh, 40}, {deedBearer, 14},
		{deedWait, 28}, {deedKey, 1}, {deedCrash, 2},
	}
	badly = []struct {
		deed
		weight int
	}{
		{deedSignIn, 6}, {deedRedeem, 8}, {deedSecond, 3}, {deedForge, 2}, {deedIssue, 3}, {deedExchange, 7},
		{deedRefresh, 26}, {deedCopy, 5}, {deedSteal, 9}, {deedReturn, 5}, {deedStranger, 1}, {deedBearer, 14}, {deedRevoke, 3},
		{deedSignOut, 2}, {deedWait, 20}, {deedKey, 1}, {deedRetire, 1}, {deedCrash, 3},
	}
	daily = []struct {
		deed
		weight int
	}{
		{deedRefresh, 40}, {deedBearer, 4}, {deedCopy, 2}, {deedSteal, 4}, {deedWait, 40}, {deedKey, 1}, {deedCrash, 1},
	}
)

// waits are how much time passes: within a request, to the edges of the grace and of
// the life of a code or a subject token, a night, the life of an access token, the
// idle life of a sign-in.
var waits = []struct {
	weight   int
	from, to time.Duration
}{
	{30, time.Millisecond, 5 * time.Second},
	{12, 58 * time.Second, 62 * time.Second},
	{3, 4*time.Minute + 58*time.Second, 5*time.Minute + 2*time.Second},
	{2, 9*time.Minute + 59*time.Second, 10*time.Minute + 2*time.Second},
	{4, 50 * time.Minute, 2 * time.Hour},
	{40, 23 * time.Hour, 25 * time.Hour},
	{8, 71 * time.Hour, 80 * time.Hour},
	{2, 20 * 24 * time.Hour, 90 * 24 * time.Hour},
	{1, 179 * 24 * time.Hour, 181 * 24 * time.Hour},
}

// within is how much time may pass while a request is on its way; for more, those
// that are on their way are waited for.
const within = 5 * time.Second

// write makes the script of a seed.
func write(seed uint64) *script {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &script{
		seed: seed, callers: 4 + rng.IntN(5),
		lives: lives{accessDevice: 72 * hour, accessApp: hour, idle: 180 * day, grace: minute, code: 5 * minute},
	}
	s.racing = rng.IntN(10) == 0
	s.disk = rng.IntN(60) == 0
	if rng.IntN(4) == 0 {
		s.lives.absolute = 30 * day
	}
	if rng.IntN(3) > 0 {
		s.faults = 0.01 * float64(1+rng.IntN(6))
	}
	deeds, lost := badly, 0.02
	if rng.IntN(5) < 2 {
		deeds = kindly
	}
	if rng.IntN(2) == 0 {
		lost = 0.25
	}
	if s.worn = rng.IntN(8) == 0; s.worn {
		deeds, lost, s.faults = daily, 0.4, 0
	}
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	length := 40 + rng.IntN(40)
	s.steps = []step{{do: deedSignIn, how: rng.Uint32()}, {do: deedSignIn, how: rng.Uint32()}, {do: deedPause}, {do: deedRedeem}, {do: deedRedeem}, {do: deedPause}}
	for len(s.steps) < length {
		st := step{pick: rng.Uint32(), how: rng.Uint32(), lose: rng.Float64() < lost}
		n := rng.IntN(total)
		for _, d := range deeds {
			if n -= d.weight; n < 0 {
				st.do = d.deed
				break
			}
		}
		if st.do == deedWait {
			st.move = wait(rng)
			if s.worn {
				st.move = 23*time.Hour + time.Duration(rng.IntN(120))*time.Minute
			}
		}
		s.steps = append(s.steps, st)
		// Mostly somebody who got a code or a link goes on with it, if nothing comes
		// in between.
		goesOn := rng.IntN(4) > 0
		switch {
		case st.do == deedSignIn && goesOn:
			s.steps = append(s.steps, step{do: deedPause}, step{do: deedRedeem, pick: rng.Uint32(), lose: st.lose})
		case st.do == deedSignIn && rng.IntN(2) == 0:
			between := step{do: deedSignOut}
			if rng.IntN(2) == 0 {
				between = step{do: deedWait, move: 5*time.Minute - time.Second + time.Duration(rng.IntN(3000))*time.Millisecond}
			}
			s.steps = append(s.steps, step{do: deedPause}, between, step{do: deedPause}, step{do: deedRedeem, pick: rng.Uint32()})
		case st.do == deedIssue && goesOn:
			s.steps = append(s.steps, step{do: deedPause}, step{do: deedExchange, how: rng.Uint32(), lose: st.lose})
		}
	}
	return s
}

func wait(rng *rand.Rand) time.Duration {
	total := 0
	for _, w := range waits {
		total += w.weight
	}
	n := rng.IntN(total)
	for _, w := range waits {
		if n -= w.weight; n < 0 {
			return (w.from + time.Duration(rng.Int64N(int64(w.to-w.from)))).Truncate(time.Millisecond)
		}
	}
	return 0
}

func (s *script) String() string {
	how := "one call to the engine after the other"
	if s.racing {
		how = "all at once"
	}
	where := "in memory"
	if s.disk {
		where = "on disk"
	}
	return fmt.Sprintf("%d callers, %s, %s, %.0f %% of the engine's calls come to no known end, absolute life %d days",
		s.callers, how, where, 100*s.faults, s.lives.absolute/day)
}
