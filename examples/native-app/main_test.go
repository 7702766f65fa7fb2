package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/oauth2"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/oauth"
)

const client = "com.example.native"

func start(t *testing.T) *coretest.Server {
	t.Helper()
	return coretest.Start(t, func(c *core.Config) {
		c.OAuth.Clients = append(c.OAuth.Clients, oauth.ClientConfig{
			ID: client, Name: "Native App", RedirectURIs: []string{"http://127.0.0.1/callback"}, Market: true,
		})
	})
}

// person is somebody in front of a browser: types the password and sends the form
// with a button of the page. An address is there already, or is typed.
func person(ctx context.Context, address, password, button string) func(string) error {
	return func(page string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		doc, err := html.Parse(res.Body)
		if err != nil {
			return err
		}
		form := url.Values{"action": {button}}
		action := ""
		for n := range doc.Descendants() {
			at := map[string]string{}
			for _, a := range n.Attr {
				at[a.Key] = a.Val
			}
			switch {
			case n.Data == "form":
				action = at["action"]
			case n.Data == "input" && at["type"] == "password":
				form.Set(at["name"], password)
			case n.Data == "input" && at["value"] == "":
				form.Set(at["name"], address)
			case n.Data == "input":
				form.Set(at["name"], at["value"])
			}
		}
		if action == "" {
			return fmt.Errorf("the sign-in page answered %s and has no form", res.Status)
		}
		to, err := res.Request.URL.Parse(action)
		if err != nil {
			return err
		}
		if req, err = http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(form.Encode())); err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		done, err := http.DefaultClient.Do(req) // goes on to the app's own page, as a browser does
		if err != nil {
			return err
		}
		return done.Body.Close()
	}
}

func example(s *coretest.Server, browse func(string) error) *app {
	return &app{
		issuer: s.PublicURL(), client: client, listen: "127.0.0.1:0", item: coretest.NotesItem, version: coretest.NotesOld,
		patient: time.Minute, browse: browse,
	}
}

func TestNativeApp(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, hint := range map[string]string{"without a hint": "", "with a hint": coretest.PlusPerson} {
		address := coretest.Alice
		if hint != "" {
			address = hint
		}
		a := example(s, person(t.Context(), address, coretest.AlicePassword, "continue"))
		a.hint = hint
		var out bytes.Buffer
		if err := a.run(t.Context(), &out); err != nil {
			t.Errorf("%s: %v\n%s", name, err, &out)
		}
		restored := "restored: version 2000021 of 1000002 from " + s.PublicURL() + "/packages/1000002/2000021\n"
		want := "found the server " + s.PublicURL() + "\n" +
			"signed in: the token lives for 72h0m0s\n" + restored +
			"refreshed: the new token lives for 72h0m0s\n" + restored
		if out.String() != want {
			t.Errorf("%s the example prints\n%s\nwant\n%s", name, &out, want)
		}
	}
}

func TestNativeAppIsToldThatThePersonCancelled(t *testing.T) {
	t.Parallel()
	a := example(start(t), person(t.Context(), "", "", "cancel"))
	if err := a.run(t.Context(), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "access_denied") {
		t.Errorf("cancelling ended with %v, want access_denied", err)
	}
}

func TestNativeAppRefusesAForeignAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	// Somebody else's page sends an answer first.
	a := example(s, func(page string) error {
		u, err := url.Parse(page)
		if err != nil {
			return err
		}
		res, err := http.Get(u.Query().Get("redirect_uri") + "?code=stolen&state=guessed&iss=" + url.QueryEscape(s.PublicURL()))
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	if err := a.run(t.Context(), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "not to our request") {
		t.Errorf("a foreign answer ended with %v, want it refused", err)
	}
}

// config is a client of the library as most people make one: it finds out by
// itself how to send the client's name, and tries the header with an empty secret
// first.
func config(s *coretest.Server, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: client, RedirectURL: redirect, Endpoint: oauth2.Endpoint{
		AuthURL: s.PublicURL() + "/oauth/authorize", TokenURL: s.PublicURL() + "/oauth/token",
	}}
}

