package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

type accountAdd struct {
	adminFlags
	Email     string   `arg:"" help:"The address, like alice@example.com. Capital letters make no difference."`
	Name      string   `placeholder:"TEXT" help:"How to address the person."`
	Territory string   `placeholder:"CODE" help:"Where the account is at home: three capital letters of ISO 3166-1, like AUT."`
	Grant     []string `placeholder:"GRANT" help:"What the account gets, beside what it has, like sub:plus."`
}

// Help says more than one line does.
func (c *accountAdd) Help() string {
	return `The password is asked for, or is the first line of standard input:
    souk account add alice@example.com <password.txt
It has at least as many characters as oauth.password_min of the server says: eight
unless that was changed. The server keeps a hash of it.

--territory and --grant are what "souk account territory" and "souk account grant"
do, once the person is there. A sign-in changes neither.`
}

// Run adds a person, and leaves one alone who is there already.
func (c *accountAdd) Run(std *streams) error {
	password, err := std.password(c.Email)
	if err != nil {
		return err
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	var added person
	body := map[string]any{"password": password, "name": c.Name}
	q := call{method: "PUT", path: path("/api/people/%s", c.Email), body: body, match: "If-None-Match"}
	if err := api.do(q, &added); err != nil {
		return err
	}
	if err := c.furnish(api); err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(added)
	}
	return std.said(false, "added %s", c.Email)
}

// furnish gives the account of a new person what belongs to the account. One that
// fails does not hold up the other.
func (c *accountAdd) furnish(api *client) error {
	account := strings.ToLower(c.Email) // so the plugin names it
	var errs []error
	if c.Territory != "" {
		q := call{method: "PUT", path: path("/api/accounts/%s/territory", account), body: map[string]string{"territory": c.Territory}}
		if err := api.do(q, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s was added, but without the territory %s: %w: set it with \"souk account territory\"", c.Email, c.Territory, err))
		}
	}
	if len(c.Grant) > 0 {
		q := call{method: "PUT", path: path("/api/accounts/%s/grants", account), body: map[string]any{"add": c.Grant}}
		if err := api.do(q, nil); err != nil {
			errs = append(errs, fmt.Errorf("%s was added, but without the grants %s: %w: give them with \"souk account grant\"", c.Email, strings.Join(c.Grant, " "), err))
		}
	}
	return errors.Join(errs...)
}

type accountPasswd struct {
	adminFlags
	Email string `arg:"" help:"The address, like alice@example.com."`
}

// Help says more than one line does.
func (c *accountPasswd) Help() string {
	return `The new password is asked for, or is the first line of standard input.`
}

// Run changes a password, and adds nobody.
func (c *accountPasswd) Run(std *streams) error {
	password, err := std.password(c.Email)
	if err != nil {
		return err
	}
	body := map[string]any{"password": password}
	return c.putPerson(std, call{path: path("/api/people/%s", c.Email), body: body, match: "If-Match"}, "%s has a new password", c.Email)
}

// putPerson sends a change of a person, and prints the person or a sentence.
func (f *adminFlags) putPerson(std *streams, q call, format string, args ...any) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	q.method = "PUT"
	var p person
	if err := api.do(q, &p); err != nil {
		return err
	}
	if f.JSON {
		return std.printJSON(p)
	}
	return std.said(false, format, args...)
}

type accountTOTP struct {
	adminFlags
	Email string `arg:"" help:"The address, like alice@example.com."`
	Off   bool   `help:"The password is enough again."`
}

// Help says more than one line does.
func (c *accountTOTP) Help() string {
	return `It prints the address of a new secret, once: hand it to the person, who opens it on
the phone or types its secret into an authenticator app. Whoever had one before
gets another with it.`
}

// Run gives somebody a second step, or takes it away.
func (c *accountTOTP) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var p person
	body := map[string]bool{"totp": !c.Off}
	if err := api.do(call{method: "PUT", path: path("/api/people/%s", c.Email), body: body, match: "If-Match"}, &p); err != nil {
		return err
	}
	switch {
	case c.JSON:
		return std.printJSON(p)
	case c.Off:
		return std.said(false, "%s signs in with the password alone", c.Email)
	}
	return std.said(false, "%s", p.TOTPURI)
}

type accountDisable struct {
	adminFlags
	Email string `arg:"" help:"The address, like alice@example.com."`
}

// Run keeps somebody from signing in.
func (c *accountDisable) Run(std *streams) error {
	body := map[string]bool{"disabled": true}
	return c.putPerson(std, call{path: path("/api/people/%s", c.Email), body: body, match: "If-Match"}, "%s can't sign in any more", c.Email)
}

type accountEnable struct {
	adminFlags
	Email string `arg:"" help:"The address, like alice@example.com."`
}

// Run lets somebody sign in again.
func (c *accountEnable) Run(std *streams) error {
	body := map[string]bool{"disabled": false}
	return c.putPerson(std, call{path: path("/api/people/%s", c.Email), body: body, match: "If-Match"}, "%s can sign in", c.Email)
}

type accountRemove struct {
	adminFlags
	Email string `arg:"" help:"The address, like alice@example.com."`
}

// Run removes a person.
func (c *accountRemove) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	if err := api.do(call{method: "DELETE", path: path("/api/people/%s", c.Email)}, nil); err != nil {
		return err
	}
	return std.said(c.JSON, "removed %s", c.Email)
}

// password reads a password: without an echo where somebody types it, else the
// first line of the input.
func (s *streams) password(email string) (line string, err error) {
	if f, ok := s.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(s.err, "Password for %s: ", printable(email))
		var typed []byte
		typed, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(s.err)
		line = string(typed)
	} else {
		line, err = bufio.NewReader(io.LimitReader(s.in, 4096)).ReadString('\n')
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if line == "" {
		return "", errors.New("the password is missing: type it, or pipe it in, like \"souk account add alice@example.com <password.txt\"")
	}
	return line, nil
}

// said prints a sentence; with asJSON there is nothing to say.
func (s *streams) said(asJSON bool, format string, args ...any) error {
	if asJSON {
		return s.printJSON(struct{}{})
	}
	_, err := fmt.Fprintln(s.out, printable(fmt.Sprintf(format, args...)))
	return err
}

// printable escapes what would break a line or play tricks with a terminal.
func printable(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}
