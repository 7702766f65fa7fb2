package coretest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
)

// session is a sign-in as the admin API shows it.
type session struct {
	ID, Client string
	Device     bool
}

func sessionsOf(t *testing.T, s *coretest.Server, account string) []session {
	t.Helper()
	var list struct{ Sessions []session }
	if err := json.Unmarshal(s.Must(t, http.MethodGet, "/api/accounts/"+url.PathEscape(account)+"/sessions", nil), &list); err != nil {
		t.Fatal(err)
	}
	return list.Sessions
}

// ended checks that tokens are worth nothing from now on.
func ended(t *testing.T, s *coretest.Server, what string, k tokens) {
	t.Helper()
	if status := opens(t, s, k.access); status != 403 {
		t.Errorf("%s: the access token answered %d, want 403 at the next request", what, status)
	}
	refresh(t, s, k.refresh).refused(t, what+": the refresh token", 400, "invalid_grant")
}

// goesOn checks that tokens are good, and returns those that follow.
func goesOn(t *testing.T, s *coretest.Server, what string, k tokens) tokens {
	t.Helper()
	if status := opens(t, s, k.access); status != 200 {
		t.Errorf("%s: the access token answered %d, want 200", what, status)
	}
	return refresh(t, s, k.refresh).granted(t, what)
}

func TestOneSignInIsEnded(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	first, second, other := deviceOf(t, s, coretest.Alice), deviceOf(t, s, coretest.Alice), deviceOf(t, s, coretest.Bob)
	list := sessionsOf(t, s, coretest.Alice)
	if len(list) != 2 || !list[0].Device || list[0].Client == list[1].Client || len(list[0].Client) != 32 {
		t.Fatalf("the sign-ins of alice are %v, want two of two devices", list)
	}
	base := "/api/accounts/" + url.PathEscape(coretest.Alice)
	s.Must(t, http.MethodDelete, base+"/sessions/"+list[0].ID, nil)
	if status, _ := s.Operate(t, http.MethodDelete, base+"/sessions/"+list[0].ID, nil); status != 404 {
		t.Errorf("ending it again answered %d, want 404", status)
	}
	if status, _ := s.Operate(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Bob)+"/sessions/"+list[1].ID, nil); status != 404 {
		t.Errorf("ending it as another account's answered %d, want 404", status)
	}
	gone, left := first, second
	if opens(t, s, first.access) == 200 { // which of the two was listed first is chance
		gone, left = second, first
	}
	ended(t, s, "the ended one", gone)
	goesOn(t, s, "the other device", left)
	goesOn(t, s, "another account", other)
	if left := sessionsOf(t, s, coretest.Alice); len(left) != 1 || left[0].ID != list[1].ID {
		t.Errorf("the sign-ins of alice are now %v, want the other one", left)
	}
	s.Must(t, http.MethodDelete, base+"/clients/"+list[1].Client, nil)
	ended(t, s, "the other device, by its client", left)
	s.Restart(t)
	ended(t, s, "after a restart", gone)
}

// An account that is signed out everywhere has no codes, no subject tokens and no
// sign-ins from before; it can sign in again.
func TestAnAccountIsSignedOutEverywhere(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	device, native, other := deviceOf(t, s, coretest.Alice), nativeSignIn().tokens(t, s), deviceOf(t, s, coretest.Bob)
	sign := deviceSignIn(coretest.Alice)
	code, subject := sign.aliceCode(t, s), s.SubjectToken(t, coretest.Alice)
	var answer struct{ Ended []session }
	if err := json.Unmarshal(s.Must(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(coretest.Alice)+"/sessions", nil), &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Ended) != 2 {
		t.Errorf("ended %v, want the device and the app", answer.Ended)
	}
	ended(t, s, "the device", device)
	ended(t, s, "the app", native)
	token(t, s, sign.redemption(code)).refused(t, "a code from before", 400, "invalid_grant")
	token(t, s, exchangeForm(subject, newClientID())).refused(t, "a subject token from before", 400, "invalid_request")
	goesOn(t, s, "another account", other)
	goesOn(t, s, "the account, signed in again", deviceSignIn(coretest.Alice).tokens(t, s))
	goesOn(t, s, "the account, by a new link", deviceOf(t, s, coretest.Alice))
}

func TestAChangedPasswordSignsOut(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	before := deviceOf(t, s, coretest.Alice)
	person := "/api/people/" + url.PathEscape(coretest.Alice)
	s.Must(t, http.MethodPut, person, map[string]string{"name": "Alice"})
	before = goesOn(t, s, "after another name", before)
	s.Must(t, http.MethodPut, person, map[string]string{"password": "through the looking-glass"})
	ended(t, s, "after another password", before)
	before = deviceOf(t, s, coretest.Alice)
	s.Must(t, http.MethodPut, person, map[string]bool{"disabled": true})
	ended(t, s, "after disabling", before)
	before = deviceOf(t, s, coretest.Alice)
	s.Must(t, http.MethodDelete, person, nil)
	ended(t, s, "after removing", before)
}

// A sign-out everywhere that a crash has cut off is brought to its end by the next start,
// before any of its devices comes back.
func TestAStartFinishesASignOutThatWasCutOff(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	first, second, other := deviceOf(t, s, coretest.Alice), deviceOf(t, s, coretest.Alice), deviceOf(t, s, coretest.Bob)
	// All that it has come to.
	if _, err := s.Store.UpdateAccount(t.Context(), coretest.Alice, func(a *store.Account) (bool, error) { a.Epoch++; return true, nil }); err != nil {
		t.Fatal(err)
	}
	e := added(t, s, "a start", func() {
		s.Restart(t)
		for end := time.Now().Add(30 * time.Second); len(s.Store.SignOuts()) > 0; runtime.Gosched() {
			if time.Now().After(end) {
				t.Fatal("the sign-out did not come to its end")
			}
		}
	}, audit.Started, audit.FamilyRevoked, audit.FamilyRevoked)
	for _, one := range e[1:] {
		if one.Actor != audit.System || one.Account != coretest.Alice || one.Detail["why"] != "the account was signed out" {
			t.Errorf("an end is written down as %+v", one)
		}
	}
	ended(t, s, "the first device", first)
	ended(t, s, "the second device", second)
	goesOn(t, s, "another account", other)
	added(t, s, "the next start", func() { s.Restart(t) }, audit.Started)
}