// code lets alice sign in and takes the code out of the redirect.
func code(t *testing.T, c *oauth2.Config, verifier string) string {
	t.Helper()
	answers := make(chan answer, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.RedirectURL = "http://" + l.Addr().String() + "/callback"
	go func() { _ = http.Serve(l, callback(answers)) }()
	if err := person(t.Context(), coretest.Alice, coretest.AlicePassword, "continue")(c.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))); err != nil {
		t.Fatal(err)
	}
	got := <-answers
	if got.code == "" || got.state != "state" {
		t.Fatalf("the sign-in led to %+v, want a code", got)
	}
	return got.code
}

// TestLibraryWithDetectedAuthStyle drives sign-in, refresh and token exchange with
// golang.org/x/oauth2 and its defaults.
func TestLibraryWithDetectedAuthStyle(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, style := range map[string]oauth2.AuthStyle{"detected": oauth2.AuthStyleAutoDetect, "in the body": oauth2.AuthStyleInParams, "in the header": oauth2.AuthStyleInHeader} {
		c := config(s, "")
		c.Endpoint.AuthStyle = style
		verifier := oauth2.GenerateVerifier()
		token, err := c.Exchange(t.Context(), code(t, c, verifier), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatalf("redeem a code, client %s: %v", name, err)
		}
		if token.Type() != "Bearer" || token.RefreshToken == "" || time.Until(token.Expiry) < 71*time.Hour {
			t.Errorf("client %s: the token is of type %s and lives until %v, want Bearer and three days", name, token.Type(), token.Expiry)
		}
		token.Expiry = time.Now().Add(-time.Minute) // so the library refreshes before it is used
		source := c.TokenSource(t.Context(), token)
		renewed, err := source.Token()
		if err != nil {
			t.Fatalf("refresh, client %s: %v", name, err)
		}
		if renewed.RefreshToken == token.RefreshToken {
			t.Errorf("client %s: the refresh gave the same refresh token again", name)
		}
		a := example(s, nil)
		var out bytes.Buffer
		if err := a.restore(t.Context(), oauth2.NewClient(t.Context(), source), &out); err != nil || !strings.HasPrefix(out.String(), "restored: ") {
			t.Errorf("restore with the library's client: %v %s", err, &out)
		}
		// The library has no grant of RFC 8693, but takes parameters of one's own.
		exchanged, err := c.Exchange(t.Context(), "",
			oauth2.SetAuthURLParam("grant_type", oauth.GrantTokenExchange), oauth2.SetAuthURLParam("redirect_uri", ""),
			oauth2.SetAuthURLParam("subject_token", s.SubjectToken(t, coretest.Alice)), oauth2.SetAuthURLParam("subject_token_type", oauth.TypeAccessToken))
		if err != nil {
			t.Fatalf("token exchange, client %s: %v", name, err)
		}
		if got := exchanged.Extra("issued_token_type"); got != oauth.TypeAccessToken {
			t.Errorf("client %s: the exchanged token is of the type %v, want %s", name, got, oauth.TypeAccessToken)
		}
	}
}

// The library understands the server's refusals.
func TestLibraryReadsErrors(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := config(s, "http://127.0.0.1:1/callback")
	c.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	_, err := c.Exchange(t.Context(), "nonsense", oauth2.VerifierOption(oauth2.GenerateVerifier()))
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" || refused.Response.StatusCode != 400 || refused.ErrorDescription == "" {
		t.Errorf("a code that is none: %v, want invalid_grant with a description", err)
	}
	verifier := oauth2.GenerateVerifier()
	text := code(t, c, verifier)
	if _, err := c.Exchange(t.Context(), text, oauth2.VerifierOption(oauth2.GenerateVerifier())); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("another verifier: %v, want invalid_grant", err)
	}
	if _, err := c.Exchange(t.Context(), text, oauth2.VerifierOption(verifier)); !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("the right verifier after a wrong one: %v, want invalid_grant", err)
	}
}

func TestDiscoverRefusesAnotherServersMetadata(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := discover(t.Context(), strings.Replace(s.PublicURL(), "127.0.0.1", "localhost", 1)); err == nil || !strings.Contains(err.Error(), "is of") {
		t.Errorf("metadata under another name: %v, want it refused (RFC 8414 §3.3)", err)
	}
}
