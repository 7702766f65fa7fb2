package coretest_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/backup"
	"github.com/souk-market/souk/sdk/abi"
)

type auditPage struct {
	Entries []audit.Entry
	Next    string
	Damage  []string
}

func auditOf(t *testing.T, s *coretest.Server, query string) auditPage {
	t.Helper()
	var page auditPage
	if err := json.Unmarshal(s.Must(t, http.MethodGet, "/api/audit?"+query, nil), &page); err != nil {
		t.Fatal(err)
	}
	return page
}

// added wants a request to leave entries of these kinds and no others, oldest first,
// by the time when it is answered.
func added(t *testing.T, s *coretest.Server, what string, do func(), kinds ...audit.Kind) []audit.Entry {
	t.Helper()
	before, _, _ := s.Audit.Last()
	do()
	var got []audit.Entry
	for e, err := range audit.Read(s.Audit.Dir()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq > before {
			got = append(got, e)
		}
	}
	fits := len(got) == len(kinds)
	for i := range min(len(got), len(kinds)) {
		fits = fits && got[i].Kind == kinds[i]
	}
	if !fits {
		t.Fatalf("%s left %+v, want %v", what, got, kinds)
	}
	return got
}

func TestEachChangeLeavesItsEntryBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	var k, k1, k2 tokens
	e := added(t, s, "a sign-in", func() { k = deviceOf(t, s, coretest.Alice) }, audit.TokenMinted, audit.SignedIn)
	if e[0].Actor != audit.Admin || e[1].Actor != audit.Device || e[1].Account != coretest.Alice || e[1].Address != "127.0.0.1" {
		t.Errorf("a sign-in is written down as %+v", e)
	}
	family := e[1].Family
	added(t, s, "refreshes, a retry, a restore and an update check", func() {
		k1 = refresh(t, s, k.refresh).granted(t, "a refresh")
		refresh(t, s, k.refresh).granted(t, "a retry")
		k2 = refresh(t, s, k1.refresh).granted(t, "the next refresh")
		restore(t, s, k2.access, "18.0", app{coretest.NotesItem, ""})
		updates(t, s, k2.access, "18.0", app{coretest.NotesItem, coretest.NotesOld})
	})
	e = added(t, s, "the reuse of a refresh token", func() {
		refresh(t, s, k.refresh).refused(t, "a reuse", 400, "invalid_grant")
	}, audit.FamilyRevoked)
	if e[0].Family != family || e[0].Actor != audit.Device || e[0].Account != coretest.Alice || e[0].Address != "127.0.0.1" || e[0].Until.IsZero() ||
		e[0].Detail["why"] != "refresh token of generation 0 was used, the newest is 2" {
		t.Errorf("a reuse is written down as %+v", e[0])
	}
	added(t, s, "what comes after", func() {
		for range 3 {
			refresh(t, s, k.refresh).refused(t, "a reuse again", 400, "invalid_grant")
			ended(t, s, "the sign-in", k2)
		}
	})

	// What a sign-out that was cut off has left is ended by whoever comes with it.
	const carol = "carol@example.com"
	cut := deviceOf(t, s, carol)
	_, err := s.Store.UpdateAccount(t.Context(), carol, func(a *store.Account) (bool, error) { a.Epoch++; return true, nil })
	if err != nil {
		t.Fatal(err)
	}
	e = added(t, s, "a refresh after a sign-out", func() {
		refresh(t, s, cut.refresh).refused(t, "a refresh after a sign-out", 400, "invalid_grant")
	}, audit.FamilyRevoked)
	if e[0].Actor != audit.Device || e[0].Account != carol || e[0].Address != "127.0.0.1" || e[0].Detail["why"] != "the account was signed out" {
		t.Errorf("a sign-in that a sign-out had left is written down as %+v", e[0])
	}

	// A code that comes twice, and one with a verifier that does not fit.
	sign := deviceSignIn(coretest.Alice)
	code := sign.aliceCode(t, s)
	added(t, s, "a code", func() { token(t, s, sign.redemption(code)).granted(t, "a code") }, audit.SignedIn)
	added(t, s, "a code twice", func() {
		token(t, s, sign.redemption(code)).refused(t, "a code twice", 400, "invalid_grant")
		token(t, s, sign.redemption(code)).refused(t, "a code thrice", 400, "invalid_grant")
	}, audit.FamilyRevoked)
	wrong := deviceSignIn(coretest.Alice)
	burned := wrong.aliceCode(t, s)
	form := wrong.redemption(burned)
	form.Set("code_verifier", newPKCE().verifier)
	added(t, s, "a burned code", func() { token(t, s, form).refused(t, "a wrong verifier", 400, "invalid_grant") }, audit.CodeBurned)

	// The operator.
	base := "/api/accounts/" + url.PathEscape(coretest.Alice)
	e = added(t, s, "a grant", func() { s.Grant(t, coretest.Alice, "sub:plus") }, audit.GrantsChanged)
	if e[0].Actor != audit.Admin || e[0].Account != coretest.Alice || strings.Join(e[0].Added, " ") != "sub:plus" {
		t.Errorf("a grant is written down as %+v", e[0])
	}
	added(t, s, "the same grant", func() { s.Grant(t, coretest.Alice, "sub:plus") })
	added(t, s, "a territory", func() { s.Must(t, http.MethodPut, base+"/territory", map[string]string{"territory": "AUT"}) }, audit.TerritoryChanged)
	first, second := deviceOf(t, s, coretest.Alice), deviceOf(t, s, coretest.Alice)
	e = added(t, s, "a sign-out everywhere", func() { s.Must(t, http.MethodDelete, base+"/sessions", nil) }, audit.SignedOut, audit.FamilyRevoked, audit.FamilyRevoked)
	if e[0].Account != coretest.Alice || e[0].Subject != store.SubjectID(coretest.Alice) || e[0].Epoch != 1 || e[1].Family == e[2].Family {
		t.Errorf("a sign-out everywhere is written down as %+v", e)
	}
	ended(t, s, "the first", first)
	ended(t, s, "the second", second)
	added(t, s, "another password", func() {
		s.Must(t, http.MethodPut, "/api/people/"+url.PathEscape(coretest.Bob), map[string]string{"password": "through the looking-glass"})
	}, audit.PersonChanged)
	added(t, s, "a key", func() { s.Must(t, http.MethodPost, "/api/keys", nil) }, audit.KeyRotated)
	item := "/api/apps/" + coretest.NotesItem
	e = added(t, s, "a rollout", func() {
		s.Must(t, http.MethodPut, item+"/versions/"+coretest.NotesNew+"/rollout", map[string]any{"share": 2500})
	}, audit.ItemChanged)
	if strconv.FormatUint(e[0].Item, 10) != coretest.NotesItem || e[0].Detail["change"] != "version "+coretest.NotesNew+" opened to 2500 of 10000, it was 10000" {
		t.Errorf("a rollout is written down as %+v", e[0])
	}
	added(t, s, "a withdrawal", func() {
		s.Must(t, http.MethodPut, item+"/versions/"+coretest.NotesNew+"/withdrawn", map[string]bool{"withdrawn": true})
	}, audit.ItemChanged)
	added(t, s, "a removal", func() { s.Must(t, http.MethodDelete, item, nil) }, audit.ItemRemoved)
	var partner registered
	e = added(t, s, "a client", func() {
		partner = register(t, s, map[string]any{"id": partnerServer, "kind": "confidential", "redirect_uris": []string{partnerBack}})
	}, audit.ClientRegistered)
	if e[0].Actor != audit.Admin || e[0].Detail["client"] != partnerServer || strings.Join(e[0].Added, " ") != partnerBack {
		t.Errorf("a client is written down as %+v", e[0])
	}
	added(t, s, "another secret", func() { s.Must(t, http.MethodPost, clientPath(partnerServer)+"/secret", nil) }, audit.ClientSecretRotated)
	added(t, s, "another name", func() { s.Must(t, http.MethodPut, clientPath(partnerServer), map[string]string{"name": "Partner"}) }, audit.ClientChanged)
	added(t, s, "the same name", func() { s.Must(t, http.MethodPut, clientPath(partnerServer), map[string]string{"name": "Partner"}) })
	added(t, s, "a disabled client", func() { s.Must(t, http.MethodPut, clientPath(partnerServer), map[string]bool{"disabled": true}) }, audit.ClientDisabled)
	added(t, s, "an enabled client", func() { s.Must(t, http.MethodPut, clientPath(partnerServer), map[string]bool{"disabled": false}) }, audit.ClientEnabled)
	e = added(t, s, "a removed client", func() { s.Must(t, http.MethodDelete, clientPath(partnerServer), nil) }, audit.ClientRemoved)
	if e[0].Epoch != 2 {
		t.Errorf("a removed client is written down as %+v, want the epoch 2", e[0])
	}
	var file []byte
	e = added(t, s, "a backup", func() { file = s.Must(t, http.MethodPost, "/api/backup", map[string]any{}) }, audit.BackupTaken)
	r, err := backup.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if e[0].Actor != audit.Admin || e[0].Address != "127.0.0.1" || e[0].Detail["backup"] != r.Header().ID.String() || e[0].Detail["since"] != "" {
		t.Errorf("the backup %s is written down as %+v", r.Header().ID, e[0])
	}
	added(t, s, "a backup that there can't be", func() {
		status, reply := s.Operate(t, http.MethodPost, "/api/backup", map[string]any{"since": backup.Ref{ID: backup.ID{1}}, "since_begun": time.Now()})
		if status != 409 {
			t.Errorf("a backup that builds on an unknown one answered %d %s, want 409", status, reply)
		}
	})
	e = added(t, s, "a restart", func() { s.Restart(t) }, audit.Started)
	if len(e[0].Detail["plugin rollout"]) != 64 || e[0].Actor != audit.System {
		t.Errorf("a start is written down as %+v", e[0])
	}

	// And over the API, newest first, page by page.
	page := auditOf(t, s, "account="+url.QueryEscape(coretest.Alice)+"&kind=signed_in&limit=3")
	if len(page.Entries) != 3 || page.Next == "" || page.Entries[0].Seq <= page.Entries[1].Seq {
		t.Fatalf("the first page is %+v", page)
	}
	rest := auditOf(t, s, "account="+url.QueryEscape(coretest.Alice)+"&kind=signed_in&limit=3&before="+page.Next)
	if len(rest.Entries) != 1 || rest.Next != "" || rest.Entries[0].Family != family {
		t.Errorf("the second page is %+v, want the first sign-in", rest)
	}
	if one := auditOf(t, s, "family="+family.String()); len(one.Entries) != 2 || one.Entries[0].Kind != audit.FamilyRevoked {
		t.Errorf("the entries of a sign-in are %+v", one)
	}
	for _, q := range []string{"kind=nonsense", "family=12", "since=yesterday", "before=0", "limit=0", "account=", "color=red"} {
		if status, reply := s.Operate(t, http.MethodGet, "/api/audit?"+q, nil); status != 400 || !bytes.Contains(reply, []byte(q[:strings.Index(q, "=")])) {
			t.Errorf("?%s answered %d %s, want 400 and the parameter's name", q, status, reply)
		}
	}
	metrics := string(s.Must(t, http.MethodGet, "/metrics", nil))
	for _, want := range []string{"souk_audit_stopped 0", "souk_audit_entries_total 1\n", "souk_audit_segment_info{hash="} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics doesn't have %q", want)
		}
	}

	// Nothing that opens anything stands in it.
	for _, secret := range []string{
		k.access, k.refresh, k1.refresh, k2.access, k2.refresh, first.refresh, second.access, code, burned, s.AdminToken, partner.Secret,
		coretest.AlicePassword, coretest.BobPassword, "looking-glass",
	} {
		if secret == "" {
			t.Fatal("an empty secret: nothing would be looked for")
		}
		for name, b := range segmentsOf(t, s) {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s has the secret %.8s… in it", name, secret)
			}
		}
	}
}

