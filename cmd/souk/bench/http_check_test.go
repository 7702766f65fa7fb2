package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/token"
)

// signer is one, with what clients know of it.
func signer(t *testing.T, devices int) (*token.InstallSigner, *filled) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	f := &filled{Items: 1000, Key: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
	for i := range devices {
		f.Devices = append(f.Devices, device{Access: strings.Repeat("a", 106) + fmt.Sprintf("%06d", i)})
	}
	return &token.InstallSigner{Issuer: "1", KeyID: "key", Key: key}, f
}

// answer is what a server with the catalogue answers.
func answer(t *testing.T, s *token.InstallSigner, offers []int) string {
	t.Helper()
	var list []string
	for _, app := range offers {
		tok, err := s.Sign(token.InstallClaims{BundleID: bundleID(app), Item: itemID(app), Version: versionID(app, newest), Redownload: true})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, element(app, newest, tok))
	}
	return `{"updates":[` + strings.Join(list, ",") + `]}`
}

func element(app, version int, token string) string {
	return string(appendApp(nil, app, version)) + fmt.Sprintf(`,"alternativeDistributionPackage":%q,"bundleVersion":%q,"shortVersionString":%q,"installVerificationToken":%q,"appShareURL":%q}`,
		packageOf(app, version), buildOf(version), shortOf(version), token, shareURL(app))
}

func take(k *checker, status int, body string) error {
	var a fasthttp.Response
	a.SetStatusCode(status)
	a.SetBodyString(body)
	return k.take(&a)
}

// Whatever is wrong with an answer ends the measurement.
func TestChecksAreChecked(t *testing.T) {
	s, f := signer(t, 1)
	list, err := checks{apps: appsEach, offered: each(2)}.clients(f, "127.0.0.1:41234", 1)
	if err != nil {
		t.Fatal(err)
	}
	k := list[0].(*checker)
	offers := k.checks[0].offers
	good := answer(t, s, offers)
	third := slices.IndexFunc(catalogue(f.Items), func(it catalog.Item) bool { return !slices.Contains(offers, int(it.ID-firstItem)) })
	tok := strings.Split(strings.Split(good, `"installVerificationToken":"`)[1], `"`)[0]
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   string // part of the error; empty = right
	}{
		{"right", 200, good, ""},
		{"refused", 403, good, "answered 403"},
		{"shed", 503, good, "answered 503"},
		{"no offer", 200, nothing, "offer 0 is not"},
		{"one is left out", 200, answer(t, s, offers[:1]), "offer 1 is not"},
		{"in another order", 200, answer(t, s, []int{offers[1], offers[0]}), "offer 0 is not"},
		{"one more", 200, answer(t, s, append(slices.Clone(offers), third)), "more than what is to be offered"},
		{"another app", 200, answer(t, s, []int{offers[0], third}), "offer 1 is not"},
		{"another version", 200, strings.Replace(good, fmt.Sprint(versionID(offers[1], newest)), fmt.Sprint(versionID(offers[1], newest-1)), 1), "offer 1 is not"},
		{"a failure beside", 200, strings.TrimSuffix(good, "}") + `,"failures":[]}`, "more than what is to be offered"},
		{"no token", 200, strings.Replace(good, tok, "", 1), "has no token"},
		{"another package", 200, strings.Replace(good, packageOf(offers[0], newest), packageOf(offers[0], 1), 1), "and not"},
		{"an unknown key", 200, strings.Replace(good, `"bundleVersion"`, `"bundleversions"`, 1), "no list of updates"},
		{"another app's token", 200, `{"updates":[` + element(offers[0], newest, tok) + "," + element(offers[1], newest, tok) + `]}`, "is of another app"},
		{"no JWS", 200, strings.Replace(good, tok, "e30", 1), "has not three parts"},
		{"cut off", 200, good[:len(good)-3], "has no end"},
	} {
		k.whole = 0 // each is read whole
		err := take(k, test.status, test.body)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: take = %v, want %q", test.name, err, test.want)
		}
	}
	silent, err := checks{apps: appsEach}.clients(f, "127.0.0.1:41234", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := take(silent[0].(*checker), 200, nothing); err != nil {
		t.Errorf("take = %v", err)
	}
	if err := take(silent[0].(*checker), 200, good); err == nil || !strings.Contains(err.Error(), "and not "+nothing) {
		t.Errorf("an offer where none is to be: take = %v", err)
	}
}

