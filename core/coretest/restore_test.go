package coretest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

var (
	marketApp = app{coretest.MarketItem, coretest.MarketVersion}
	notesOld  = app{coretest.NotesItem, coretest.NotesOld}
	notesNew  = app{coretest.NotesItem, coretest.NotesNew}
	plusApp   = app{coretest.PlusItem, coretest.PlusVersion}
	skyApp    = app{coretest.SkyItem, coretest.SkyVersion}
	nobodys   = app{"10737747186", "2000004563"}
)

// Apple, "Reauthenticating a person to manage apps": 401 is for a request without
// a token.
func TestRequestsWithoutTokenAre401(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, path := range []string{"/restore", "/updates", "/install-token"} {
		for name, apps := range map[string][]app{
			"an app that wants a sign-in": {notesNew}, "an app that nobody knows": {nobodys}, "one of both kinds": {skyApp, notesNew}, "an id that is none": {{"x", "y"}},
		} {
			a := ask(t, s, path, "", appsBody("iOS", deviceOS, apps...))
			// Apple's network layer would answer a challenge other than Bearer itself.
			if e, _ := a.object(t)["error"].(string); a.status != 401 || a.header.Get("WWW-Authenticate") != "Bearer" || a.header.Get("Location") != "" || e == "" {
				t.Errorf("POST %s for %s without a token answered %d with %q and %s, want 401 with Bearer", path, name, a.status, a.header.Get("WWW-Authenticate"), a.body)
			}
		}
	}
}

// Apple, "Reauthenticating a person to manage apps": 403 is for a token that is
// not valid, whatever it is asked for.
func TestRequestsWithABadTokenAre403(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	expired := deviceOf(t, s, coretest.Alice)
	s.Clock.Advance(72*time.Hour + time.Second)
	good, revoked := deviceOf(t, s, coretest.Alice), deviceOf(t, s, coretest.Alice)
	next := refresh(t, s, revoked.refresh).granted(t, "refresh")
	refresh(t, s, refresh(t, s, next.refresh).granted(t, "refresh").refresh).granted(t, "refresh")
	refresh(t, s, revoked.refresh).refused(t, "reuse", 400, "invalid_grant")
	forged := []byte(good.access)
	forged[40] ^= 1
	foreign := appSignIn().tokens(t, s)
	for name, header := range map[string]string{
		"nonsense":                       "Bearer nonsense",
		"a token that is cut off":        "Bearer " + good.access[:len(good.access)-1],
		"a token with something behind":  "Bearer " + good.access + "A",
		"a token with a changed letter":  "Bearer " + string(forged),
		"two tokens":                     "Bearer " + good.access + "," + good.access,
		"an expired token":               "Bearer " + expired.access,
		"a revoked token":                "Bearer " + revoked.access,
		"a refresh token":                "Bearer " + good.refresh,
		"the token of another app":       "Bearer " + foreign.access,
		"the operator's token":           "Bearer " + s.AdminToken,
		"a token of 8000 characters":     "Bearer " + strings.Repeat("A", 8000),
		"no token behind Bearer":         "Bearer",
		"a token without a scheme":       good.access,
		"another scheme":                 "Basic " + good.access,
		"a scheme that begins like ours": "BearerX " + good.access,
	} {
		for _, path := range []string{"/restore", "/updates", "/install-token"} {
			for kind, wanted := range map[string]app{"that wants a sign-in": notesNew, "that is open": skyApp} {
				a := post(t, s.PublicURL()+path, jsonType, appsBody("iOS", deviceOS, wanted), "Authorization", header)
				if a.status != 403 || a.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
					t.Errorf("POST %s with %s, for an app %s, answered %d with %q, want 403 with invalid_token", path, name, kind, a.status, a.header.Get("WWW-Authenticate"))
				}
			}
		}
	}
	if status := opens(t, s, good.access); status != 200 {
		t.Errorf("the good token answered %d, want 200", status)
	}
}