func segmentsOf(t *testing.T, s *coretest.Server) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.Audit.Dir(), "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("there are the segments %v, %v", names, err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		if all[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Whoever guesses passwords decides how often a limit is reached, and not how much is
// written for it.
func TestReachedLimitLeavesOneEntryAWindow(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.OAuth.AttemptsAccount, c.OAuth.AttemptsAddress = 3, 1000
	})
	deviceOf(t, s, coretest.Alice) // so that there is such an account
	guess := func(account string, refused int) {
		for range 3 + refused {
			open(t, s, deviceSignIn("").query()).submit(t, account, "wrong-"+account)
		}
	}
	e := added(t, s, "guessing", func() {
		guess(coretest.Alice, 5)
		guess("my-secret-pass-phrase@nowhere", 2) // what somebody types may be anything
	}, audit.LimitReached, audit.LimitReached)
	if e[0].Account != coretest.Alice || e[0].Detail["limit"] != "account" || e[0].Address != "127.0.0.1" {
		t.Errorf("a limit is written down as %+v", e[0])
	}
	if e[1].Account != "" || e[1].Subject != (audit.ID{}) || e[1].Detail["untold"] != "4" {
		t.Errorf("a limit of no account is written down as %+v", e[1])
	}
	for name, b := range segmentsOf(t, s) {
		if bytes.Contains(b, []byte("pass-phrase")) {
			t.Errorf("%s has what was typed", name)
		}
	}
}

