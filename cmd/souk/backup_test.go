package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// souk runs a command of the binary that TestMain made, for a server.
func (p *soukProcess) souk(args ...string) (out string, err error) {
	cmd := exec.Command("souk", args...)
	cmd.Env = append(os.Environ(), "SOUK_ADMIN="+p.Admin, "SOUK_ADMIN_TOKEN="+p.token)
	text, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("souk %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return string(text), err
}

// recovered makes a directory with a config.toml and a data directory of backups, and
// the secret files of the old one.
func recovered(t *testing.T, old string, args ...string) (dir string, report struct {
	Ended      int   `json:"ended"`
	EndedSince int   `json:"ended_since"`
	KeyChecked bool  `json:"key_checked"`
	SignIns    int   `json:"sign_ins_lost"`
	Again      []any `json:"changes_to_make_again"`

	Clients []string `json:"clients_ended"`
	Secrets []string `json:"clients_without_secret"`
}) {
	t.Helper()
	dir = t.TempDir()
	data := filepath.Join(dir, "data")
	args = append([]string{"recover", "--json", "--data", data, "--audit", filepath.Join(old, "data", "audit"), "--key-file", filepath.Join(old, "data", "souk.key")}, args...)
	var out, said bytes.Buffer
	cmd := exec.Command("souk", args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("souk %s: %v: %s", strings.Join(args, " "), err, &said)
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"souk.key", "admin.token", "install.pem"} {
		if err := copyFile(filepath.Join(old, "data", name), filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	writeSouk(t, dir, crashConfig)
	return dir, report
}

// access says how a restore with the access token is answered.
func (c *crashClient) access(token string) int {
	req, err := http.NewRequest("POST", c.base+"/restore", strings.NewReader(`{"apps":[],"platform":"iOS","osVersion":"26.1"}`))
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.http.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// refused says that a form is answered with 400 invalid_grant or invalid_request.
func (c *crashClient) refused(form url.Values) error {
	status, p, err := c.ask(form)
	if err != nil || status != 400 || p.Error != "invalid_grant" && p.Error != "invalid_request" {
		return fmt.Errorf("a grant of type %s was answered %d %q %v, want 400", form.Get("grant_type"), status, p.Error, err)
	}
	return nil
}

// TestBackupAndRecovery takes a full backup in a storm of refreshes, one of what
// changed since, goes on, is killed, and is recovered: what was acknowledged before
// the last backup is there, what was ended is ended, what is used once can't be used
// twice, and devices go on from tokens that are newer than their records.
func TestBackupAndRecovery(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" || runtime.GOOS == "js" {
		t.Skipf("%s has no SIGKILL", runtime.GOOS)
	}
	old := t.TempDir()
	writeSouk(t, old, crashConfig)
	transport := &http.Transport{MaxIdleConnsPerHost: crashDevices}
	defer transport.CloseIdleConnections()
	client := &crashClient{http: &http.Client{
		Transport: transport, Timeout: bound,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p := startSouk(t, old)
	client.base = p.Public
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\nthe server said:\n%s", err, &p.log)
		}
	}
	must(p.admin("PUT", "/api/people/alice@example.com", `{"password": "`+crashPassword+`"}`))
	must(p.admin("PUT", "/api/accounts/person-1@example.com/grants", `{"add": ["before:backup"]}`))
	devices := crashProvision(t, p, client)
	codes := crashMint(t, client, 0)
	early, err := client.tokens(codes[0].form())
	must(nil, err)
	idle := devices[crashDevices-1] // it does not refresh any more
	idleSince := time.Now()
	<-time.After(time.Until(idleSince.Add(10 * time.Millisecond)))
	since := time.Now()

	// The full backup, while all others refresh.
	full, next := filepath.Join(t.TempDir(), "full.backup"), filepath.Join(t.TempDir(), "next.backup")
	var refreshes atomic.Int64
	stop, begun := make(chan struct{}), make(chan struct{})
	var storm sync.WaitGroup
	for _, d := range devices[:crashDevices-1] {
		storm.Go(func() {
			for n := 0; ; n++ {
				used := d.Refresh
				got, err := client.tokens(refreshForm(used))
				if err = errors.Join(err, d.learn(used, got)); err != nil {
					t.Errorf("in the storm: %v", err)
					return
				}
				if refreshes.Add(1) == crashDevices {
					close(begun)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	<-begun
	before := refreshes.Load()
	must(p.souk("backup", "--out", full))
	during := refreshes.Load() - before
	close(stop)
	storm.Wait()
	if during == 0 {
		t.Error("nobody refreshed while the backup was made")
	}

	// What comes into the next backup, and what comes after it.
	must(p.souk("account", "revoke", "person-2@example.com"))
	must(p.admin("PUT", "/api/accounts/person-1@example.com/grants", `{"add": ["between:backups"]}`))
	between, err := client.tokens(codes[1].form())
	must(nil, err)
	must(p.souk("backup", "--out", next, "--since", full))
	must(p.souk("account", "revoke", "person-3@example.com"))
	must(p.admin("PUT", "/api/accounts/person-1@example.com/grants", `{"add": ["after:backup"]}`))
	late, err := client.tokens(codes[2].form())
	must(nil, err)
	text, err := p.admin("POST", "/api/accounts/person-4@example.com/subject-token", "")
	must(nil, err)
	var link struct{ Token string }
	must(nil, json.Unmarshal(text, &link))
	crashEach(t, 32, func(i int) error { // generations that no backup has
		d := devices[i]
		if i == 2 || i == 3 {
			return nil
		}
		for range 3 {
			used := d.Refresh
			got, err := client.tokens(refreshForm(used))
			if err = errors.Join(err, d.learn(used, got)); err != nil {
				return err
			}
		}
		return nil
	})
	p.kill()

	dir, report := recovered(t, old, "--from", full, "--from", next)
	if report.Ended != 1 || !report.KeyChecked || report.SignIns != 1 || len(report.Again) != 1 {
		t.Errorf("the recovery says %+v, want one sign-in ended, one lost, one change to make again", report)
	}
	p = startSouk(t, dir)
	client.base = p.Public
	exchange := url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {link.Token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "client_id": {"device-4"},
	}
	crashEach(t, len(devices), func(i int) error {
		d := devices[i]
		if i == 2 || i == 3 {
			if status := client.access(d.Access); status != 403 {
				return fmt.Errorf("device %s was signed out, and its access token is answered %d, want 403", d.id, status)
			}
			return client.refused(refreshForm(d.Refresh))
		}
		if status := client.access(d.Access); status != 200 {
			return fmt.Errorf("the access token of device %s is answered %d, want 200", d.id, status)
		}
		for range 2 {
			used := d.Refresh
			got, err := client.tokens(refreshForm(used))
			if err = errors.Join(err, d.learn(used, got)); err != nil {
				return fmt.Errorf("device %s, after the recovery: %w", d.id, err)
			}
		}
		return nil
	})
	for what, err := range map[string]error{
		"a code that was redeemed before the backup":       client.refused(codes[0].form()),
		"a code that was redeemed between the backups":     client.refused(codes[1].form()),
		"a code that was redeemed after the backup":        client.refused(codes[2].form()),
		"a code that nobody has redeemed":                  client.refused(codes[3].form()),
		"a sign-in that the backup does not have":          client.refused(refreshForm(late.Refresh)),
		"a subject token of before":                        client.refused(exchange),
		"the same code again, which ends nothing it began": client.refused(codes[0].form()),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, pair := range []crashPair{early, between} {
		if _, err := client.tokens(refreshForm(pair.Refresh)); err != nil {
			t.Errorf("a sign-in that the backup has: %v", err)
		}
	}
	text, err = p.admin("GET", "/api/accounts/person-1@example.com", "")
	must(nil, err)
	if s := string(text); !strings.Contains(s, "before:backup") || !strings.Contains(s, "between:backups") || strings.Contains(s, "after:backup") {
		t.Errorf("the account is %s, want what it was at the last backup", s)
	}
	if _, err := client.tokens(crashMint(t, client, 1)[0].form()); err != nil {
		t.Errorf("a sign-in after the recovery: %v", err)
	}
	// The next backup can't build on one of the old directory.
	if out, err := p.souk("backup", "--out", next+"2", "--since", next); err == nil || !strings.Contains(err.Error(), "make a full one") {
		t.Errorf("a backup that builds on one of before the recovery: %v %s", err, out)
	}
	p.kill()

	// Once more, because somebody may have stolen something.
	dir, report = recovered(t, old, "--from", full, "--from", next, "--end-sessions-since", since.UTC().Format(time.RFC3339Nano))
	if want := crashDevices - 3 + 1; report.EndedSince != want { // but the idle one and the two that had ended, and codes[1]
		t.Errorf("%d sign-ins were ended, want %d", report.EndedSince, want)
	}
	p = startSouk(t, dir)
	client.base = p.Public
	crashEach(t, len(devices), func(i int) error {
		d := devices[i]
		if status := client.access(d.Access); status != 403 {
			return fmt.Errorf("all access tokens were ended, and that of device %s is answered %d", d.id, status)
		}
		if d != idle {
			return client.refused(refreshForm(d.Refresh))
		}
		got, err := client.tokens(refreshForm(d.Refresh))
		if err == nil && client.access(got.Access) != 200 {
			err = errors.New("the access token of after the recovery is refused")
		}
		return err
	})
	t.Logf("%d refreshes, %d of them while the backup was made", refreshes.Load(), during)
}

// TestRecoveryBringsNoClientBack changes clients after the backup, in each way that
// ends something or takes it away, and loses the directory: none of it is good again.
func TestRecoveryBringsNoClientBack(t *testing.T) {
	old := t.TempDir()
	writeSouk(t, old, crashConfig)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &crashClient{http: &http.Client{Transport: transport, Timeout: bound}}
	p := startSouk(t, old)
	client.base = p.Public
	must := func(text any, err error) string {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\nthe server said:\n%s", err, &p.log)
		}
		return fmt.Sprint(text)
	}
	// add registers a client, and returns its secret if it has one.
	add := func(id string, flags ...string) string {
		t.Helper()
		var c registered
		text := must(p.souk(append([]string{"client", "add", id, "--json", "--market", "--redirect", "https://app.example.com/" + id}, flags...)...))
		must(nil, json.Unmarshal([]byte(text), &c))
		return c.Secret
	}
	with := func(form url.Values, id, secret string) url.Values {
		form.Set("client_id", id)
		if secret != "" {
			form.Set("client_secret", secret)
		}
		return form
	}
	signIn := func(id, secret string) crashPair {
		t.Helper()
		text, err := p.admin("POST", "/api/accounts/alice@example.com/subject-token", "")
		must(nil, err)
		var link struct{ Token string }
		must(nil, json.Unmarshal(text, &link))
		got, err := client.tokens(with(url.Values{
			"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token": {link.Token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		}, id, secret))
		must(nil, err)
		if status := client.access(got.Access); status != 200 {
			t.Fatalf("the access token of %s is answered %d, want 200", id, status)
		}
		return got
	}
	wants := func(when string, status int, held crashPair, id string) {
		t.Helper()
		if got := client.access(held.Access); got != status {
			t.Errorf("%s the access token of %s is answered %d, want %d", when, id, got, status)
		}
	}

	ids := []string{"removed", "disabled", "back", "off-market", "moved", "kept"}
	held := map[string]crashPair{}
	for _, id := range ids {
		add(id)
		held[id] = signIn(id, "")
	}
	secrets := []string{add("rotated", "--confidential")}
	held["rotated"] = signIn("rotated", secrets[0])
	full := filepath.Join(t.TempDir(), "full.backup")
	must(p.souk("backup", "--out", full))

	must(p.souk("client", "remove", "removed"))
	must(p.souk("client", "set", "disabled", "--disable"))
	must(p.souk("client", "remove", "back"))
	add("back")
	anew := signIn("back", "")
	must(p.souk("client", "set", "off-market", "--no-market"))
	must(p.souk("client", "set", "moved", "--redirect", "https://app.example.com/elsewhere"))
	secrets = append(secrets, strings.TrimSpace(must(p.souk("client", "rotate-secret", "rotated"))))
	add("late")
	late := signIn("late", "")
	must(p.souk("client", "remove", "late"))
	add("lost")
	lost := signIn("lost", "")
	log := must(p.souk("audit", "--limit", "0"))
	for _, want := range []string{
		"client_removed +admin 127.0.0.1 +client removed +epoch=1 ", "client_disabled +admin 127.0.0.1 +client disabled +epoch=1 ",
		"client_secret_rotated +admin 127.0.0.1 +client rotated +unchanged_since=20", "client_changed +admin 127.0.0.1 +client off-market +epoch=1 market=false ",
		"client_changed .* client moved +added=https://app.example.com/elsewhere removed=https://app.example.com/moved ",
		"client_registered .* client back +epoch=1 added=https://app.example.com/back kind=native market=true ",
	} {
		if !regexp.MustCompile("(?m)" + want).MatchString(log) {
			t.Errorf("souk audit shows no line %q:\n%s", want, log)
		}
	}
	for _, secret := range secrets {
		if len(secret) != 43 || strings.Contains(log, secret) {
			t.Errorf("the secret %q stands in the audit log, or is none", secret)
		}
	}
	p.kill()

	dir, report := recovered(t, old, "--from", full)
	if want := []string{"back", "disabled", "late", "moved", "off-market", "removed", "rotated"}; !slices.Equal(report.Clients, want) || !slices.Equal(report.Secrets, []string{"rotated"}) {
		t.Errorf("the recovery says %+v, want that it took something from %v", report, want)
	}
	p = startSouk(t, dir)
	client.base = p.Public
	for _, id := range ids[:4] {
		wants("after the recovery", 403, held[id], id)
		must(nil, client.refused(refreshForm(held[id].Refresh)))
	}
	wants("after the recovery", 403, anew, "back, registered anew and lost")
	wants("after the recovery", 403, late, "late")
	wants("after the recovery", 403, lost, "lost")
	wants("after the recovery", 200, held["kept"], "kept")
	wants("after the recovery", 200, held["moved"], "moved")
	wants("after the recovery", 200, held["rotated"], "rotated")
	if _, err := client.tokens(with(refreshForm(held["kept"].Refresh), "kept", "")); err != nil {
		t.Errorf("a client that nobody has changed: %v", err)
	}
	// Its redirect URI was taken away, and the other one is to be given again.
	if show := must(p.souk("client", "show", "moved")); strings.Contains(show, "redirect") || !strings.Contains(show, "active") {
		t.Errorf("the client whose only redirect URI was replaced is\n%s", show)
	}
	must(p.souk("client", "set", "moved", "--redirect", "https://app.example.com/elsewhere"))
	if _, err := client.tokens(with(refreshForm(held["moved"].Refresh), "moved", "")); err != nil {
		t.Errorf("a client whose redirect URI was replaced: %v", err)
	}
	for _, secret := range secrets {
		if status, got, err := client.ask(with(refreshForm(held["rotated"].Refresh), "rotated", secret)); err != nil || status != 401 || got.Error != "invalid_client" {
			t.Errorf("with a secret of before the recovery a refresh is answered %d %s %v, want 401", status, got.Error, err)
		}
	}
	secret := strings.TrimSpace(must(p.souk("client", "rotate-secret", "rotated")))
	if _, err := client.tokens(with(refreshForm(held["rotated"].Refresh), "rotated", secret)); err != nil {
		t.Errorf("with the next secret the sign-in goes on: %v", err)
	}
	// What comes back by the operator's hand does not bring back what it had.
	must(p.souk("client", "set", "disabled", "--enable"))
	must(p.souk("client", "set", "off-market", "--market"))
	for _, id := range []string{"removed", "back", "late"} {
		add(id)
	}
	for _, id := range ids[:4] {
		wants("given again,", 403, held[id], id)
		must(nil, client.refused(refreshForm(held[id].Refresh)))
	}
	wants("given again,", 403, late, "late")
	signIn("back", "")
	p.kill()
}
