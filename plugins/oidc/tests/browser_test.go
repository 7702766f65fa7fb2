//go:build !wasip1

package oidc_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest/chromium"
	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/plugin"
)

// TestRealProviderInABrowser presses the button in a real browser: our page's own
// policy lets it lead to the provider and back (CSP Level 3 §6.4.1.2). SOUK_SCREENSHOTS
// names a directory for a picture of the page.
func TestRealProviderInABrowser(t *testing.T) {
	ctx := chromium.Start(t)
	came := make(chan url.Values, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			came <- r.URL.Query()
		}
	}))
	defer app.Close()
	// The provider has to know where the market is before there is one.
	var market atomic.Pointer[url.URL]
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(market.Load()) }})
	defer front.Close()
	p := startProvider(t, front.URL+"/oauth/callback/oidc")
	s := serve(t, p.issuer, func(s *plugin.Spec) {
		s.Config["client_id"], s.Config["redirect_uri"] = clientID, front.URL+"/oauth/callback/oidc"
	}, func(c *core.Config) {
		c.OAuth.Clients = append(c.OAuth.Clients, oauth.ClientConfig{ID: "com.example.desktop", Name: "Desktop", RedirectURIs: []string{"http://127.0.0.1/callback"}})
	})
	at, err := url.Parse(s.PublicURL())
	if err != nil {
		t.Fatal(err)
	}
	market.Store(at)

	var mu sync.Mutex
	var complaints []string
	err = chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok && strings.Contains(e.Entry.Text, "Content Security Policy") {
			mu.Lock()
			defer mu.Unlock()
			complaints = append(complaints, e.Entry.Text)
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatalf("listen to chromium: %v", err)
	}
	page := front.URL + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {"com.example.desktop"}, "redirect_uri": {app.URL + "/callback"}, "state": {"s"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}.Encode()
	if err := chromedp.Do(ctx, chromedp.Navigate(page), chromedp.WaitVisible(chromedp.CSS("button[value=continue]"))); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	if dir := os.Getenv("SOUK_SCREENSHOTS"); dir != "" {
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "oidc.png"), png, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := chromedp.Do(ctx,
		chromedp.Click(chromedp.CSS("button[value=continue]")),
		chromedp.SendKeys(chromedp.CSS("input[name=login]"), "carol"), chromedp.SendKeys(chromedp.CSS("input[name=password]"), "any"),
		chromedp.Click(chromedp.CSS("button[type=submit]")),
		chromedp.Click(`//input[@name="prompt" and @value="consent"]/following::button`),
	); err != nil {
		t.Fatalf("at the provider: %v; the browser says %v", err, complaints)
	}
	select {
	case q := <-came:
		if q.Get("code") == "" || q.Get("state") != "s" {
			t.Errorf("the app got %v, want a code and its state", q)
		}
	case <-ctx.Done():
		t.Error("the browser did not come back to the app")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(complaints) > 0 {
		t.Errorf("the browser complains: %v", complaints)
	}
}
