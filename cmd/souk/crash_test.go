package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/plugins"
)

// soukProcess is a running "souk serve".
type soukProcess struct {
	Public string `json:"public"`
	Admin  string `json:"admin"`

	token string // of the admin API
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{} // closed when the process is gone and its log is whole
}

// startSouk runs "souk serve" with the config.toml of a directory, from the
// binary that TestMain made, and waits until it answers.
func startSouk(t *testing.T, dir string) *soukProcess {
	t.Helper()
	p := &soukProcess{ended: make(chan struct{})}
	readyFile := filepath.Join(dir, "ready.json")
	p.cmd = exec.Command("souk", "serve", "--config", filepath.Join(dir, "config.toml"), "--ready-file", readyFile)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := errors.Join(os.RemoveAll(readyFile), p.cmd.Start()); err != nil { // of one that was killed
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // what it says depends on the test
		close(p.ended)
	}()
	t.Cleanup(p.kill)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	late := time.After(bound)
	for {
		select {
		case <-look.C:
		case <-p.ended:
			t.Fatalf("the server ended before it was ready:\n%s", &p.log)
		case <-late:
			t.Fatalf("the server was not ready after %v", bound)
		}
		text, err := os.ReadFile(readyFile)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		secret, err2 := os.ReadFile(filepath.Join(dir, "data", "admin.token"))
		if err := errors.Join(err, err2, json.Unmarshal(text, p)); err != nil {
			t.Fatal(err)
		}
		p.token = strings.TrimSpace(string(secret))
		return p
	}
}

// kill ends the process as a crash does, and waits until it is gone.
func (p *soukProcess) kill() {
	_ = p.cmd.Process.Kill() // or it is gone
	<-p.ended
}