// Without its log the server changes nothing that has to be written down, and goes on
// with all else.
func TestServerWithABrokenAuditLogAnswersDevices(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	k := deviceOf(t, s, coretest.Alice)
	k1 := refresh(t, s, k.refresh).granted(t, "a refresh")
	partner := register(t, s, map[string]any{"id": partnerServer, "kind": "confidential", "redirect_uris": []string{partnerBack}})
	link := s.SubjectToken(t, coretest.Bob)
	if err := s.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	k2 := refresh(t, s, k1.refresh).granted(t, "a refresh without a log")
	if status := opens(t, s, k2.access); status != 200 {
		t.Errorf("the access token answered %d, want 200", status)
	}
	res, err := http.PostForm(s.PublicURL()+"/oauth/token", refreshForm(k.refresh))
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("a reuse, which can't be written down, answered %d, want 503 with Retry-After", res.StatusCode)
	}
	refresh(t, s, k2.refresh).granted(t, "the newest refresh token after that")
	base := "/api/accounts/" + url.PathEscape(coretest.Alice)
	for path, body := range map[string]any{
		base + "/grants":    map[string][]string{"add": {"sub:plus"}},
		base + "/territory": map[string]string{"territory": "AUT"},
		"/api/people/" + url.PathEscape(coretest.Bob):   map[string]string{"password": "through the looking-glass"},
		"/api/apps/" + coretest.NotesItem + "/takedown": map[string]string{"reason": "a test"},
	} {
		if status, reply := s.Operate(t, http.MethodPut, path, body); status != 503 {
			t.Errorf("PUT %s answered %d %s, want 503", path, status, reply)
		}
	}
	body := map[string]any{"id": secondMarket, "redirect_uris": []string{secondRedirect}}
	if status, reply := s.Operate(t, http.MethodPost, "/api/clients", body); status != 503 {
		t.Errorf("a client answered %d %s, want 503", status, reply)
	}
	if status, reply := s.Operate(t, http.MethodGet, clientPath(secondMarket), nil); status != 404 {
		t.Errorf("the client that could not be written down answered %d %s, want 404", status, reply)
	}
	for path, method := range map[string]string{clientPath(partnerServer): http.MethodDelete, clientPath(partnerServer) + "/secret": http.MethodPost} {
		if status, reply := s.Operate(t, method, path, nil); status != 503 {
			t.Errorf("%s %s answered %d %s, want 503", method, path, status, reply)
		}
	}
	form := exchangeForm(link, partner.ID)
	form.Set("client_secret", partner.Secret) // it is as good as it was: what is refused is the sign-in
	if a := try(t, http.MethodPost, s.PublicURL()+"/oauth/token", formType, form.Encode()); a.status != 503 {
		t.Errorf("a sign-in with the client's secret answered %d %s, want 503", a.status, a.body)
	}
	for _, path := range []string{"/api/keys", "/api/plugins/reload"} {
		if status, reply := s.Operate(t, http.MethodPost, path, nil); status != 503 && path == "/api/keys" || status < 400 {
			t.Errorf("POST %s answered %d %s, want a refusal", path, status, reply)
		}
	}
	if status, reply := s.Operate(t, http.MethodDelete, base+"/sessions", nil); status != 503 {
		t.Errorf("a sign-out answered %d %s, want 503", status, reply)
	}
	var a struct{ Grants []string }
	if err := json.Unmarshal(s.Must(t, http.MethodGet, base, nil), &a); err != nil || len(a.Grants) != 0 {
		t.Errorf("the account has the grants %v, %v, want none", a.Grants, err)
	}
	deviceSignIn(coretest.Bob).code(t, s, coretest.Bob, coretest.BobPassword) // the old password is still good
	updates(t, s, k2.access, "18.0", app{coretest.NotesItem, coretest.NotesOld})
}

