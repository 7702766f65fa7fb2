package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// browse is the person in front of the sign-in page: the account is there or is
// typed, the password is typed, the form is sent. It returns where the page led.
func (d *device) browse(ctx context.Context, page string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, err
	}
	status, text, _, err := d.visit(req, "sign-in page")
	if err != nil {
		return nil, err
	}
	if status != 200 {
		return nil, fmt.Errorf("the sign-in page answered %d", status)
	}
	action, fields, err := readForm(string(text))
	if err != nil {
		return nil, err
	}
	asked := req.URL.Query().Get("login_hint")
	if !strings.Contains(string(text), html.EscapeString(asked)) {
		return nil, fmt.Errorf("the sign-in page does not show %s", asked)
	}
	values := url.Values{"action": {"continue"}}
	for _, f := range fields {
		switch {
		case f.kind == "password":
			f.value = d.password
		case f.kind != "hidden" && f.value == "":
			f.value = d.account
		}
		values.Set(f.name, f.value)
	}
	to, err := url.Parse(page)
	if err != nil {
		return nil, err
	}
	if to, err = to.Parse(action); err != nil {
		return nil, err
	}
	if req, err = http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(values.Encode())); err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	status, _, location, err := d.visit(req, d.account+" signs in")
	if err != nil {
		return nil, err
	}
	if status != 303 && status != 302 {
		return nil, fmt.Errorf("the sign-in form answered %d instead of a redirect", status)
	}
	return url.Parse(location)
}

// installLink is the person in front of an app's install page: in a browser, which
// unlike a device keeps cookies, they sign in and come back to the page, and find
// a link behind its button. It returns the parameters of the link.
func (d *device) installLink(ctx context.Context, item string) (url.Values, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	client := *d.http
	client.Jar = jar
	browser := *d
	browser.http = &client
	page := d.base + "/install/" + item
	begin, err := browser.button(ctx, page, "the app's page")
	if err != nil {
		return nil, err
	}
	signIn, err := browser.led(ctx, begin)
	if err != nil {
		return nil, err
	}
	back, err := browser.browse(ctx, signIn.String())
	if err != nil {
		return nil, err
	}
	if at, err := browser.led(ctx, back); err != nil {
		return nil, err
	} else if at.RawQuery != "" {
		return nil, fmt.Errorf("the sign-in led to %s instead of the page", at)
	}
	link, err := browser.button(ctx, page, d.account+" is signed in")
	if err != nil {
		return nil, err
	}
	if link.Scheme != "marketplace-kit" || link.Host != "install" {
		return nil, fmt.Errorf("the button leads to %s", link)
	}
	return url.ParseQuery(link.RawQuery)
}

// led follows one redirect.
func (d *device) led(ctx context.Context, from *url.URL) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.String(), nil)
	if err != nil {
		return nil, err
	}
	status, _, location, err := d.visit(req, "")
	if err != nil {
		return nil, err
	}
	if location == "" {
		return nil, fmt.Errorf("%s answered %d and led nowhere", from.Path, status)
	}
	return from.Parse(location)
}

// button is where the one button of a page leads.
func (d *device) button(ctx context.Context, page, note string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, err
	}
	status, text, _, err := d.visit(req, note)
	if err != nil {
		return nil, err
	}
	doc, err := html.Parse(strings.NewReader(string(text)))
	if err != nil {
		return nil, err
	}
	var links []string
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "a" && attributes(n)["class"] == "button" {
			links = append(links, attributes(n)["href"])
		}
	}
	if status != 200 || len(links) != 1 {
		return nil, fmt.Errorf("the page answered %d with %d buttons", status, len(links))
	}
	return req.URL.Parse(links[0])
}

func attributes(n *html.Node) map[string]string {
	a := map[string]string{}
	for _, at := range n.Attr {
		a[at.Key] = at.Val
	}
	return a
}

// visit is do for a browser, which wants to see where a redirect leads.
func (d *device) visit(req *http.Request, note string) (status int, text []byte, location string, err error) {
	client := *d.http
	client.CheckRedirect = func(next *http.Request, _ []*http.Request) error {
		location = next.URL.String()
		return http.ErrUseLastResponse
	}
	browser := *d
	browser.http = &client
	status, text, err = browser.do(req, note)
	return status, text, location, err
}

type input struct{ name, kind, value string }

// readForm finds the form of a page.
func readForm(text string) (action string, fields []input, err error) {
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		return "", nil, err
	}
	found := false
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		a := attributes(n)
		switch n.Data {
		case "form":
			action, found = a["action"], true
		case "input":
			fields = append(fields, input{a["name"], a["type"], a["value"]})
		}
	}
	if !found {
		return "", nil, errors.New("the page has no form")
	}
	return action, fields, nil
}
