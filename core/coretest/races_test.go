package coretest_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/coretest"
)

// together are the numbers of requests that come at once. The agent keeps 32
// connections: the fewer find theirs open, of the more some have to connect.
var together = [...]int{16, 50}

// tally is what came of the rounds of a race.
type tally struct {
	winners   int            // requests that got tokens
	survivors int            // sign-ins that were good afterwards
	failed    int            // answers of 5xx
	refused   map[string]int // the others, by their error
}

// race runs the rounds of a race with each number of requests, and logs a line of
// a table: go test -v -run Race ./core/coretest
func race(t *testing.T, rounds int, round func(t *testing.T, n int, sum *tally)) {
	t.Helper()
	for _, n := range together {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			sum := &tally{refused: map[string]int{}}
			for range rounds {
				round(t, n, sum)
			}
			var refused []string
			for _, code := range slices.Sorted(maps.Keys(sum.refused)) {
				refused = append(refused, fmt.Sprint(code, " ", sum.refused[code]))
			}
			t.Logf("race | %-46s | at once %2d | rounds %d | winners %4d | survivors %3d | 5xx %d | refused: %s",
				strings.TrimPrefix(t.Name(), "TestRace"), n, rounds, sum.winners, sum.survivors, sum.failed, strings.Join(refused, ", "))
		})
	}
}

// outcomes sorts the answers of requests that came at once: those that got tokens,
// and the errors of the others.
func outcomes(t *testing.T, all []answer, sum *tally) (got []tokens, errors map[any]int) {
	t.Helper()
	errors = map[any]int{}
	for _, a := range all {
		switch {
		case a.status == 200:
			got = append(got, a.granted(t, "one of many at once"))
			continue
		case a.status >= 500: // send has said so
			sum.failed++
			continue
		case a.status != 400:
			t.Errorf("one of many at once answered %d %s, want 200 or 400", a.status, a.body)
		}
		code := a.object(t)["error"]
		errors[code]++
		sum.refused[fmt.Sprint(code)]++
	}
	sum.winners += len(got)
	return got, errors
}

// survive counts the sign-ins that are good after a race. All others have to be
// ended: neither of their tokens is worth anything.
func (sum *tally) survive(t *testing.T, s *coretest.Server, held []tokens) (good int) {
	t.Helper()
	seen := map[tokens]bool{}
	for _, pair := range held {
		if seen[pair] {
			continue
		}
		if seen[pair] = true; opens(t, s, pair.access) == 200 {
			good++
			continue
		}
		ended(t, s, "after a race", pair)
	}
	sum.survivors += good
	return good
}

// RFC 6749 §4.1.2: one use, whoever is first; the others reveal that the code was
// stolen, so the first one's tokens end as well.
func TestRaceOneOfManyRedemptionsWins(t *testing.T) {
	t.Parallel()
	s := shared(t)
	race(t, 4, func(t *testing.T, n int, sum *tally) {
		r := deviceSignIn(coretest.Alice)
		form := r.redemption(r.aliceCode(t, s))
		all := make([]answer, n)
		atOnce(n, func(i int) { all[i] = token(t, s, form) })
		got, errors := outcomes(t, all, sum)
		if len(got) != 1 || errors["invalid_grant"] != n-1 {
			t.Fatalf("%d redemptions of a code at once: %d got tokens, the errors were %v, want one and invalid_grant for the rest", n, len(got), errors)
		}
		if sum.survive(t, s, got) > 0 {
			t.Errorf("after the code was used %d times its tokens are good, want them ended", n)
		}
	})
}

// A wrong verifier and the right one at once: the code is burnt or redeemed, never
// both.
func TestRaceWrongVerifierAgainstTheRightOne(t *testing.T) {
	t.Parallel()
	s := shared(t)
	race(t, 4, func(t *testing.T, n int, sum *tally) {
		r := deviceSignIn(coretest.Alice)
		form, wrong := r.redemption(r.aliceCode(t, s)), r.redemption("")
		wrong.Set("code", form.Get("code"))
		wrong.Set("code_verifier", newPKCE().verifier)
		all := make([]answer, n)
		atOnce(n, func(i int) {
			if i%2 == 0 {
				all[i] = token(t, s, form)
			} else {
				all[i] = token(t, s, wrong)
			}
		})
		got, _ := outcomes(t, all, sum)
		for i := 1; i < n; i += 2 {
			all[i].refused(t, "the wrong verifier", 400, "invalid_grant")
		}
		if len(got) > 1 {
			t.Errorf("%d of %d redemptions got tokens, want one at most", len(got), n/2)
		}
		if sum.survive(t, s, got) > 0 {
			t.Error("after others had tried the code its tokens are good, want them ended")
		}
	})
}

