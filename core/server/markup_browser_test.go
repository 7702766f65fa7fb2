package server

import (
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/coretest/chromium"
	"github.com/souk-market/souk/core/oauth"
)

// TestMarkupInABrowser shows hostile pages to a real browser: what is left of
// them asks for nothing that the page's policy has to refuse, fetches nothing,
// and the form stands where the core put it. A picture that a page carries is
// seen.
func TestMarkupInABrowser(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pages := append([]string{`<h2>Hi</h2><souk-form></souk-form><img src="` + pixel + `" alt="pixel">`}, hostilePages...)
	web := &fasthttp.Server{Handler: func(r *fasthttp.RequestCtx) {
		n, err := strconv.Atoi(string(r.Path()[1:]))
		if err != nil || n >= len(pages) {
			r.SetStatusCode(404)
			return
		}
		p := &oauth.Page{Title: "Title", HTML: "<p>before</p><souk-form></souk-form>" + pages[n], Transaction: "sealed", Redirect: oauth.DeviceRedirect, Status: 200,
			Fields: []oauth.Field{{Name: "email", Label: "Email", Kind: "email"}}}
		if err := writePage(r, p); err != nil {
			t.Errorf("page %d: %v", n, err)
		}
	}}
	go web.Serve(listener)
	t.Cleanup(func() { web.Shutdown() })
	ctx := chromium.Start(t) // behind the server, which waits for its connections in the end

	var mu sync.Mutex
	var seen []string
	err = chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			seen = append(seen, "fetches "+e.Request.URL)
		case *log.EventEntryAdded:
			seen = append(seen, "complains: "+e.Entry.Text)
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
	for i, source := range pages {
		at := "http://" + listener.Addr().String() + "/" + strconv.Itoa(i)
		if err := chromedp.Do(ctx, chromedp.Navigate(at)); err != nil {
			t.Fatalf("%.80q: %v", source, err)
		}
		frame, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
			const forms = document.querySelectorAll("form"), images = [...document.images];
			return [forms.length, forms[0].parentElement.localName, forms[0].querySelectorAll("input").length, document.querySelectorAll("script, style:not(head style), iframe, svg, math, [style], [id]").length,
				images.every(i => i.currentSrc.startsWith("data:")), images.length && images[0].naturalWidth].join(" ");
		})()`))
		if err != nil {
			t.Fatalf("%.80q: %v", source, err)
		}
		if want := "1 main 2 0 true"; len(frame) < len(want) || frame[:len(want)] != want {
			t.Errorf("%.80q: the browser sees %s, want %s", source, frame, want)
		}
		if i == 0 && frame != "1 main 2 0 true 1" {
			t.Errorf("the browser does not see the picture of 1 pixel: %s", frame)
		}
		mu.Lock()
		for _, s := range seen {
			if s != "fetches "+at && s[:min(len(s), 13)] != "fetches data:" && s != "fetches http://"+listener.Addr().String()+"/favicon.ico" {
				t.Errorf("%.80q: the browser %s", source, s)
			}
		}
		seen = nil
		mu.Unlock()
	}
}