// RFC 9110 §11.1: the scheme is case-insensitive. A device writes token_type as
// it got it; the marketplace app's extension has a header of its own.
func TestTokenIsReadFromEitherHeader(t *testing.T) {
	t.Parallel()
	s := shared(t)
	good := deviceOf(t, s, coretest.Alice).access
	for name, header := range map[string][]string{
		"Bearer": {"Authorization", "Bearer " + good}, "bearer": {"Authorization", "bearer " + good}, "BEARER": {"Authorization", "BEARER " + good},
		"two spaces":                         {"Authorization", "Bearer  " + good},
		"the market's header":                {coretest.TokenHeader, good},
		"the header in other letters":        {strings.ToLower(coretest.TokenHeader), good},
		"both, where the market's is first":  {coretest.TokenHeader, good, "Authorization", "Bearer nonsense"},
		"both, where the market's is empty":  {coretest.TokenHeader, "", "Authorization", "Bearer " + good},
		"what an AppAuth library sends, too": {"Authorization", "Bearer " + good, "Cookie", "a=b"},
	} {
		for path, list := range map[string]string{"/restore": "restores", "/updates": "updates", "/install-token": "installs"} {
			a := post(t, s.PublicURL()+path, jsonType, appsBody("iOS", deviceOS, notesNew), header...)
			a.apps(t, list)
			if a.status != 200 {
				t.Errorf("POST %s with the token in %s answered %d, want 200", path, name, a.status)
			}
		}
	}
	if a := post(t, s.PublicURL()+"/restore", jsonType, appsBody("iOS", deviceOS, notesNew), coretest.TokenHeader, "nonsense", "Authorization", "Bearer "+good); a.status != 403 {
		t.Errorf("a bad token in the market's header besides a good one answered %d, want 403", a.status)
	}
}

func TestTokenHeaderHasToBeConfigured(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) { quick(c); c.Market.TokenHeader = "" })
	good := deviceOf(t, s, coretest.Alice).access
	if a := post(t, s.PublicURL()+"/restore", jsonType, appsBody("iOS", deviceOS, notesNew), coretest.TokenHeader, good); a.status != 401 {
		t.Errorf("a token in a header that is not configured answered %d, want 401", a.status)
	}
}

// Apple, "Installing your app from your website": an app that needs no account
// can be installed, restored and updated without one.
func TestOpenAppNeedsNoToken(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for path, list := range map[string]string{"/restore": "restores", "/install-token": "installs"} {
		ask(t, s, path, "", appsBody("iOS", deviceOS, skyApp)).apps(t, list).gives(t, path, []app{skyApp})
		ask(t, s, path, deviceOf(t, s, coretest.Alice).access, appsBody("iOS", deviceOS, skyApp)).apps(t, list).gives(t, path+" with a token", []app{skyApp})
	}
	updates(t, s, "", deviceOS, app{coretest.SkyItem, "2000040"}).gives(t, "an update", []app{skyApp})
	updates(t, s, "", deviceOS, skyApp).gives(t, "no update", nil)
	for path, list := range map[string]string{"/restore": "restores", "/updates": "updates", "/install-token": "installs"} {
		ask(t, s, path, "", appsBody("iOS", deviceOS)).apps(t, list).gives(t, path+" for no app at all", nil)
	}
}

