package coretest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/coretest/chromium"
	"github.com/souk-market/souk/core/oauth"
)

// seen is what a browser did while a test was not looking.
type seen struct {
	mu         sync.Mutex
	redirects  []string
	complaints []string
	back       chan struct{} // closed at the first redirect to a device
}

func watch(t *testing.T, ctx context.Context) *seen {
	t.Helper()
	s := &seen{back: make(chan struct{})}
	err := chromedp.Listen(ctx, func(event any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch e := event.(type) {
		case *network.EventResponseReceivedExtraInfo:
			for name, value := range e.Headers {
				to, ok := value.(string)
				if !ok || !strings.EqualFold(name, "Location") {
					continue
				}
				if s.redirects = append(s.redirects, to); strings.HasPrefix(to, "app-distribution-oauth:") {
					close(s.back)
				}
			}
		case *log.EventEntryAdded:
			s.complaints = append(s.complaints, e.Entry.Text)
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatalf("listen to chromium: %v", err)
	}
	return s
}

func (s *seen) violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, c := range s.complaints {
		if strings.Contains(c, "Content Security Policy") || strings.Contains(c, "Refused") {
			found = append(found, c)
		}
	}
	return found
}

var press = chromedp.Click(chromedp.CSS(`button[value=continue]`))

func typePassword(text string) chromedp.Action[chromedp.Void] {
	return chromedp.SendKeys(chromedp.CSS(`input[type=password]`), text)
}

// TestSignInPageInABrowser signs a person in with a real browser: the page is
// readable, the password field has the focus, a wrong password is told, and no
// rule of the page's own policy stands in the way back to the client. Browsers
// hold form-action also against the redirect behind a form (CSP Level 3 §6.4.1.2).
func TestSignInPageInABrowser(t *testing.T) {
	ctx := chromium.Start(t)
	came := make(chan url.Values, 1)
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			came <- r.URL.Query()
		}
	}))
	defer client.Close()
	s := coretest.Start(t, func(c *core.Config) {
		c.OAuth.Clients = append(c.OAuth.Clients, oauth.ClientConfig{
			ID: "com.example.desktop", Name: "Desktop <App>", RedirectURIs: []string{"http://127.0.0.1/callback"},
		})
	})
	what := watch(t, ctx)
	page := s.PublicURL() + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {"com.example.desktop"}, "redirect_uri": {client.URL + "/callback"}, "state": {"a b&c=d"},
		"login_hint": {coretest.Alice}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}.Encode()
	if err := chromedp.Do(ctx, chromedp.Navigate(page)); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("main")))
	if err != nil {
		t.Fatal(err)
	}
	focus, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.activeElement.name"))
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, typePassword("wrong"), press, chromedp.WaitVisible(`//*[contains(text(), "not right")]`)); err != nil {
		t.Fatalf("the page with a wrong password: %v", err)
	}
	if !strings.Contains(text, "Desktop <App>") {
		t.Errorf("the page says %q, want the client's name in it", text)
	}
	if focus != oauth.FieldPrefix+"password" {
		t.Errorf("the focus is on %q, want the password: the account is there already", focus)
	}
	if err := chromedp.Do(ctx, typePassword(coretest.AlicePassword), press); err != nil {
		t.Fatalf("the page with the right password: %v", err)
	}
	select {
	case q := <-came:
		if q.Get("code") == "" || q.Get("state") != "a b&c=d" || q.Get("iss") != s.PublicURL() {
			t.Errorf("the client got %v, want a code, its state and the issuer", q)
		}
	case <-ctx.Done():
		t.Errorf("the browser did not come back to the client; it says %v", what.violations())
	}
	if v := what.violations(); len(v) > 0 {
		t.Errorf("the browser complains: %v", v)
	}
}

