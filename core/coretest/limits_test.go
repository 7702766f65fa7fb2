package coretest_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// refusedGuess checks the answer to one attempt too many.
func refusedGuess(t *testing.T, what string, a answer) {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if p := a.page(t, what); a.status != 429 || err != nil || seconds < 1 || p.text == "" || a.header.Get("Location") != "" {
		t.Errorf("%s answered %d with Retry-After %q: want a page of 429 that says when to come back", what, a.status, a.header.Get("Retry-After"))
	}
}

func TestGuessingAtOneAccount(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	p := open(t, s, deviceSignIn("").query())
	for i := range 10 {
		account := coretest.Alice
		if i%2 == 1 {
			account = "  ALICE@Example.com " // another spelling of the same
		}
		if a := p.submit(t, account, "guess"); a.status != 200 {
			t.Errorf("attempt %d answered %d, want the page again", i+1, a.status)
		}
	}
	// The right password does not help: nobody is asked about it.
	refusedGuess(t, "attempt 11 with the right password", p.submit(t, coretest.Alice, coretest.AlicePassword))
	refusedGuess(t, "another page for the same account", open(t, s, deviceSignIn("").query()).submit(t, coretest.Alice, coretest.AlicePassword))
	if a := p.submit(t, coretest.Bob, coretest.BobPassword); a.status != 303 {
		t.Errorf("another account answered %d, want 303", a.status)
	}
	s.Clock.Advance(15 * time.Minute)
	if a := open(t, s, deviceSignIn("").query()).submit(t, coretest.Alice, coretest.AlicePassword); a.status != 303 {
		t.Errorf("after the window the right password answered %d, want 303", a.status)
	}
}

// What was counted before a restart counts after it.
func TestARestartForgivesNoGuess(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) { quick(c); c.OAuth.AttemptsAccount = 3 })
	guess := func(password string) answer {
		t.Helper()
		return open(t, s, deviceSignIn("").query()).submit(t, coretest.Alice, password)
	}
	for i := range 3 {
		if a := guess("guess"); a.status != 200 {
			t.Errorf("attempt %d answered %d, want the page again", i+1, a.status)
		}
		s.Restart(t)
	}
	refusedGuess(t, "attempt 4, with the right password", guess(coretest.AlicePassword))
	if a := open(t, s, deviceSignIn("").query()).submit(t, coretest.Bob, coretest.BobPassword); a.status != 303 {
		t.Errorf("another account answered %d, want 303", a.status)
	}
	s.Clock.Advance(6 * time.Minute) // a third of the window, and a bit
	if a := guess(coretest.AlicePassword); a.status != 303 {
		t.Errorf("after a third of the window the right password answered %d, want 303", a.status)
	}
	s.Restart(t)
	for i := range 3 {
		if a := guess("guess"); a.status != 200 {
			t.Errorf("attempt %d after a sign-in answered %d, want the page again", i+1, a.status)
		}
	}
}

// An account that does not exist is treated no better: the limit tells nothing.
func TestGuessingAtAnAccountThatIsNone(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) { quick(c); c.OAuth.AttemptsAccount = 3 })
	p := open(t, s, deviceSignIn("").query())
	for range 3 {
		if a := p.submit(t, "nobody@example.com", "guess"); a.status != 200 {
			t.Errorf("an attempt answered %d, want the page again", a.status)
		}
	}
	refusedGuess(t, "attempt 4", p.submit(t, "nobody@example.com", "guess"))
}

// A successful sign-in is no guess.
func TestSigningInOftenIsNoGuessing(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) { quick(c); c.OAuth.AttemptsAccount, c.OAuth.AttemptsAddress = 2, 3 })
	p := open(t, s, deviceSignIn("").query())
	for i := range 6 {
		if a := p.submit(t, coretest.Alice, coretest.AlicePassword); a.status != 303 {
			t.Errorf("sign-in %d answered %d, want 303", i+1, a.status)
		}
	}
}

