package coretest_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/coretest"
)

// authenticator is a person's app, which took a secret by its address.
type authenticator []byte

func newAuthenticator(t *testing.T, uri string) authenticator {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Query().Get("issuer") == "" {
		t.Fatalf("%q is no address of a secret: %v", uri, err)
	}
	secret, err := base32.StdEncoding.DecodeString(u.Query().Get("secret"))
	if err != nil || len(secret) != 20 {
		t.Fatalf("%q has a secret of %d bytes: %v", uri, len(secret), err)
	}
	return secret
}

// code is what the app shows (RFC 6238 §4).
func (a authenticator) code(at time.Time) string {
	mac := hmac.New(sha1.New, a)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	n := binary.BigEndian.Uint32(sum[sum[19]&0xf:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000)
}

// TestSecondStep signs somebody in with a password and a code.
func TestSecondStep(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	var alice struct {
		URI string `json:"totp_uri"`
	}
	path := "/api/people/" + url.PathEscape(coretest.Alice)
	if err := json.Unmarshal(s.Must(t, http.MethodPut, path, map[string]bool{"totp": true}), &alice); err != nil {
		t.Fatal(err)
	}
	app := newAuthenticator(t, alice.URI)
	if list := string(s.Must(t, http.MethodGet, "/api/people", nil)); !strings.Contains(list, `"totp":true`) || strings.Contains(list, "secret") || strings.Contains(list, "otpauth") {
		t.Errorf("the listing is %s, want that there is a second step and nothing of its secret", list)
	}
	r := deviceSignIn(coretest.Alice)
	second := func() page {
		t.Helper()
		p := open(t, s, r.query()).submit(t, coretest.Alice, coretest.AlicePassword).page(t, s.PublicURL()+"/oauth/authorize")
		if p.status != 200 || p.fields["field_code"] != "" || p.kinds["field_code"] != "text" || strings.Contains(string(p.body), "field_password") {
			t.Fatalf("after the password the page is %d %s, want one that asks for a code", p.status, p.body)
		}
		if !strings.Contains(string(p.body), `autocomplete="one-time-code"`) {
			t.Errorf("the phone is not told that it could fill the code in: %s", p.body)
		}
		return p
	}
	enter := func(p page, code string) answer {
		t.Helper()
		return p.send(t, url.Values{"transaction": {p.fields["transaction"]}, "field_code": {code}, "action": {"continue"}})
	}
	p := second()
	if a := enter(p, "x"); a.status != 200 || !strings.Contains(string(a.body), "The code is not right") {
		t.Errorf("a wrong code is answered %d: %s", a.status, a.body)
	}
	code := app.code(s.Clock.Now())
	q := enter(p, code).led(t, deviceRedirect)
	if q.Get("code") == "" || q.Get("state") != r.state {
		t.Fatalf("password and code led to %v, want a code of ours and the state", q)
	}
	token(t, s, r.redemption(q.Get("code"))).granted(t, "the code of ours")
	if a := enter(p, code); a.status != 200 {
		t.Errorf("the form that has signed somebody in, sent once more, is answered %d to %q, want the page", a.status, a.header.Get("Location"))
	}
	if a := enter(second(), code); a.status != 200 {
		t.Errorf("the same code again is answered %d to %q, want the page", a.status, a.header.Get("Location"))
	}
	s.Clock.Advance(time.Minute)
	enter(second(), app.code(s.Clock.Now())).led(t, deviceRedirect)

	// Guessing is limited as with passwords: codes have six digits.
	p = second()
	refused := 0
	for range 20 {
		if a := enter(p, "x"); a.status == 429 {
			refused++
		}
	}
	if refused == 0 {
		t.Error("20 codes were tried, and none was refused")
	}
	if log := s.Log.String(); strings.Contains(log, string(app)) || strings.Contains(log, base32.StdEncoding.EncodeToString(app)) {
		t.Error("the log has the secret")
	}
	s.Must(t, http.MethodPut, path, map[string]bool{"totp": false})
	s.Clock.Advance(time.Hour)
	open(t, s, r.query()).submit(t, coretest.Alice, coretest.AlicePassword).led(t, deviceRedirect)
}
