package server

import (
	"html/template"
	"regexp"
	"slices"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"golang.org/x/net/html"
)

// formMark is the element of a plugin's page that the form stands in place of.
const formMark = "souk-form"

// markup is what became of a plugin's own page: what stands before the form and
// behind it. Neither leaves an element open, so the form is inside of nothing of
// the plugin's.
type markup struct {
	Before, After template.HTML
	Images        bool
}

// markupPolicy is what a plugin's page may consist of: text, its structure, links
// away, and pictures that it carries itself. Nothing runs, nothing is sent,
// nothing is fetched, and nothing looks like the frame.
var markupPolicy = func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "div", "span", "section", "header", "footer",
		"strong", "b", "em", "i", "u", "s", "small", "sub", "sup", "mark", "code", "kbd", "samp", "pre", "q", "cite", "blockquote",
		"ul", "ol", "li", "dl", "dt", "dd", "figure", "figcaption", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td")
	p.AllowNoAttrs().OnElements("span", formMark)
	p.AllowAttrs("lang").Matching(regexp.MustCompile(`^[A-Za-z0-9-]{1,35}$`)).Globally()
	p.AllowAttrs("dir").Matching(regexp.MustCompile(`^(ltr|rtl|auto)$`)).Globally()
	p.AllowAttrs("colspan", "rowspan").Matching(regexp.MustCompile(`^[0-9]{1,2}$`)).OnElements("th", "td")
	// A name before an @ would be read as the host.
	p.AllowAttrs("href").Matching(regexp.MustCompile(`^https://[^\s@/?#\\]+([/?#][^\s\\]*)?$`)).OnElements("a")
	p.AllowAttrs("src").Matching(regexp.MustCompile(`^data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}$`)).OnElements("img")
	p.AllowAttrs("alt").OnElements("img")
	p.AllowAttrs("width", "height").Matching(regexp.MustCompile(`^[0-9]{1,4}$`)).OnElements("img")
	p.RequireParseableURLs(true)
	p.AllowURLSchemes("https", "data") // which of them where, say the patterns
	p.RequireNoReferrerOnLinks(true)
	p.AddTargetBlankToFullyQualifiedLinks(true) // with noopener: the page keeps what was typed
	return p
}()

// maxOpen is how many elements of a plugin's page may be open at a time; what is
// opened beyond is left out, and what is inside of it stays.
const maxOpen = 64

// voids are the elements that have no end.
var voids = map[string]bool{"br": true, "hr": true, "img": true}

// implied says which open elements end where another begins, and how far up they
// are looked for.
type implied struct{ ends, within []string }

var impliedEnds = func() map[string]implied {
	m := map[string]implied{
		"li": {[]string{"li"}, []string{"ul", "ol", "table"}},
		"tr": {[]string{"tr", "caption"}, []string{"table"}},
	}
	for _, name := range []string{"dt", "dd"} {
		m[name] = implied{[]string{"dt", "dd"}, []string{"dl", "table"}}
	}
	for _, name := range []string{"td", "th"} {
		m[name] = implied{[]string{"td", "th"}, []string{"tr", "table"}}
	}
	for _, name := range []string{"thead", "tbody", "tfoot"} {
		m[name] = implied{[]string{"thead", "tbody", "tfoot", "caption"}, []string{"table"}}
	}
	for _, name := range []string{"p", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "div", "section", "header", "footer", "pre", "blockquote",
		"ul", "ol", "dl", "figure", "figcaption", "table"} {
		m[name] = implied{[]string{"p"}, []string{"table", "td", "th", "caption"}}
	}
	return m
}()

// markupWriter writes tokens so that what is opened is closed, in order.
type markupWriter struct {
	strings.Builder
	open    []html.Token
	written int // of the open elements, those that were begun in this part of the page
}

// begin writes what the form has cut off, once something follows.
func (w *markupWriter) begin() {
	for ; w.written < len(w.open); w.written++ {
		w.WriteString(w.open[w.written].String())
	}
}

// end closes the open elements from one of them on.
func (w *markupWriter) end(from int) {
	for i := len(w.open) - 1; i >= from; i-- {
		if i < w.written {
			w.WriteString("</" + w.open[i].Data + ">")
		}
	}
	w.open, w.written = w.open[:from], min(w.written, from)
}

// innermost finds the open element that has one of these names; -1 = none, or
// one of the others is nearer.
func (w *markupWriter) innermost(names, within []string) int {
	for i := len(w.open) - 1; i >= 0; i-- {
		if slices.Contains(names, w.open[i].Data) {
			return i
		}
		if slices.Contains(within, w.open[i].Data) {
			break
		}
	}
	return -1
}

func (w *markupWriter) element(t html.Token) {
	t.Type = html.StartTagToken
	if rule, ok := impliedEnds[t.Data]; ok {
		if i := w.innermost(rule.ends, rule.within); i >= 0 {
			w.end(i)
		}
	}
	if len(w.open) >= maxOpen {
		return
	}
	w.begin()
	w.WriteString(t.String())
	if !voids[t.Data] {
		w.open = append(w.open, t)
		w.written++
	}
}

// cut closes all for the form and returns what was written before it.
func (w *markupWriter) cut() string {
	for i := w.written - 1; i >= 0; i-- {
		w.WriteString("</" + w.open[i].Data + ">")
	}
	before := w.String()
	w.Reset()
	w.written = 0
	return before
}

// readMarkup makes a plugin's HTML fit for the page. The sanitizer works on
// tokens and leaves open what was open, so its tokens are written once more.
// That is done here and not with a tree, because a tree may be much larger than
// its text: a parser opens again what was open in a paragraph, in each that
// follows. False = nothing is left that a person could see.
func readMarkup(text string) (m markup, ok bool) {
	clean := markupPolicy.Sanitize(strings.ReplaceAll(text, "\x00", ""))
	z := html.NewTokenizer(strings.NewReader(clean))
	var w markupWriter
	var before string
	marked := false
	for {
		kind := z.Next()
		t := z.Token()
		switch kind {
		case html.ErrorToken: // the end
			after := w.cut()
			if !marked {
				before, after = after, ""
			}
			m.Before, m.After = template.HTML(before), template.HTML(after)
			return m, ok
		case html.StartTagToken, html.SelfClosingTagToken:
			if t.Data != formMark {
				w.element(t)
				m.Images = m.Images || t.Data == "img"
				ok = ok || m.Images
			} else if !marked {
				before, marked = w.cut(), true
			}
		case html.EndTagToken:
			if i := w.innermost([]string{t.Data}, []string{"table"}); i >= 0 {
				w.end(i)
			}
		case html.TextToken:
			blank := strings.TrimSpace(t.Data) == ""
			if blank && w.written < len(w.open) {
				continue
			}
			w.begin()
			w.WriteString(t.String())
			ok = ok || !blank
		}
	}
}
