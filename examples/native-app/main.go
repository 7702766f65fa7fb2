// Command native-app signs a person in against a Souk the way a native app does:
// it reads the metadata (RFC 8414), opens the browser at the sign-in page, waits
// for the answer on a port of its own (RFC 8252 §7.3), redeems the code with PKCE
// (RFC 7636), asks the market for an app with the token, and refreshes it. All of
// OAuth is golang.org/x/oauth2.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// app is the example with its flags.
type app struct {
	issuer  string // the Souk
	client  string // client_id, as registered there
	listen  string // where the browser brings the answer
	hint    string // the account that should sign in, if it is known
	item    string // the app to restore
	version string
	patient time.Duration
	browse  func(page string) error // shows the sign-in page to the person
}

func main() {
	a := app{browse: func(page string) error {
		_, err := fmt.Printf("Open this page and sign in:\n\n  %s\n\n", page)
		return err
	}}
	flag.StringVar(&a.issuer, "url", "http://127.0.0.1:8080", "URL of the Souk")
	flag.StringVar(&a.client, "client", "com.example.native", "client_id")
	flag.StringVar(&a.listen, "listen", "127.0.0.1:0", "address for the answer; port 0 = any")
	flag.StringVar(&a.hint, "hint", "", "account that should sign in")
	flag.StringVar(&a.item, "item", "1000002", "appleItemId to restore")
	flag.StringVar(&a.version, "version", "2000021", "appleVersionId to restore")
	flag.DurationVar(&a.patient, "wait", 5*time.Minute, "how long to wait for the sign-in")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := a.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "native-app:", err)
		os.Exit(1)
	}
}

// run walks the whole way and prints what came of each step.
func (a *app) run(ctx context.Context, out io.Writer) error {
	server, err := discover(ctx, a.issuer)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "found the server %s\n", server.Issuer)
	config := oauth2.Config{ClientID: a.client, Endpoint: oauth2.Endpoint{
		AuthURL: server.Authorization, TokenURL: server.Token,
		AuthStyle: oauth2.AuthStyleInParams, // a public client: its name in the body, and no secret
	}}
	token, err := a.signIn(ctx, server, &config)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "signed in: the token lives for %s\n", life(token))
	if err := a.restore(ctx, config.Client(ctx, token), out); err != nil {
		return err
	}
	// A token without an access token makes the library refresh at once.
	renewed, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	if err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	fmt.Fprintf(out, "refreshed: the new token lives for %s\n", life(renewed))
	return a.restore(ctx, config.Client(ctx, renewed), out)
}

func life(t *oauth2.Token) time.Duration { return time.Until(t.Expiry).Round(time.Minute) }

// metadata is the part of RFC 8414 that the example needs.
type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	NamesIssuer   bool   `json:"authorization_response_iss_parameter_supported"`
}

// discover reads the metadata of a server.
func discover(ctx context.Context, issuer string) (*metadata, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(issuer, "/")+"/.well-known/oauth-authorization-server", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the metadata answered %s", res.Status)
	}
	m := new(metadata)
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(m); err != nil {
		return nil, fmt.Errorf("read the metadata: %w", err)
	}
	// RFC 8414 §3.3: or else another server could speak for this one.
	if m.Issuer != strings.TrimSuffix(issuer, "/") {
		return nil, fmt.Errorf("the metadata is of %s, not of %s", m.Issuer, issuer)
	}
	return m, nil
}

// signIn lets the person sign in and redeems the code.
func (a *app) signIn(ctx context.Context, server *metadata, config *oauth2.Config) (*oauth2.Token, error) {
	l, err := net.Listen("tcp", a.listen)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	config.RedirectURL = "http://" + l.Addr().String() + "/callback"
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	answers := make(chan answer, 1)
	go func() { _ = http.Serve(l, callback(answers)) }() // ends with the listener
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	if a.hint != "" {
		options = append(options, oauth2.SetAuthURLParam("login_hint", a.hint))
	}
	if err := a.browse(config.AuthCodeURL(state, options...)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.patient)
	defer cancel()
	var got answer
	select {
	case got = <-answers:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the sign-in: %w", ctx.Err())
	}
	switch {
	case got.state != state:
		return nil, errors.New("the answer is not to our request")
	case server.NamesIssuer && got.issuer != server.Issuer: // RFC 9207 §2.4
		return nil, fmt.Errorf("the answer is of %q, not of %s", got.issuer, server.Issuer)
	case got.err != "":
		return nil, fmt.Errorf("sign-in: %s: %s", got.err, got.description)
	}
	token, err := config.Exchange(ctx, got.code, oauth2.VerifierOption(verifier))
	if err != nil {
		return nil, fmt.Errorf("redeem the code: %w", err)
	}
	return token, nil
}

// answer is what the browser brings back.
type answer struct{ code, state, issuer, err, description string }

// callback takes the first answer and tells the person to go back to the app.
func callback(answers chan<- answer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		select {
		case answers <- answer{q.Get("code"), q.Get("state"), q.Get("iss"), q.Get("error"), q.Get("error_description")}:
		default: // one is enough
		}
		w.Header().Set("Referrer-Policy", "no-referrer")
		fmt.Fprintln(w, "You can close this window and go back to the app.")
	})
	return mux
}

// restore asks the market for the app, with a client that adds the token.
func (a *app) restore(ctx context.Context, client *http.Client, out io.Writer) error {
	type named struct {
		Item    string `json:"appleItemId"`
		Version string `json:"appleVersionId"`
	}
	body, err := json.Marshal(map[string]any{"apps": []named{{a.item, a.version}}, "platform": "iOS", "osVersion": "26.1"})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(a.issuer, "/")+"/restore", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("restore answered %s: %s", res.Status, text)
	}
	var given struct {
		Restores []struct {
			named
			Package string `json:"alternativeDistributionPackage"`
		} `json:"restores"`
	}
	if err := json.Unmarshal(text, &given); err != nil {
		return fmt.Errorf("read the answer to restore: %w", err)
	}
	if len(given.Restores) == 0 {
		fmt.Fprintf(out, "the market has no app %s for this account\n", a.item)
	}
	for _, r := range given.Restores {
		fmt.Fprintf(out, "restored: version %s of %s from %s\n", r.Version, r.Item, r.Package)
	}
	return nil
}