func TestGuessingFromOneAddress(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.OAuth.AttemptsAddress = 6
		c.Server.Proxies = []string{"127.0.0.1/32"}
	})
	p := open(t, s, deviceSignIn("").query())
	from := func(address string) []string { return []string{"X-Forwarded-For", address} }
	for i := range 6 {
		// One person has a whole /64.
		if a := p.submit(t, "person-"+strconv.Itoa(i)+"@example.com", "guess", from("2001:db8::"+strconv.Itoa(i+1))...); a.status != 200 {
			t.Errorf("attempt %d at another account answered %d, want the page again", i+1, a.status)
		}
	}
	refusedGuess(t, "attempt 7 from one address", p.submit(t, coretest.Alice, coretest.AlicePassword, from("2001:db8::ffff")...))
	// What stands in front of the proxy's own entry is the client's invention.
	refusedGuess(t, "an invented address", p.submit(t, coretest.Alice, coretest.AlicePassword, from("192.0.2.1, 2001:db8::abc")...))
	if a := p.submit(t, coretest.Alice, coretest.AlicePassword, from("192.0.2.1")...); a.status != 303 {
		t.Errorf("another address answered %d, want 303", a.status)
	}
	s.Clock.Advance(15 * time.Minute)
	if a := open(t, s, deviceSignIn("").query()).submit(t, coretest.Alice, coretest.AlicePassword, from("2001:db8::1")...); a.status != 303 {
		t.Errorf("after the window the address answered %d, want 303", a.status)
	}
}

// Without a trusted proxy nobody believes where a request says that it is from.
func TestForwardedAddressesAreNotBelieved(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) { quick(c); c.OAuth.AttemptsAddress = 2 })
	p := open(t, s, deviceSignIn("").query())
	for i := range 2 {
		p.submit(t, "person-"+strconv.Itoa(i)+"@example.com", "guess", "X-Forwarded-For", "192.0.2."+strconv.Itoa(i))
	}
	refusedGuess(t, "a third address", p.submit(t, "person@example.com", "guess", "X-Forwarded-For", "192.0.2.77"))
}

// Many attempts at the same moment must not all see the room for one.
func TestGuessingAtOnce(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) { quick(c); c.OAuth.AttemptsAccount = 3 })
	p := open(t, s, deviceSignIn("").query())
	all := make([]answer, 50)
	atOnce(len(all), func(i int) { all[i] = p.submit(t, coretest.Alice, "guess") })
	asked := 0
	for _, a := range all {
		if a.status == 200 {
			asked++
		}
	}
	if asked != 3 {
		t.Errorf("%d of %d attempts at once were let through, want 3", asked, len(all))
	}
}

// Nothing that opens a door stands in the log, even at its most talkative.
func TestLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	r := deviceSignIn(coretest.Alice)
	p := open(t, s, r.query())
	p.submit(t, coretest.Alice, "a wrong secret word")
	code := p.submit(t, coretest.Alice, coretest.AlicePassword).led(t, r.redirect).Get("code")
	wrong := r.redemption(code)
	wrong.Set("redirect_uri", coretest.NativeRedirect)
	token(t, s, wrong).refused(t, "another redirect", 400, "invalid_grant")
	first := token(t, s, r.redemption(code)).granted(t, "code")
	second := refresh(t, s, first.refresh).granted(t, "refresh")
	subject := s.SubjectToken(t, coretest.Alice)
	exchanged := token(t, s, exchangeForm(subject, newClientID())).granted(t, "exchange")
	token(t, s, exchangeForm(subject, newClientID())).refused(t, "exchange by another", 400, "invalid_request")
	opens(t, s, second.access)
	opens(t, s, second.access+"x")
	third := refresh(t, s, second.refresh).granted(t, "refresh")
	refresh(t, s, first.refresh).refused(t, "reuse", 400, "invalid_grant")
	token(t, s, r.redemption(code)).refused(t, "the code again", 400, "invalid_grant")
	token(t, s, refreshForm("zzzz-no-token-of-ours")).refused(t, "nonsense", 400, "invalid_grant")
	get(t, authorizeURL(s, url.Values{"client_id": {r.client}, "redirect_uri": {r.redirect}, "response_type": {"code"}, "code_challenge": {"zzzz-no-challenge"}}))
	log := s.Log.String()
	if !strings.Contains(log, "signed in") || !strings.Contains(log, "DEBUG") {
		t.Errorf("the log is not the one of a sign-in at debug level:\n%s", log)
	}
	for name, secret := range map[string]string{
		"password": coretest.AlicePassword, "wrong password": "a wrong secret word", "code": code, "verifier": r.pkce.verifier,
		"transaction": p.fields["transaction"], "access token": first.access, "second access token": second.access, "third access token": third.access,
		"refresh token": first.refresh, "second refresh token": second.refresh, "third refresh token": third.refresh,
		"subject token": subject, "exchanged access token": exchanged.access, "exchanged refresh token": exchanged.refresh,
		"operator's token": s.AdminToken, "token that is none": "zzzz-no-token-of-ours",
	} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has the %s:\n%s", name, log)
		}
	}
}

