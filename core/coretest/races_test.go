package coretest_test

import (
	"testing"

	"github.com/souk-market/souk/core/coretest"
)

const together = 16

// outcomes sorts the answers of requests that came at once: those that got tokens,
// and the errors of the others.
func outcomes(t *testing.T, all []answer) (got []tokens, errors map[any]int) {
	t.Helper()
	errors = map[any]int{}
	for _, a := range all {
		if a.status == 200 {
			got = append(got, a.granted(t, "one of many at once"))
			continue
		}
		if a.status != 400 {
			t.Errorf("one of many at once answered %d %s, want 200 or 400", a.status, a.body)
		}
		errors[a.object(t)["error"]]++
	}
	return got, errors
}

// RFC 6749 §4.1.2: one use, whoever is first; the others reveal that the code was
// stolen, so the first one's tokens end as well.
func TestOneOfManyRedemptionsWins(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for range 4 {
		r := deviceSignIn(coretest.Alice)
		form := r.redemption(r.aliceCode(t, s))
		all := make([]answer, together)
		atOnce(together, func(i int) { all[i] = token(t, s, form) })
		got, errors := outcomes(t, all)
		if len(got) != 1 || errors["invalid_grant"] != together-1 {
			t.Fatalf("%d redemptions of a code at once: %d got tokens, the errors were %v, want one and invalid_grant for the rest", together, len(got), errors)
		}
		if status := opens(t, s, got[0].access); status != 403 {
			t.Errorf("after the code was used %d times its token answered %d, want 403", together, status)
		}
		refresh(t, s, got[0].refresh).refused(t, "refresh after the code was used again", 400, "invalid_grant")
	}
}

// A wrong verifier and the right one at once: the code is burnt or redeemed, never
// both.
func TestWrongVerifierRacesTheRightOne(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for range 4 {
		r := deviceSignIn(coretest.Alice)
		form, wrong := r.redemption(r.aliceCode(t, s)), r.redemption("")
		wrong.Set("code", form.Get("code"))
		wrong.Set("code_verifier", newPKCE().verifier)
		all := make([]answer, 8)
		atOnce(8, func(i int) {
			if i%2 == 0 {
				all[i] = token(t, s, form)
			} else {
				all[i] = token(t, s, wrong)
			}
		})
		got, _ := outcomes(t, all)
		if len(got) > 1 {
			t.Errorf("%d of 4 redemptions got tokens, want one at most", len(got))
		}
		for _, held := range got {
			if status := opens(t, s, held.access); status != 403 {
				t.Errorf("after others had tried the code its token answered %d, want 403", status)
			}
		}
	}
}

// A device that sends a refresh twice must not be signed out, and gets one pair.
func TestManyRefreshesGiveOnePair(t *testing.T) {
	t.Parallel()
	s := shared(t)
	held := deviceOf(t, s, "busy@example.com")
	for range 5 {
		all := make([]answer, together)
		atOnce(together, func(i int) { all[i] = refresh(t, s, held.refresh) })
		got, errors := outcomes(t, all)
		if len(got) != together {
			t.Fatalf("%d refreshes at once: %d got tokens, the errors were %v, want tokens for all", together, len(got), errors)
		}
		for _, pair := range got {
			if pair != got[0] {
				t.Errorf("two refreshes at once got different pairs")
			}
		}
		if status := opens(t, s, got[0].access); status != 200 {
			t.Errorf("after %d refreshes at once the token answered %d, want 200", together, status)
		}
		held = got[0]
	}
	refresh(t, s, held.refresh).granted(t, "the refresh after all that")
}

func TestManyExchangesByOneClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	form := exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID())
	all := make([]answer, together)
	atOnce(together, func(i int) { all[i] = token(t, s, form) })
	got, errors := outcomes(t, all)
	if len(got) != together {
		t.Errorf("%d exchanges by one client at once: %d got tokens, the errors were %v, want tokens for all", together, len(got), errors)
	}
	for _, pair := range got {
		if status := opens(t, s, pair.access); status != 200 {
			t.Errorf("a token of %d exchanges at once answered %d, want 200", together, status)
		}
	}
}

func TestOneOfManyClientsBindsASubjectToken(t *testing.T) {
	t.Parallel()
	s := shared(t)
	subject := s.SubjectToken(t, coretest.Alice)
	all := make([]answer, together)
	atOnce(together, func(i int) { all[i] = token(t, s, exchangeForm(subject, newClientID())) })
	got, errors := outcomes(t, all)
	if len(got) != 1 || errors["invalid_request"] != together-1 {
		t.Fatalf("%d clients exchanged one token at once: %d got tokens, the errors were %v, want one and invalid_request for the rest", together, len(got), errors)
	}
	if status := opens(t, s, got[0].access); status != 200 {
		t.Errorf("the token of the client that was first answered %d, want 200", status)
	}
}

// The newest refresh token and the first one at once: whatever the order, the
// family ends, since the first one is far too old.
func TestReuseRacesTheRefresh(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for range 4 {
		first := deviceOf(t, s, "stolen@example.com")
		second := refresh(t, s, first.refresh).granted(t, "refresh")
		third := refresh(t, s, second.refresh).granted(t, "refresh")
		all := make([]answer, 8)
		atOnce(8, func(i int) {
			if i == 0 {
				all[i] = refresh(t, s, first.refresh)
			} else {
				all[i] = refresh(t, s, third.refresh)
			}
		})
		got, _ := outcomes(t, all)
		all[0].refused(t, "the first token", 400, "invalid_grant")
		for _, pair := range append(got, third) {
			if status := opens(t, s, pair.access); status != 403 {
				t.Errorf("after the reuse a token answered %d, want 403", status)
			}
			refresh(t, s, pair.refresh).refused(t, "a refresh after the reuse", 400, "invalid_grant")
		}
	}
}
