package coretest_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
)

// Whatever is used once and was issued before a recovery is refused: it may have been
// used in the time that the backup does not have. What comes after it is good.
func TestARecoveryRefusesWhatMayHaveBeenUsed(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		stranger := writer(t)
		stranger.Name, stranger.Hooks = "stranger", []string{"exchange"} // it knows the token "mine"
		c.Plugin = append(c.Plugin, stranger)
	})
	device := deviceOf(t, s, coretest.Alice)
	sign := deviceSignIn("")
	code, spent := sign.aliceCode(t, s), sign.aliceCode(t, s)
	token(t, s, sign.redemption(spent)).granted(t, "a code before the recovery")
	subject, bound := s.SubjectToken(t, coretest.Alice), s.SubjectToken(t, coretest.Alice)
	owner, stranger := newClientID(), newClientID()
	token(t, s, exchangeForm(bound, owner)).granted(t, "a subject token before the recovery")
	token(t, s, exchangeForm("mine", owner)).granted(t, "another's token before the recovery")
	v := newVisitor(t, s)
	link := v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)["token"]

	// The server is stopped meanwhile in earnest; here it finds the record at its start.
	if _, err := s.Store.BurnSubjectTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.SetRecovery(t.Context(), store.Recovery{At: s.Clock.Now()}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.Restart(t)
		token(t, s, sign.redemption(code)).refused(t, "a code from before", 400, "invalid_grant")
		token(t, s, sign.redemption(spent)).refused(t, "a spent code from before", 400, "invalid_grant")
		token(t, s, exchangeForm(subject, newClientID())).refused(t, "a subject token from before", 400, "invalid_request")
		token(t, s, exchangeForm(bound, stranger)).refused(t, "a bound one, by another client", 400, "invalid_request")
		token(t, s, exchangeForm(bound, owner)).granted(t, "a bound one, by its own client")
		token(t, s, exchangeForm(link, newClientID())).refused(t, "an install link from before", 400, "invalid_request")
		// Another's token: who had bound it is known here; who had bound the next is not.
		token(t, s, exchangeForm("mine", owner)).granted(t, "another's token, by the client that the backup knows")
		token(t, s, exchangeForm("mine", stranger)).refused(t, "another's token, by another client", 400, "invalid_request")
		later(t, s, exchangeForm("bad", stranger))
	}
	device = goesOn(t, s, "a device", device)
	token(t, s, sign.redemption(sign.aliceCode(t, s))).granted(t, "a code of after the recovery")
	token(t, s, exchangeForm(s.SubjectToken(t, coretest.Alice), newClientID())).granted(t, "a subject token of after it")
	again := newVisitor(t, s).signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)["token"]
	token(t, s, exchangeForm(again, newClientID())).granted(t, "a link of after it")

	s.Clock.Advance(oauth.SubjectTokenLife + time.Second)
	token(t, s, exchangeForm("mine", stranger)).granted(t, "another's token, when nobody can have bound it any more")

	// All access tokens of before can be ended with it.
	if err := s.Store.SetRecovery(t.Context(), store.Recovery{At: s.Clock.Now(), Ended: s.Clock.Now()}); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(time.Second)
	s.Restart(t)
	if status := opens(t, s, device.access); status != 403 {
		t.Errorf("an access token from before, with all of them ended, answered %d, want 403", status)
	}
	device = refresh(t, s, device.refresh).granted(t, "the refresh of its device")
	goesOn(t, s, "the device, after a refresh", device)
}

// later checks that an exchange is put off, and says until when.
func later(t *testing.T, s *coretest.Server, form url.Values) {
	t.Helper()
	res, err := agent.PostForm(s.PublicURL()+"/oauth/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "tokens of others are exchanged from 20") {
		t.Errorf("a token of others that is new was answered %d %s, want 503 and when", res.StatusCode, text)
	}
}

// A server does not start where a recovery was cut off: it would begin with an empty
// store.
func TestNoServerStartsInARecoveryThatWasCutOff(t *testing.T) {
	t.Parallel()
	c := coretest.Config(t.TempDir())
	c.Store.Dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(c.Store.Dir, "recovering"), 0o700); err != nil {
		t.Fatal(err)
	}
	h, err := core.Open(t.Context(), c)
	if err == nil {
		h.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "a recovery into") || !strings.Contains(err.Error(), "store.dir") {
		t.Errorf("Open = %v, want store.dir and what to do", err)
	}
}

// What the API refuses it refuses before the first byte of a file.
func TestTheBackupAPIRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, refused := range []struct {
		body   map[string]any
		status int
		says   string
	}{
		{map[string]any{"since": map[string]string{"id": "00112233445566778899aabbccddeeff", "sha256": strings.Repeat("0", 64)}, "since_begun": "2030-01-02T03:04:05Z"}, 409, "make a full one"},
		{map[string]any{"since": map[string]string{"id": "00", "sha256": ""}, "since_begun": "2030-01-02T03:04:05Z"}, 400, "hexadecimal"},
		{map[string]any{"since": map[string]string{"id": "00112233445566778899aabbccddeeff", "sha256": strings.Repeat("0", 64)}}, 400, "since_begun"},
		{map[string]any{"before": 1}, 400, "there is no such key"},
	} {
		if status, body := s.Operate(t, http.MethodPost, "/api/backup", refused.body); status != refused.status || !strings.Contains(string(body), refused.says) {
			t.Errorf("%v answered %d %s, want %d with %q", refused.body, status, body, refused.status, refused.says)
		}
	}
}