// A device that sends a refresh twice must not be signed out, and gets one pair.
func TestRaceManyRefreshesGiveOnePair(t *testing.T) {
	t.Parallel()
	s := shared(t)
	race(t, 5, func(t *testing.T, n int, sum *tally) {
		held := deviceOf(t, s, "busy@example.com")
		all := make([]answer, n)
		atOnce(n, func(i int) { all[i] = refresh(t, s, held.refresh) })
		onePair(t, s, all, sum)
	})
}

// A device that wakes up a day later and asks several times at once is no thief:
// whoever got the successor learns nothing by getting it again.
func TestRaceManyLateRetriesGiveOnePair(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	race(t, 3, func(t *testing.T, n int, sum *tally) {
		held := deviceOf(t, s, "late@example.com")
		lost := refresh(t, s, held.refresh).granted(t, "refresh whose answer is lost")
		s.Clock.Advance(24 * time.Hour)
		all := make([]answer, n)
		atOnce(n, func(i int) { all[i] = refresh(t, s, held.refresh) })
		if next := onePair(t, s, all, sum); next != lost {
			t.Errorf("a day later the device got other tokens than those that were lost")
		}
	})
}

// onePair checks that all refreshes got the same tokens and that the sign-in goes
// on.
func onePair(t *testing.T, s *coretest.Server, all []answer, sum *tally) tokens {
	t.Helper()
	got, errors := outcomes(t, all, sum)
	if len(got) != len(all) {
		t.Fatalf("%d refreshes at once: %d got tokens, the errors were %v, want tokens for all", len(all), len(got), errors)
	}
	for _, pair := range got {
		if pair != got[0] {
			t.Fatal("two refreshes at once got different pairs")
		}
	}
	if sum.survive(t, s, got) != 1 {
		t.Errorf("after %d refreshes at once the sign-in is ended, want it good", len(all))
	}
	refresh(t, s, got[0].refresh).granted(t, "the refresh after all that")
	return got[0]
}

// A refresh token and its successor at once. As long as the successor comes later,
// the first one is a repetition, else the sign-in was copied: it ends, or it goes
// on for one and the same pair.
func TestRaceRefreshTokenAgainstItsSuccessor(t *testing.T) {
	t.Parallel()
	s := shared(t)
	race(t, 4, func(t *testing.T, n int, sum *tally) {
		first := deviceOf(t, s, "forked@example.com")
		second := refresh(t, s, first.refresh).granted(t, "refresh")
		all := make([]answer, n)
		atOnce(n, func(i int) {
			if i%2 == 0 {
				all[i] = refresh(t, s, first.refresh)
			} else {
				all[i] = refresh(t, s, second.refresh)
			}
		})
		got, _ := outcomes(t, all, sum)
		var third []tokens
		for _, pair := range got {
			if pair != second && !slices.Contains(third, pair) {
				third = append(third, pair)
			}
		}
		if len(third) > 1 {
			t.Errorf("a refresh token and its successor at once led to %d pairs, want one", len(third))
		}
		if sum.survive(t, s, third) > 0 {
			// Nobody was late, so the one before is now: it ends the sign-in.
			refresh(t, s, first.refresh).refused(t, "the first token once the successor was used", 400, "invalid_grant")
		}
		for _, pair := range append(third, second) {
			ended(t, s, "after the fork", pair)
		}
	})
}

// The newest refresh token and the first one at once: whatever the order, the
// family ends, since the first one is far too old.
func TestRaceReuseAgainstTheRefresh(t *testing.T) {
	t.Parallel()
	s := shared(t)
	race(t, 4, func(t *testing.T, n int, sum *tally) {
		first := deviceOf(t, s, "stolen@example.com")
		second := refresh(t, s, first.refresh).granted(t, "refresh")
		third := refresh(t, s, second.refresh).granted(t, "refresh")
		all := make([]answer, n)
		atOnce(n, func(i int) {
			if i == 0 {
				all[i] = refresh(t, s, first.refresh)
			} else {
				all[i] = refresh(t, s, third.refresh)
			}
		})
		got, _ := outcomes(t, all, sum)
		all[0].refused(t, "the first token", 400, "invalid_grant")
		if sum.survive(t, s, append(got, third)) > 0 {
			t.Error("after the reuse the sign-in is good, want it ended")
		}
	})
}

