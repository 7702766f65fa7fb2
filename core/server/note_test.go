package server

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/oauth"
)

// TestPageShowsNotes draws a note as plugins write one: as a label or as a value.
func TestPageShowsNotes(t *testing.T) {
	var r fasthttp.RequestCtx
	err := writePage(&r, &oauth.Page{Title: "Sign in", Transaction: "x", Redirect: oauth.DeviceRedirect, Status: 200, Fields: []oauth.Field{
		{Name: "one", Label: "Write to <help@example.com>.", Kind: "note"}, {Name: "two", Value: "Or call.", Kind: "note"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	page := string(r.Response.Body())
	for _, want := range []string{">Write to &lt;help@example.com&gt;.</p>", ">Or call.</p>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q:\n%s", want, page)
		}
	}
}
