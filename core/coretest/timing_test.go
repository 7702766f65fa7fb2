package coretest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// Whether an account exists must not show in how long a wrong password takes: in
// both cases one hash is worked on, some 30 ms.
//
// The two are measured in pairs, one right after the other, and a coin says which
// goes first: whatever else the machine does hits both alike. If they take the same
// time, the unknown account is the quicker one in half of the pairs, as a coin
// falls, on however busy a machine. So the test fails by chance less than once in a
// million runs: the bounds are those of the binomial distribution. If the hash were
// left out, all pairs would fall to one side. A dummy hash that is only a little
// cheaper than the noise is large would not be noticed, nor by anybody in so many
// attempts.
const (
	timingPairs  = 64
	timingChance = 1e-6
	// How many times longer the one may take, in the median of the pairs. Amid
	// noise one request in many takes four times as long as its neighbour, but not
	// half of them; without its hash it would be thirty times.
	timingRatio = 4
)

// timingLeast is the least number of heads of so many coins that surprises nobody:
// fewer heads, or so few tails, come less often than chance.
func timingLeast(coins int, chance float64) int {
	term, sum := math.Pow(0.5, float64(coins)), 0.0
	for k := 0; ; k++ {
		if sum += term; 2*sum >= chance {
			return k
		}
		term *= float64(coins-k) / float64(k+1)
	}
}

func TestUnknownAccountTakesAsLongAsAWrongPassword(t *testing.T) { // not parallel: there is noise enough
	const accounts = 4
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.OAuth.AttemptsAccount, c.OAuth.AttemptsAddress = 10*timingPairs, 10*timingPairs
	})
	for i := range accounts {
		s.AddPerson(t, fmt.Sprintf("known-%d@example.com", i), coretest.AlicePassword)
	}
	p := open(t, s, nativeSignIn().query())
	guess := func(who string, i int) time.Duration {
		account := fmt.Sprintf("%s-%d@example.com", who, i%accounts) // all have been guessed at as often
		began := time.Now()
		a := p.submit(t, account, "not their password")
		took := time.Since(began)
		if a.status != 200 {
			t.Fatalf("a wrong password of %s answered %d, want the page again", account, a.status)
		}
		return took
	}
	for i := range accounts {
		guess("known", i)
		guess("other", i)
	}
	quicker := 0 // pairs in which the unknown account was
	ratios, knowns := make([]float64, timingPairs), make([]time.Duration, timingPairs)
	for i := range timingPairs {
		var known, other time.Duration
		if rand.IntN(2) == 0 {
			known, other = guess("known", i), guess("other", i)
		} else {
			other, known = guess("other", i), guess("known", i)
		}
		if other < known {
			quicker++
		}
		ratios[i], knowns[i] = float64(other)/float64(known), known
	}
	slices.Sort(ratios)
	slices.Sort(knowns)
	ratio, least := ratios[timingPairs/2], timingLeast(timingPairs, timingChance)
	t.Logf("a wrong password takes %v; an unknown account takes %.3f times as long and is quicker in %d of %d pairs, %d to %d are chance",
		knowns[timingPairs/2].Round(time.Millisecond/10), ratio, quicker, timingPairs, least, timingPairs-least)
	if quicker < least || quicker > timingPairs-least {
		t.Errorf("an unknown account was answered sooner than a wrong password in %d of %d pairs, want %d to %d", quicker, timingPairs, least, timingPairs-least)
	}
	if ratio < 1.0/timingRatio || ratio > timingRatio {
		t.Errorf("an unknown account takes %.3f times as long as a wrong password, want 1", ratio)
	}
}