// What is asked is changed only once that is written down.
func TestPluginChangesAreWrittenDown(t *testing.T) {
	t.Parallel()
	one, two := says(abi.Allow, 0, 1).wasm(), says(abi.Deny, 0, 1).wasm()
	s := coretest.Empty(t, with(policySpec("policy", one)))
	o := operatorOf(t, s)
	e := added(t, s, "a swap", func() { o.upload("policy", two) }, audit.PluginSwapped)
	if d := e[0].Detail; d["plugin"] != "policy" || d["before"] != sum(one) || d["sha256"] != sum(two) || d["change"] != "swap" || e[0].Actor != audit.Admin {
		t.Errorf("a swap is written down as %+v", e[0])
	}
	added(t, s, "a bad module", func() { o.upload("policy", []byte("no module")).declines(t, "no module", 422, "") })
	e = added(t, s, "a return", func() { s.Must(t, http.MethodPost, "/api/plugins/policy/return", nil) }, audit.PluginSwapped)
	if d := e[0].Detail; d["sha256"] != sum(one) || d["change"] != "return" {
		t.Errorf("a return is written down as %+v", e[0])
	}
	if err := s.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	before := pluginsOf(t, s)["policy"]
	for _, path := range []string{"/api/plugins/policy/return", "/api/plugins/policy/return"} {
		if status, reply := s.Operate(t, http.MethodPost, path, nil); status != 503 {
			t.Errorf("POST %s without a log answered %d %s, want 503", path, status, reply)
		}
	}
	if after := pluginsOf(t, s)["policy"]; after.SHA256 != before.SHA256 || after.Generation != before.Generation || after.Returns != before.Returns {
		t.Errorf("the plugin was %+v and is %+v", before, after)
	}
}