// TestInstallPageInABrowser walks from an app's page through the sign-in and back to
// the button, on a phone's screen and without script. SOUK_SCREENSHOTS names a
// directory for pictures of what a person sees.
func TestInstallPageInABrowser(t *testing.T) {
	ctx := chromium.Start(t)
	s := coretest.Start(t, func(c *core.Config) { c.Market.Name = "Demo Market" })
	what := watch(t, ctx)
	shot := func(name string) {
		t.Helper()
		dir := os.Getenv("SOUK_SCREENSHOTS")
		if dir == "" {
			return
		}
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
		}
		if err != nil {
			t.Errorf("picture of %s: %v", name, err)
		}
	}
	button := func() string {
		t.Helper()
		href, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelectorAll("a.button").length == 1 ? document.querySelector("a.button").href : "not one button"`))
		if err != nil {
			t.Fatal(err)
		}
		return href
	}
	open := func(item string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Navigate(s.PublicURL()+"/install/"+item), chromedp.WaitVisible(chromedp.CSS("a.button"))); err != nil {
			t.Fatalf("open the page: %v", err)
		}
	}
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	open(coretest.SkyItem)
	shot("install-open")
	if got := button(); !strings.HasPrefix(got, "marketplace-kit://install?alternativeDistributionPackage=http%3A%2F%2F127.0.0.1") {
		t.Errorf("the button of an open app leads to %s", got)
	}
	open(coretest.NotesItem)
	shot("install-sign-in")
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("a.button")), chromedp.WaitVisible(chromedp.CSS("input[type=password]"))); err != nil {
		t.Fatalf("press the button: %v", err)
	}
	shot("sign-in")
	if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("input[type=email]"), coretest.Alice), typePassword(coretest.AlicePassword), press,
		chromedp.WaitVisible(chromedp.CSS("a.button"))); err != nil {
		t.Fatalf("sign in: %v; the browser says %v", err, what.violations())
	}
	shot("install-signed-in")
	if got := button(); !strings.HasPrefix(got, "marketplace-kit://install?") || !strings.Contains(got, "&token=") || !strings.Contains(got, "&account=alice%40example.com") {
		t.Errorf("after the sign-in the button leads to %s", got)
	}
	at, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href"))
	if err != nil || at != s.PublicURL()+"/install/"+coretest.NotesItem {
		t.Errorf("after the sign-in the browser is at %s, want the page without a code in its address: %v", at, err)
	}
	// Nothing hangs over the edge of a small phone.
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > window.innerWidth"))
	if err != nil || wide {
		t.Errorf("the page is wider than the screen: %v", err)
	}
	if v := what.violations(); len(v) > 0 {
		t.Errorf("the browser complains: %v", v)
	}
}

// TestSignInPageLeadsBackToADevice is the same for a device, whose redirect is a
// scheme that only it knows.
func TestSignInPageLeadsBackToADevice(t *testing.T) {
	ctx := chromium.Start(t)
	s := coretest.Start(t, nil)
	what := watch(t, ctx)
	page := s.PublicURL() + "/oauth/authorize?login_hint=a+b@example.com&client_id=D4C1C937-D9B4-4BB6-BCD3-5E0850143EF5" +
		"&code_challenge_method=S256&response_type=code&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" +
		"&state=EE01F1C6-5123-402E-909D-71E596780759&redirect_uri=app-distribution-oauth://"
	if err := chromedp.Do(ctx, chromedp.Navigate(page), typePassword(coretest.AlicePassword)); err != nil {
		t.Fatalf("the page: %v", err)
	}
	// No program takes the scheme here, so the click ends in an error page.
	if err := chromedp.Do(ctx, press); err != nil && ctx.Err() != nil {
		t.Fatalf("press continue: %v", err)
	}
	select {
	case <-what.back:
	case <-ctx.Done():
		t.Errorf("the browser was not sent back to the device; it was sent to %v", what.redirects)
	}
	if v := what.violations(); len(v) > 0 {
		t.Errorf("the browser complains: %v", v)
	}
}