// A restart loses nothing that was acknowledged, and forgives nothing.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, nil)
	s.Grant(t, coretest.Alice, coretest.PlusGrant)
	r, unspent := deviceSignIn(coretest.Alice), deviceSignIn(coretest.Alice)
	code, later := r.aliceCode(t, s), unspent.aliceCode(t, s)
	held := token(t, s, r.redemption(code)).granted(t, "code")
	lost := refresh(t, s, held.refresh).granted(t, "refresh whose answer is lost")
	revoked := deviceOf(t, s, coretest.Alice)
	next := refresh(t, s, revoked.refresh).granted(t, "refresh")
	refresh(t, s, next.refresh).granted(t, "refresh")
	refresh(t, s, revoked.refresh).refused(t, "reuse", 400, "invalid_grant")
	subject, client := s.SubjectToken(t, coretest.Alice), newClientID()
	token(t, s, exchangeForm(subject, client)).granted(t, "exchange")
	ask(t, s, "/install-token", lost.access, appsBody("iOS", deviceOS, notesNew)).apps(t, "installs").gives(t, "install token", []app{notesNew})
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.SkyItem+"/takedown", map[string]string{"reason": "court order"})
	operator, key := s.AdminToken, string(s.InstallKey)

	s.Restart(t)

	if s.AdminToken != operator || string(s.InstallKey) != key {
		t.Error("the restart changed the operator's token or the key of install verification tokens")
	}
	restore(t, s, lost.access, deviceOS, notesOld, plusApp, skyApp).gives(t, "restore with a token and a grant of before", []app{notesOld, plusApp}, skyApp)
	if again := refresh(t, s, held.refresh).granted(t, "the repeated refresh"); again != lost {
		t.Error("after the restart a repeated refresh gave other tokens")
	}
	if status := opens(t, s, next.access); status != 403 {
		t.Errorf("a token that was revoked before the restart answered %d, want 403", status)
	}
	token(t, s, exchangeForm(subject, newClientID())).refused(t, "a subject token that was bound before", 400, "invalid_request")
	token(t, s, exchangeForm(subject, client)).granted(t, "the same by its client")
	token(t, s, unspent.redemption(later)).granted(t, "a code of before")
	token(t, s, r.redemption(code)).refused(t, "a code that was spent before", 400, "invalid_grant")
	if status := opens(t, s, lost.access); status != 403 {
		t.Errorf("after the spent code came again its token answered %d, want 403", status)
	}
	g := ask(t, s, "/install-token", deviceOf(t, s, coretest.Alice).access, appsBody("iOS", deviceOS, notesNew)).apps(t, "installs")
	if len(g.Installs) != 1 || verify(t, s, g.Installs[0].Token).claims["dtype"] != "redownload" {
		t.Errorf("after the restart the app %+v is not known to have been downloaded", g.Installs)
	}
}