// writeSouk writes a config.toml for a server on free ports, with more behind
// it, and the shipped plugins.
func writeSouk(t *testing.T, dir, more string) {
	t.Helper()
	config := `[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
min_free = "0"
`
	if cache, err := os.UserCacheDir(); err == nil { // plugins are compiled once, not by every test
		config += "[plugins]\ncache = " + strconv.Quote(filepath.Join(cache, "souk", "plugins")) + "\n"
	}
	for name, text := range map[string][]byte{
		"config.toml": []byte(config + more), "accounts.wasm": plugins.Accounts, "allowlist.wasm": plugins.Allowlist, "rollout.wasm": plugins.Rollout,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const crashConfig = `[limits]
request = "1m" # a hash is slow on a busy machine
shed_updates = "0"
[oauth]
attempts_account = 1000
attempts_address = 1000
[[plugin]]
name = "accounts"
file = "accounts.wasm"
hooks = ["sign_in"]
allow = ["kv", "password", "log"]
deadline = "10s"
start_deadline = "1m"
host_deadline = "1m"
`

const (
	crashRounds    = 3
	crashDevices   = 64
	crashCodes     = 8     // of each round
	crashLeast     = 600   // refreshes that a storm lasts at least
	crashMost      = 2_000 // and at most
	crashQuiet     = 4     // one device in so many stops a little before the crash
	crashSeed      = "SOUK_CRASH_SEED"
	crashPassword  = "wonderland"
	crashVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	crashChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// crashPair is what the token endpoint gives.
type crashPair struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

// crashDevice is a device with all that it was ever told.
type crashDevice struct {
	id        string
	crashPair                      // the newest that was acknowledged
	successor map[string]crashPair // by the refresh token that was used
	history   []string             // refresh tokens, oldest first
	quiet     bool                 // it had the answer to all that it sent before the crash
}

// learn notes an answer. One token never has two successors.
func (d *crashDevice) learn(used string, got crashPair) error {
	if before, ok := d.successor[used]; ok && before != got {
		return fmt.Errorf("device %s: the family forked: one refresh token was answered with two successors", d.id)
	}
	d.successor[used] = got
	if got.Refresh != d.Refresh {
		d.crashPair = got
		d.history = append(d.history, got.Refresh)
	}
	return nil
}

// issued is the second in which an access token was issued: what it says is
// opaque to clients, and no secret.
func (p *crashPair) issued() int64 {
	raw, err := base64.RawURLEncoding.DecodeString(p.Access)
	if err != nil || len(raw) < 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint32(raw[4:]))
}

// crashCode is an authorization code with what became of it.
type crashCode struct {
	device, code   string
	sent, answered bool
	crashPair
}

// crashClient speaks to the token endpoint. An error that wraps errCrashLost means
// that nobody knows what the server did.
type crashClient struct {
	http *http.Client
	base string
}

var errCrashLost = errors.New("the answer was lost")

func (c *crashClient) ask(form url.Values) (status int, p crashPair, err error) {
	res, err := c.http.PostForm(c.base+"/oauth/token", form)
	if err != nil {
		return 0, p, fmt.Errorf("%w: %w", errCrashLost, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, p, fmt.Errorf("%w: %w", errCrashLost, err)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return 0, p, fmt.Errorf("the token endpoint answered %d: %s", res.StatusCode, text)
	}
	return res.StatusCode, p, nil
}

// tokens is ask for requests that have to be granted.
func (c *crashClient) tokens(form url.Values) (crashPair, error) {
	status, p, err := c.ask(form)
	if err == nil && (status != 200 || p.Refresh == "" || p.Access == "") {
		err = fmt.Errorf("a grant of type %s was answered %d %s", form.Get("grant_type"), status, p.Error)
	}
	return p, err
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

func (c *crashCode) form() url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {c.code}, "code_verifier": {crashVerifier}, "client_id": {c.device}}
}

// admin sends a request to the admin API.
func (p *soukProcess) admin(method, path, body string) ([]byte, error) {
	req, err := http.NewRequest(method, p.Admin+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s answered %d: %s", method, path, res.StatusCode, text)
	}
	return text, err
}

// TestCrashLosesNothingThatWasAcknowledged kills the server with SIGKILL in a
// storm of refreshes and of codes that are redeemed, three times over the same
// data. Afterwards every device goes on from the last answer that it got, every
// code that was redeemed is spent, and no refresh token has two successors.
func TestCrashLosesNothingThatWasAcknowledged(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" || runtime.GOOS == "js" {
		t.Skipf("%s has no SIGKILL", runtime.GOOS)
	}
	seed := rand.Uint64()
	if s := os.Getenv(crashSeed); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s: %v", crashSeed, err)
		}
	}
	t.Logf("%s=%d", crashSeed, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	writeSouk(t, dir, crashConfig)
	transport := &http.Transport{MaxIdleConnsPerHost: crashDevices}
	defer transport.CloseIdleConnections()
	client := &crashClient{http: &http.Client{
		Transport: transport, Timeout: bound,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}

	var devices []*crashDevice
	redeemed := 0
	for round := range crashRounds {
		p := startSouk(t, dir)
		client.base = p.Public
		if round == 0 {
			if _, err := p.admin("PUT", "/api/people/alice@example.com", `{"password": "`+crashPassword+`"}`); err != nil {
				t.Fatal(err)
			}
			devices = crashProvision(t, p, client)
		}
		codes := crashMint(t, client, round)
		acknowledged := crashStorm(t, p, client, devices, codes, crashLeast+random.Int64N(crashMost-crashLeast))
		killed := time.Now()

		p = startSouk(t, dir)
		client.base = p.Public
		// A token tells the second of its issue: only from the next one on can those
		// of before the crash be told from those of after it.
		<-time.After(time.Until(killed.Truncate(time.Second).Add(time.Second)))
		lost := crashCheckDevices(t, client, devices, killed.Unix())
		spent, unknown := crashCheckCodes(t, client, codes)
		t.Logf("round %d: killed after %d acknowledged refreshes, all there; %d more were made whose answer was lost; of %d codes %d were redeemed and %d may have been",
			round+1, acknowledged, lost, crashCodes, spent, unknown)
		redeemed += spent
		if round == crashRounds-1 {
			crashCheckReuse(t, client, devices)
		}
		p.kill()
		if t.Failed() {
			t.Fatalf("the server said:\n%s", &p.log)
		}
	}
	if redeemed == 0 {
		t.Error("no code was redeemed in any storm: nothing was tested")
	}
	// Each sign-in and each end of one was written down before its answer.
	log, err := audit.Verify(filepath.Join(dir, "data", "audit"))
	if err != nil || log.Breaks != 0 || log.Entries < uint64(2*crashDevices+redeemed) {
		t.Errorf("after the crashes the audit log is %+v, %v, want it whole, with %d sign-ins and %d ends of them", log, err, crashDevices+redeemed, crashDevices)
	}
}

// A guess that was answered counts after SIGKILL: otherwise whoever can crash the
// server could guess on.
func TestCrashForgivesNoGuess(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" || runtime.GOOS == "js" {
		t.Skipf("%s has no SIGKILL", runtime.GOOS)
	}
	dir := t.TempDir()
	writeSouk(t, dir, strings.Replace(crashConfig, "attempts_account = 1000", "attempts_account = 3", 1))
	client := &http.Client{Timeout: bound, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	guess := func(p *soukProcess, password string) int {
		t.Helper()
		res, err := client.Get(p.Public + "/oauth/authorize?" + url.Values{
			"client_id": {"browser"}, "response_type": {"code"}, "redirect_uri": {"app-distribution-oauth://"},
			"code_challenge": {crashChallenge}, "code_challenge_method": {"S256"}, "state": {"s"},
		}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(res.Body)
		res.Body.Close()
		sealed := transaction.FindSubmatch(page)
		if err != nil || sealed == nil {
			t.Fatalf("the sign-in page answered %d and has no form: %v", res.StatusCode, err)
		}
		res, err = client.PostForm(p.Public+"/oauth/authorize", url.Values{
			"transaction": {html.UnescapeString(string(sealed[1]))}, "field_email": {"alice@example.com"}, "field_password": {password},
		})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for i := range 3 {
		p := startSouk(t, dir)
		if i == 0 {
			if _, err := p.admin("PUT", "/api/people/alice@example.com", `{"password": "`+crashPassword+`"}`); err != nil {
				t.Fatal(err)
			}
		}
		if status := guess(p, "a guess"); status != 200 {
			t.Errorf("guess %d was answered %d, want the page again", i+1, status)
		}
		p.kill()
	}
	p := startSouk(t, dir)
	if status := guess(p, crashPassword); status != 429 {
		t.Errorf("after three guesses and three crashes the right password was answered %d, want 429", status)
	}
	p.kill()
}

// crashProvision signs all devices in with tokens of install links.
func crashProvision(t *testing.T, p *soukProcess, c *crashClient) []*crashDevice {
	t.Helper()
	const accessToken = "urn:ietf:params:oauth:token-type:access_token"
	devices := make([]*crashDevice, crashDevices)
	crashEach(t, crashDevices, func(i int) error {
		text, err := p.admin("POST", fmt.Sprintf("/api/accounts/person-%d@example.com/subject-token", i), "")
		if err != nil {
			return err
		}
		var link struct{ Token string }
		if err := json.Unmarshal(text, &link); err != nil {
			return err
		}
		d := &crashDevice{id: fmt.Sprint("device-", i), successor: map[string]crashPair{}}
		devices[i] = d
		got, err := c.tokens(url.Values{
			"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token": {link.Token}, "subject_token_type": {accessToken}, "client_id": {d.id},
		})
		if err != nil {
			return err
		}
		return d.learn("", got)
	})
	return devices
}

// crashMint signs somebody in on the page, once for each code.
func crashMint(t *testing.T, c *crashClient, round int) []*crashCode {
	t.Helper()
	codes := make([]*crashCode, crashCodes)
	crashEach(t, crashCodes, func(i int) error {
		code := &crashCode{device: fmt.Sprintf("browser-%d-%d", round, i)}
		codes[i] = code
		res, err := c.http.Get(c.base + "/oauth/authorize?" + url.Values{
			"client_id": {code.device}, "response_type": {"code"}, "redirect_uri": {"app-distribution-oauth://"},
			"code_challenge": {crashChallenge}, "code_challenge_method": {"S256"}, "state": {"s"},
		}.Encode())
		if err != nil {
			return err
		}
		page, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return err
		}
		sealed := transaction.FindSubmatch(page)
		if sealed == nil {
			return fmt.Errorf("the sign-in page answered %d and has no form: %s", res.StatusCode, page)
		}
		res, err = c.http.PostForm(c.base+"/oauth/authorize", url.Values{
			"transaction": {html.UnescapeString(string(sealed[1]))}, "field_email": {"alice@example.com"}, "field_password": {crashPassword},
		})
		if err != nil {
			return err
		}
		res.Body.Close()
		back, err := url.Parse(res.Header.Get("Location"))
		if err != nil || back.Query().Get("code") == "" {
			return fmt.Errorf("the sign-in was answered %d and leads to %q", res.StatusCode, back)
		}
		code.code = back.Query().Get("code")
		return nil
	})
	return codes
}

// crashStorm lets all devices refresh again and again, some of them redeem a
// code on the way, and kills the server after so many answers.
func crashStorm(t *testing.T, p *soukProcess, c *crashClient, devices []*crashDevice, codes []*crashCode, kill int64) int64 {
	t.Helper()
	var acknowledged atomic.Int64
	enough := make(chan struct{})
	var wg sync.WaitGroup
	for i, d := range devices {
		stopAt := int64(math.MaxInt64)
		if d.quiet = i%crashQuiet == 0; d.quiet {
			stopAt = kill - 2*int64(i)
		}
		wg.Go(func() {
			for n := 0; n < 2 || acknowledged.Load() < stopAt; n++ {
				// The first code at once, the last when the crash is due.
				if i < len(codes) && !codes[i].sent && acknowledged.Load() >= kill*int64(i)/int64(len(codes)-1) {
					if !crashRedeem(t, c, codes[i]) {
						return
					}
				}
				used := d.Refresh
				got, err := c.tokens(refreshForm(used))
				if errors.Is(err, errCrashLost) {
					d.quiet = false
					return
				}
				if err == nil {
					err = d.learn(used, got)
				}
				if err != nil {
					t.Errorf("in the storm: %v", err)
					return
				}
				if acknowledged.Add(1) == kill {
					close(enough)
				}
			}
		})
	}
	select {
	case <-enough:
	case <-p.ended:
		t.Errorf("the server ended by itself:\n%s", &p.log)
	case <-time.After(bound):
		t.Errorf("the storm had %d answers after %v, want %d", acknowledged.Load(), bound, kill)
	}
	p.kill()
	wg.Wait()
	return acknowledged.Load()
}

// crashRedeem redeems a code in the storm and reports whether it got an answer.
func crashRedeem(t *testing.T, c *crashClient, code *crashCode) bool {
	t.Helper()
	code.sent = true
	got, err := c.tokens(code.form())
	switch {
	case err == nil:
		code.answered, code.crashPair = true, got
	case !errors.Is(err, errCrashLost):
		t.Errorf("redeem the code of %s: %v", code.device, err)
	}
	return err == nil
}

// crashCheckDevices lets every device go on from the newest token that it was
// given, and returns how many had lost an answer to a refresh that was made.
func crashCheckDevices(t *testing.T, c *crashClient, devices []*crashDevice, killed int64) int {
	t.Helper()
	var lost atomic.Int64
	crashEach(t, len(devices), func(i int) error {
		d := devices[i]
		if d.quiet { // its last refresh is there, and no other: a retry has the same answer
			again, err := c.tokens(refreshForm(d.history[len(d.history)-2]))
			if err != nil || again != d.crashPair {
				return fmt.Errorf("device %s, retrying its last acknowledged refresh: other tokens than before the crash, or %v", d.id, err)
			}
		}
		used := d.Refresh
		first, err := c.tokens(refreshForm(used))
		if err != nil {
			return fmt.Errorf("device %s, with its newest acknowledged refresh token: %w", d.id, err)
		}
		if first.issued() <= killed {
			lost.Add(1)
		}
		// Was it used before the crash, this was a retry; now it surely is one.
		again, err := c.tokens(refreshForm(used))
		if err != nil || again != first {
			return fmt.Errorf("device %s: a retry was answered with other tokens, or %v", d.id, err)
		}
		if err := d.learn(used, first); err != nil {
			return err
		}
		next, err := c.tokens(refreshForm(first.Refresh))
		if err != nil {
			return fmt.Errorf("device %s, after the retry: %w", d.id, err)
		}
		return d.learn(first.Refresh, next)
	})
	return int(lost.Load())
}

// crashCheckCodes redeems every code once more, and returns for how many an
// answer had come and for how many none.
func crashCheckCodes(t *testing.T, c *crashClient, codes []*crashCode) (spent, unknown int) {
	t.Helper()
	for _, code := range codes {
		if !code.answered {
			got, err := c.tokens(code.form())
			switch {
			case err == nil:
				code.crashPair = got
			case !code.sent:
				t.Errorf("a code that was never sent, after the crash: %v", err)
			}
		}
		status, p, err := c.ask(code.form())
		if err != nil || status != 400 || p.Error != "invalid_grant" {
			t.Errorf("a spent code (answered before the crash: %v) was answered %d %q %v, want 400 invalid_grant", code.answered, status, p.Error, err)
		}
		if code.Refresh != "" { // the second use has ended what the first began
			if status, p, err := c.ask(refreshForm(code.Refresh)); err != nil || status != 400 || p.Error != "invalid_grant" {
				t.Errorf("the refresh token of a code that was redeemed twice was answered %d %q %v, want 400 invalid_grant", status, p.Error, err)
			}
		}
		switch {
		case code.answered:
			spent++
		case code.sent:
			unknown++
		}
	}
	return spent, unknown
}

// crashCheckReuse uses old tokens of some devices: crashes have not made them
// good again, and using them ends the family.
func crashCheckReuse(t *testing.T, c *crashClient, devices []*crashDevice) {
	t.Helper()
	crashEach(t, len(devices), func(i int) error {
		d := devices[i]
		old := d.history[i*(len(d.history)-2)/len(devices)]
		for _, token := range []string{old, d.Refresh} {
			status, p, err := c.ask(refreshForm(token))
			if err != nil || status != 400 || p.Error != "invalid_grant" {
				return fmt.Errorf("device %s: after a reuse a refresh was answered %d %q %v, want 400 invalid_grant", d.id, status, p.Error, err)
			}
		}
		return nil
	})
}

// crashEach does something for each of n at the same time.
func crashEach(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