// Apple, "Installing your app from your website": the requested version, if it is
// still there.
func TestRestoreGivesTheRequestedVersion(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	for _, test := range []struct {
		name        string
		os          string
		asked, want []app
		failed      []app
	}{
		{"the newest version", "26.1", []app{notesNew}, []app{notesNew}, nil},
		{"an older version", "26.1", []app{notesOld}, []app{notesOld}, nil},
		{"a version that nobody knows", "26.1", []app{{coretest.NotesItem, "1999999"}}, []app{notesNew}, nil},
		{"the version 0", "26.1", []app{{coretest.NotesItem, "0"}}, []app{notesNew}, nil},
		{"a version that is no number", "26.1", []app{{coretest.NotesItem, "3.2"}}, []app{notesNew}, nil},
		{"the newest that runs on the device", "17.5", []app{notesNew}, []app{notesOld}, nil},
		{"nothing that runs on the device", "17.3.1", []app{notesNew, skyApp}, nil, []app{notesNew, skyApp}},
		{"an app that nobody knows", "26.1", []app{nobodys}, nil, []app{nobodys}},
		{"many apps at once", "18.0", []app{marketApp, nobodys, notesNew, skyApp}, []app{marketApp, notesNew, skyApp}, []app{nobodys}},
		{"an app twice: the first counts", "26.1", []app{notesOld, notesNew, notesOld}, []app{notesOld}, nil},
		{"an id with a zero in front", "26.1", []app{{"01000004x", "1"}}, nil, []app{{"01000004x", "1"}}},
		{"an id above 64 bits", "26.1", []app{{"99999999999999999999", "1"}}, nil, []app{{"99999999999999999999", "1"}}},
	} {
		restore(t, s, access, test.os, test.asked...).gives(t, test.name, test.want, test.failed...)
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	for _, platform := range []string{"iOS", "ios", "IOS", "iPadOS", "ipados"} {
		ask(t, s, "/restore", access, appsBody(platform, deviceOS, notesNew)).apps(t, "restores").gives(t, "restore on "+platform, []app{notesNew})
		ask(t, s, "/updates", access, appsBody(platform, deviceOS, notesOld)).apps(t, "updates").gives(t, "update on "+platform, []app{notesNew})
	}
	for _, platform := range []string{"tvOS", "", "android", strings.Repeat("i", 1000)} {
		ask(t, s, "/restore", access, appsBody(platform, deviceOS, notesNew)).apps(t, "restores").gives(t, "restore on "+platform, nil, notesNew)
		ask(t, s, "/updates", access, appsBody(platform, deviceOS, notesOld)).apps(t, "updates").gives(t, "update on "+platform, nil)
	}
}

// Apple, "Installing your app from your website", in its own words, and the keys
// of the answer.
func TestDocumentedRestoreRequest(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	a := ask(t, s, "/restore", access, `{"apps":[{"appleItemId":"10737747186","appleVersionId":"2000004563"}],"platform":"iOS","osVersion":"17.4"}`)
	a.apps(t, "restores")
	if want := `{"restores":[],"failures":[{"appleItemId":"10737747186","appleVersionId":"2000004563","failure":{"code":404,"description":"App unavailable."}}]}`; string(a.body) != want {
		t.Errorf("the documented request answered %s, want %s", a.body, want)
	}
	a.json(t, "restore")
	a = ask(t, s, "/restore", access, appsBody("iOS", deviceOS, notesNew))
	restores := a.object(t)["restores"].([]any)[0].(map[string]any)
	for _, key := range []string{"appleItemId", "appleVersionId", "alternativeDistributionPackage", "installVerificationToken", "appShareURL"} {
		if v, ok := restores[key].(string); !ok || v == "" {
			t.Errorf("restores[0].%s is %v, want a text", key, restores[key])
		}
	}
	if len(restores) != 5 {
		t.Errorf("restores[0] is %v, want the five documented keys", restores)
	}
}

// Ids are texts on the wire; a number is taken for its digits.
func TestIDsMayBeNumbers(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	body := `{"osVersion":"26.1","x":null,"apps":[{"appleItemId":1000002,"appleVersionId":2000021,"more":{}}],"platform":"iOS"}`
	ask(t, s, "/restore", access, body).apps(t, "restores").gives(t, "restore", []app{notesOld})
	ask(t, s, "/updates", access, body).apps(t, "updates").gives(t, "update", []app{notesNew})
	body = `{"osVersion":"26.1","apps":[{"appleItemId":1e6},{"appleItemId":1000002.0},{"appleItemId":-1}],"platform":"iOS"}`
	ask(t, s, "/restore", access, body).apps(t, "restores").gives(t, "numbers that are no ids", nil, app{"1e6", ""}, app{"1000002.0", ""}, app{"-1", ""})
}

// Apple, "Installing your app from your website": to say no with a status would
// make the device ask for the password again.
func TestWithoutEntitlementTheAppIsAFailure(t *testing.T) {
	t.Parallel()
	s := shared(t)
	const payer = "payer@example.com"
	paying, other := deviceOf(t, s, payer).access, deviceOf(t, s, "other@example.com").access
	restore(t, s, paying, deviceOS, plusApp, notesNew).gives(t, "before the payment", []app{notesNew}, plusApp)
	s.Grant(t, payer, coretest.PlusGrant)
	// What one account holds is never another's.
	restore(t, s, paying, deviceOS, plusApp, notesNew).gives(t, "after the payment", []app{plusApp, notesNew})
	restore(t, s, other, deviceOS, plusApp, notesNew).gives(t, "another account", []app{notesNew}, plusApp)
	ask(t, s, "/install-token", other, appsBody("iOS", deviceOS, plusApp)).apps(t, "installs").gives(t, "another account's install token", nil, plusApp)
	updates(t, s, other, deviceOS, app{coretest.PlusItem, "2000030"}).gives(t, "another account's update", nil)
	updates(t, s, paying, deviceOS, app{coretest.PlusItem, "2000030"}).gives(t, "the payer's update", []app{plusApp})
	s.Must(t, http.MethodPut, "/api/accounts/"+payer+"/grants", map[string][]string{"remove": {coretest.PlusGrant}})
	restore(t, s, paying, deviceOS, plusApp).gives(t, "after the subscription", nil, plusApp)
}

// What the operator does is seen by the next request.
func TestRestoreFollowsTheCatalogue(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	access := deviceOf(t, s, coretest.Alice).access
	version := "/api/apps/" + coretest.NotesItem + "/versions/" + coretest.NotesNew
	s.Must(t, http.MethodPut, version+"/rollout", map[string]bool{"halted": true})
	restore(t, s, access, deviceOS, notesNew).gives(t, "a halted version that the device had", []app{notesNew})
	ask(t, s, "/install-token", access, appsBody("iOS", deviceOS, notesNew)).apps(t, "installs").gives(t, "a halted version for the first time", []app{notesOld})
	restore(t, s, access, deviceOS, app{coretest.NotesItem, "0"}).gives(t, "a halted version that was not", []app{notesOld})
	s.Must(t, http.MethodPut, version+"/rollout", map[string]bool{"halted": false})
	s.Must(t, http.MethodPut, version+"/withdrawn", map[string]bool{"withdrawn": true})
	restore(t, s, access, deviceOS, notesNew).gives(t, "a withdrawn version", []app{notesOld})
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/takedown", map[string]string{"reason": "court order"})
	restore(t, s, access, deviceOS, notesOld, skyApp).gives(t, "an app that was taken down", []app{skyApp}, notesOld)
	ask(t, s, "/install-token", access, appsBody("iOS", deviceOS, notesOld)).apps(t, "installs").gives(t, "its install token", nil, notesOld)
	s.Must(t, http.MethodDelete, "/api/apps/"+coretest.NotesItem+"/takedown", nil)
	restore(t, s, access, deviceOS, notesOld).gives(t, "an app that is back", []app{notesOld})
	s.Must(t, http.MethodDelete, "/api/apps/"+coretest.NotesItem, nil)
	restore(t, s, access, deviceOS, notesOld).gives(t, "an app that is gone", nil, notesOld)
	if a := ask(t, s, "/restore", "", appsBody("iOS", deviceOS, notesOld)); a.status != 401 {
		t.Errorf("an app that is gone answered %d without a token, want 401 as for any that nobody knows", a.status)
	}
}

// A restore without a token leads to a sign-in, and the same request is then
// answered: Apple, "Reauthenticating a person to manage apps".
func TestRestoreAfterReauthentication(t *testing.T) {
	t.Parallel()
	s := shared(t)
	body := appsBody("iOS", deviceOS, notesOld, nobodys)
	if a := ask(t, s, "/restore", "", body); a.status != 401 {
		t.Fatalf("restore without a token answered %d, want 401", a.status)
	}
	access := deviceSignIn(coretest.Alice).tokens(t, s).access
	ask(t, s, "/restore", access, body).apps(t, "restores").gives(t, "restore after the sign-in", []app{notesOld}, nobodys)
}

// Apple, "Supplying an install verification token".
type installToken struct {
	header map[string]any
	claims map[string]any
}

var upperUUID = regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`)

// verify reads an install verification token, and checks its signature as the
// owner of the public key can (RFC 7515 §5.2, RFC 7518 §3.4).
func verify(t *testing.T, s *coretest.Server, text string) installToken {
	t.Helper()
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("the install verification token has %d parts, want 3", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			t.Fatalf("part %d of the install verification token: %v", i, err)
		}
	}
	block, _ := pem.Decode(s.InstallKey)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(decoded[2]) != 64 {
		t.Fatalf("the signature has %d bytes, want R and S of 32 each", len(decoded[2]))
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key.(*ecdsa.PublicKey), sum[:], new(big.Int).SetBytes(decoded[2][:32]), new(big.Int).SetBytes(decoded[2][32:])) {
		t.Error("the signature of the install verification token is wrong")
	}
	var it installToken
	for i, into := range []*map[string]any{&it.header, &it.claims} {
		d := json.NewDecoder(bytes.NewReader(decoded[i]))
		d.UseNumber()
		if err := d.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return it
}

func TestInstallVerificationToken(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	var nonces []string
	for path, dtype := range map[string]string{"/restore": "redownload", "/updates": "redownload"} {
		list := strings.Trim(path, "/")
		if list == "restore" {
			list = "restores"
		}
		for range 3 {
			g := ask(t, s, path, access, appsBody("iOS", deviceOS, notesOld, app{coretest.SkyItem, "2000040"})).apps(t, list)
			if len(g.offers()) != 2 {
				t.Fatalf("POST %s gave %d offers, want 2", path, len(g.offers()))
			}
			for i, o := range g.offers() {
				it := verify(t, s, o.Token)
				if it.header["alg"] != "ES256" || it.header["typ"] != "JWT" || it.header["kid"] != "test-key" || len(it.header) != 3 {
					t.Errorf("the header is %v, want alg ES256, kid and typ JWT", it.header)
				}
				want := map[string]any{
					"iss": coretest.MarketItem, "aud": "AppleDownloadVerification-v1", "bid": []string{"com.example.notes", "com.example.sky"}[i],
					"dtype": dtype, "iid": o.Item, "vid": o.Version, // texts, all of them
				}
				for key, v := range want {
					if it.claims[key] != v {
						t.Errorf("the claim %s of a token of %s is %v, want %q", key, path, it.claims[key], v)
					}
				}
				iat, err1 := it.claims["iat"].(json.Number).Int64()
				exp, err2 := it.claims["exp"].(json.Number).Int64()
				if now := s.Clock.Now().Unix(); err1 != nil || err2 != nil || iat > now || exp <= now || exp-iat != 1200 {
					t.Errorf("the token is good from %v to %v, want for 20 minutes from now %d", it.claims["iat"], it.claims["exp"], now)
				}
				nonce, _ := it.claims["nonce"].(string)
				if !upperUUID.MatchString(nonce) {
					t.Errorf("the nonce %q is no random UUID", nonce)
				}
				nonces = append(nonces, nonce)
			}
		}
	}
	slices.Sort(nonces)
	if n := len(slices.Compact(slices.Clone(nonces))); n != len(nonces) {
		t.Errorf("%d tokens have %d different nonces, want each its own", len(nonces), n)
	}
}

// Apple, "Supplying an install verification token": download is for the first
// time. The marketplace app asks before it installs.
func TestInstallTokenKnowsTheFirstDownload(t *testing.T) {
	t.Parallel()
	s := shared(t)
	r := nativeSignIn()
	access := token(t, s, r.redemption(r.code(t, s, coretest.Bob, coretest.BobPassword))).granted(t, "the marketplace app").access
	install := func(access string, a app) string {
		t.Helper()
		got := post(t, s.PublicURL()+"/install-token", jsonType, appsBody("iOS", deviceOS, a), coretest.TokenHeader, access).apps(t, "installs")
		if len(got.Installs) != 1 || got.Installs[0].Item != a.Item {
			t.Errorf("install token for %v: %+v, want one of that app", a, got)
			return ""
		}
		dtype, _ := verify(t, s, got.Installs[0].Token).claims["dtype"].(string)
		return dtype
	}
	for i, want := range []string{"download", "redownload", "redownload"} {
		if got := install(access, notesNew); got != want {
			t.Errorf("install token %d is for a %s, want %s", i+1, got, want)
		}
	}
	if got := install(access, notesOld); got != "redownload" {
		t.Errorf("another version of the same app is a %s, want redownload", got)
	}
	if got := install(access, skyApp); got != "download" {
		t.Errorf("another app is a %s, want download", got)
	}
	if got := install(deviceOf(t, s, "first-time@example.com").access, notesOld); got != "download" {
		t.Errorf("the same app for another account is a %s, want download", got)
	}
	// Nobody is remembered without an account.
	for range 2 {
		if g := ask(t, s, "/install-token", "", appsBody("iOS", deviceOS, skyApp)).apps(t, "installs"); verify(t, s, g.Installs[0].Token).claims["dtype"] != "download" {
			t.Errorf("the app for nobody in particular is no download")
		}
	}
}