// A token's life and signature are looked at, and that none comes twice.
func TestTokensAreVerified(t *testing.T) {
	s, f := signer(t, 3)
	ask := func(bodies ...string) []client {
		t.Helper()
		list, err := checks{apps: 1, offered: oneIn(1)}.clients(f, "host", 3)
		if err != nil {
			t.Fatal(err)
		}
		for i, body := range bodies {
			k := list[i].(*checker)
			if body == "" {
				body = answer(t, s, k.checks[0].offers)
			}
			if err := take(k, 200, body); err != nil {
				t.Fatal(err)
			}
		}
		return list
	}
	list := ask("", "", "")
	if err := verifyTokens(f, list); err != nil {
		t.Errorf("verifyTokens = %v", err)
	}
	first := list[0].(*checker)
	body := answer(t, s, first.checks[0].offers)
	for range 2 {
		if err := take(first, 200, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := verifyTokens(f, list); err == nil || !strings.Contains(err.Error(), "came twice") {
		t.Errorf("with a token that came twice: verifyTokens = %v", err)
	}
	if err := verifyTokens(f, ask()); err == nil || !strings.Contains(err.Error(), "no install verification token came") {
		t.Errorf("without tokens: verifyTokens = %v", err)
	}
	_, stranger := signer(t, 0)
	if err := verifyTokens(stranger, ask("")); err == nil || !strings.Contains(err.Error(), "has a wrong signature") {
		t.Errorf("with another key: verifyTokens = %v", err)
	}
	for age, want := range map[time.Duration]string{9 * time.Minute: "", 11 * time.Minute: "the life", -time.Minute: "the life"} {
		s.Now = func() time.Time { return time.Now().Add(-age) }
		list, err := checks{apps: 1, offered: oneIn(1)}.clients(f, "host", 1)
		if err != nil {
			t.Fatal(err)
		}
		k := list[0].(*checker)
		err = take(k, 200, answer(t, s, k.checks[0].offers))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("a token of %v ago: take = %v, want %q", age, err, want)
		}
	}
}

// The checks are as long as those of the figures that they are compared with, each
// device asks about other apps, and as many are offered as a case says.
func TestChecks(t *testing.T) {
	_, f := signer(t, 1200)
	for _, test := range []struct {
		name    string
		of      checks
		offered int // of all devices together
	}{
		{"a", checks{apps: 5}, 0},
		{"b", checks{apps: 5, offered: oneIn(10)}, 120},
		{"c", checks{apps: 5, offered: oneIn(1)}, 1200},
		{"c'", checks{apps: 5, offered: oneIn(1), released: true}, 1200},
		{"d", checks{apps: 5, offered: each(5)}, 6000},
		{"e", checks{apps: 5, held: true}, 0},
	} {
		list, err := test.of.clients(f, "127.0.0.1:41234", 8)
		if err != nil {
			t.Fatal(err)
		}
		asked, offered, requests := map[string]bool{}, 0, 0
		for _, c := range list {
			k := c.(*checker)
			requests += len(k.sample())
			for i := range k.checks {
				request := string(k.next(nil))
				k.at = (k.at + 1) % len(k.checks)
				if len(request) < 640 || len(request) > 648 {
					t.Fatalf("%s: a check has %d bytes, want about 644:\n%s", test.name, len(request), request)
				}
				_, apps, _ := strings.Cut(request, "\r\n\r\n")
				asked[apps] = true
				offered += len(k.checks[i].offers)
				if test.of.released && !slices.Contains(released(f.Items), k.checks[i].offers[0]) {
					t.Errorf("%s: app %d is offered, which has not come out now", test.name, k.checks[i].offers[0])
				}
			}
		}
		if requests != 1200 || len(asked) < 1150 || offered != test.offered {
			t.Errorf("%s: %d checks, %d of them different, %d offers, want 1200, about as many, %d", test.name, requests, len(asked), offered, test.offered)
		}
	}
	if _, err := (checks{apps: 5}).clients(f, "host", 1201); err == nil || !strings.Contains(err.Error(), "--families") {
		t.Errorf("more connections than devices: %v", err)
	}
	if _, err := (checks{apps: 400}).clients(f, "host", 1); err == nil || !strings.Contains(err.Error(), "--items") {
		t.Errorf("devices with more apps than there are: %v", err)
	}
}

// What has come out are many apps, as far as there are, and none that is held.
func TestReleased(t *testing.T) {
	for _, items := range []int{100, 400, 1000, 20_000} {
		apps := released(items)
		if want := min(releases, drawable(items, false)); len(apps) < want*3/4 || len(apps) > releases {
			t.Errorf("of %d apps %d came out, want about %d", items, len(apps), want)
		}
		for i, app := range apps {
			if isHeld(app) || app >= items || slices.Contains(apps[:i], app) {
				t.Errorf("of %d apps %d came out, which is held, or not there, or came out twice", items, app)
			}
		}
	}
}

// The catalogue is one that can be imported, and apps are drawn from all over it.
func TestCatalogue(t *testing.T) {
	const items = 1000
	for _, it := range catalogue(items) {
		if err := (catalog.Rules{}).Validate(it); err != nil {
			t.Fatal(err)
		}
	}
	_, f := signer(t, 2000)
	for _, held := range []bool{false, true} {
		list, err := checks{apps: 5, held: held}.clients(f, "host", 1)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, request := range list[0].sample() {
			for _, part := range strings.Split(string(request), `"appleItemId":"`)[1:] {
				id, _, _ := strings.Cut(part, `"`)
				seen[id] = true
			}
		}
		if len(seen) != drawable(items, held) {
			t.Errorf("held %t: the devices have %d apps, want all %d", held, len(seen), drawable(items, held))
		}
	}
}