// The operator ends sign-ins while they are refreshed. A refresh that came first
// has its tokens, but once the operator is answered they are worth nothing.
func TestRaceRefreshAgainstTheOperator(t *testing.T) {
	t.Parallel()
	s := shared(t)
	base := func(account string) string { return "/api/accounts/" + url.PathEscape(account) }
	for _, way := range []struct {
		ends string
		path func(account string, one session) string
	}{
		{"session", func(account string, one session) string { return base(account) + "/sessions/" + one.ID }},
		{"client", func(account string, one session) string { return base(account) + "/clients/" + one.Client }},
		{"account", func(account string, _ session) string { return base(account) + "/sessions" }},
	} {
		t.Run(way.ends, func(t *testing.T) {
			race(t, 3, func(t *testing.T, n int, sum *tally) {
				account := newClientID() + "@example.com"
				held := []tokens{deviceOf(t, s, account)}
				path := way.path(account, sessionsOf(t, s, account)[0])
				other := deviceOf(t, s, account)
				for range n - 1 { // of an account each has a sign-in of its own, else they share one
					if way.ends == "account" {
						held = append(held, deviceOf(t, s, account))
					} else {
						held = append(held, held[0])
					}
				}
				all := make([][]answer, n)
				atOnce(n+1, func(i int) {
					if i == n {
						if status, reply := s.Operate(t, http.MethodDelete, path, nil); status > 299 {
							t.Errorf("DELETE %s answered %d %s amid refreshes", path, status, reply)
						}
						return
					}
					for next := held[i]; len(all[i]) < 1000; { // until it is told that it may not
						a := refresh(t, s, next.refresh)
						if all[i] = append(all[i], a); a.status != 200 {
							return
						}
						if way.ends == "account" {
							next = a.granted(t, "refresh")
						}
					}
					t.Errorf("after 1000 refreshes the %s is not ended", way.ends)
				})
				got, _ := outcomes(t, slices.Concat(all...), sum)
				if good := sum.survive(t, s, append(got, held...)); good > 0 {
					t.Errorf("%d pairs of tokens are good after the operator had ended the %s", good, way.ends)
				}
				if way.ends == "account" {
					ended(t, s, "another device of the account", other)
				} else {
					goesOn(t, s, "another device of the account", other)
				}
			})
		})
	}
}

// Codes and subject tokens of an account at the moment when it is signed out
// everywhere: whoever came first is signed out too.
func TestRaceSignInAgainstSigningOut(t *testing.T) {
	t.Parallel()
	const codes = 4 // of each round; a hash takes its time
	s := coretest.Start(t, quick)
	race(t, 3, func(t *testing.T, n int, sum *tally) {
		forms := make([]url.Values, n)
		for i := range forms {
			if i < codes {
				r := deviceSignIn(coretest.Alice)
				forms[i] = r.redemption(r.aliceCode(t, s))
			} else {
				forms[i] = exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID())
			}
		}
		all := make([]answer, n)
		atOnce(n+1, func(i int) {
			if i < n {
				all[i] = token(t, s, forms[i])
				return
			}
			if status, reply := s.Operate(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Alice)+"/sessions", nil); status != 200 {
				t.Errorf("signing out amid sign-ins answered %d: %s", status, reply)
			}
		})
		got, _ := outcomes(t, all, sum)
		if good := sum.survive(t, s, got); good > 0 {
			t.Errorf("%d sign-ins are good after the account was signed out", good)
		}
		for i, form := range forms { // neither does one that lost come to anything later
			if a := token(t, s, form); a.status != 400 {
				t.Errorf("request %d, sent again after the account was signed out, answered %d %s", i, a.status, a.body)
			}
		}
	})
}

// An exchange whose answer was lost may be sent again: each has a sign-in of its
// own.
func TestRaceManyExchangesByOneClient(t *testing.T) {
	t.Parallel()
	s := shared(t)
	race(t, 3, func(t *testing.T, n int, sum *tally) {
		form := exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID())
		all := make([]answer, n)
		atOnce(n, func(i int) { all[i] = token(t, s, form) })
		got, errors := outcomes(t, all, sum)
		if good := sum.survive(t, s, got); len(got) != n || good != n {
			t.Errorf("%d exchanges by one client at once: %d got tokens and %d of these are good, the errors were %v, want good tokens for all", n, len(got), good, errors)
		}
	})
}

func TestRaceOneOfManyClientsBindsASubjectToken(t *testing.T) {
	t.Parallel()
	s := shared(t)
	race(t, 4, func(t *testing.T, n int, sum *tally) {
		subject := s.SubjectToken(t, coretest.Alice)
		all := make([]answer, n)
		atOnce(n, func(i int) { all[i] = token(t, s, exchangeForm(subject, newClientID())) })
		got, errors := outcomes(t, all, sum)
		if len(got) != 1 || errors["invalid_request"] != n-1 {
			t.Fatalf("%d clients exchanged one token at once: %d got tokens, the errors were %v, want one and invalid_request for the rest", n, len(got), errors)
		}
		if sum.survive(t, s, got) != 1 {
			t.Error("the sign-in of the client that was first is ended, want it good")
		}
	})
}
