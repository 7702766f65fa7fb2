package cases

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// requestKeys are those of what is asked; those of other hooks are refused.
var requestKeys = slices.Concat(headKeys, []string{"apps"}, signInKeys, exchangeKeys)

var (
	headKeys = []string{
		"hook", "purpose", "account", "client", "platform", "os", "territory", "bucket_key", "organization", "grants", "now", "seed",
	}
	signInKeys   = []string{"method", "attempts", "login_hint", "client_name", "locale", "address", "state", "fields"}
	exchangeKeys = []string{"subject_token", "subject_token_type"}

	entitleAppKeys = []string{"item", "version", "devices", "devices_item", "bundle_id"}
	selectAppKeys  = []string{"item", "installed", "bundle_id", "channel", "candidates"}
	candidateKeys  = []string{
		"version", "short", "build", "released", "min_os", "rollout", "salt", "channel", "newest", "critical", "delta", "halted", "requested",
	}
)

// The words of the file.
var (
	hookWords     = []string{"entitle", "select_version", "sign_in", "exchange"}
	purposeWords  = []string{"update", "restore", "license", "install_token", "sign_in", "exchange", "oauth_app"}
	platformWords = []string{"ios", "ipados"}
	methodWords   = []string{"show", "submit", "cancel", "callback"}
)

var purposes = []abi.Purpose{
	abi.PurposeUpdate, abi.PurposeRestore, abi.PurposeLicense, abi.PurposeInstallToken, abi.PurposeSignIn, abi.PurposeExchange, abi.PurposeOAuthApp,
}

// What a case asks that says nothing else.
const (
	defaultAccount   = "alice@example.com"
	defaultClient    = "0123456789abcdef0123456789abcdef" // the form of a device's
	defaultOS        = "18.1"
	defaultMinOS     = "17.4" // the first system with marketplaces
	defaultItem      = 1_000_001
	defaultTokenType = "urn:ietf:params:oauth:token-type:access_token"
)

var defaultNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// question is what one step asks.
type question struct {
	hook      abi.Hook
	head      abi.Head
	entitle   []abi.EntitleApp
	selection []abi.SelectVersionApp
	signIn    abi.SignInRequest   // without its head
	carry     bool                // the state is the one that the step before answered
	exchange  abi.ExchangeRequest // without its head
}

// apps is how many answers there are.
func (q *question) apps() int {
	switch q.hook {
	case abi.HookEntitle:
		return len(q.entitle)
	case abi.HookSelectVersion:
		return len(q.selection)
	}
	return 1
}

func (t table) question() question {
	q := question{hook: word(t, "hook", hookWords, abi.Hooks[:], 0)}
	if q.hook == 0 {
		t.d.fail(t.path, "hook", "is missing: write one of %s, here or once below [defaults]", list(hookWords))
		return q
	}
	t.refuseOthers(q.hook)
	t.head(&q)
	switch q.hook {
	case abi.HookEntitle:
		q.entitle = t.entitleApps(q.head.Purpose)
	case abi.HookSelectVersion:
		q.selection = t.selectApps(q.head.NowMS, q.head.Purpose)
	case abi.HookSignIn:
		q.signIn, q.carry = t.signIn()
	case abi.HookExchange:
		q.exchange = abi.ExchangeRequest{
			SubjectToken: t.text("subject_token", ""), SubjectTokenType: t.text("subject_token_type", defaultTokenType),
		}
	}
	return q
}

// refuseOthers names a key that another hook has: it would say nothing here.
func (t table) refuseOthers(hook abi.Hook) {
	asked := map[abi.Hook][]string{
		abi.HookEntitle: {"apps"}, abi.HookSelectVersion: {"apps"}, abi.HookSignIn: signInKeys, abi.HookExchange: exchangeKeys,
	}[hook]
	for _, key := range sortedKeys(t.m) {
		if slices.Contains(requestKeys, key) && !slices.Contains(headKeys, key) && !slices.Contains(asked, key) {
			t.d.fail(t.path, key, "is not part of what %s asks: that is %s", hook, list(asked))
		}
	}
}

func (t table) head(q *question) {
	purpose := map[abi.Hook]abi.Purpose{abi.HookSignIn: abi.PurposeSignIn, abi.HookExchange: abi.PurposeExchange}[q.hook]
	if purpose == 0 {
		purpose = abi.PurposeUpdate
	}
	account := defaultAccount
	if q.hook == abi.HookSignIn || q.hook == abi.HookExchange {
		account = "" // that is the question
	}
	h := &q.head
	h.Purpose = word(t, "purpose", purposeWords, purposes, purpose)
	h.NowMS = uint64(t.time("now", defaultNow).UnixMilli())
	h.Seed = t.number("seed", math.MaxUint64, 1)
	h.Account = t.text("account", account)
	h.Client = t.text("client", defaultClient)
	h.Platform = word(t, "platform", platformWords, []abi.Platform{abi.PlatformIOS, abi.PlatformIPadOS}, abi.PlatformIOS)
	h.OS = t.system("os", defaultOS)
	h.Territory = t.text("territory", "")
	h.BucketKey = t.text("bucket_key", h.Account)
	h.Organization = t.text("organization", "")
	h.Grants = t.texts("grants")
}

// system reads a version like "18.1.2"; "" is one that is not known.
func (t table) system(key, absent string) uint32 {
	s := t.text(key, absent)
	if s == "" {
		return 0
	}
	var v uint32
	parts := strings.Split(s, ".")
	for i, bits := range []int{16, 8, 8} {
		var n uint64
		if i < len(parts) {
			var err error
			if n, err = strconv.ParseUint(parts[i], 10, bits); err != nil || len(parts) > 3 {
				t.bad(key, `a version like "18.1"`)
				return 0
			}
		}
		v = v<<min(bits, 8) | uint32(n)
	}
	return v
}

// appList reads the tables of the apps; left out it is one app with its defaults.
func (t table) appList(keys []string) []table {
	all := t.list("apps")
	if _, there := t.m["apps"]; there && len(all) == 0 {
		t.d.fail(t.path, "apps", "is empty: nothing would be asked")
	} else if !there {
		all = []any{map[string]any{}}
	}
	var apps []table
	for i, v := range all {
		apps = append(apps, t.d.table(join(t.path, fmt.Sprintf("apps[%d]", i)), v, keys...))
	}
	return apps
}

func (t table) entitleApps(purpose abi.Purpose) []abi.EntitleApp {
	version := uint64(1)
	if purpose == abi.PurposeUpdate || purpose == abi.PurposeRestore {
		version = 0 // asked before the choice
	}
	var apps []abi.EntitleApp
	for i, a := range t.appList(entitleAppKeys) {
		apps = append(apps, abi.EntitleApp{
			Item: a.number("item", math.MaxUint64, defaultItem+uint64(i)), Version: a.number("version", math.MaxUint64, version),
			Devices: uint32(a.number("devices", math.MaxUint32, 0)), DevicesItem: uint32(a.number("devices_item", math.MaxUint32, 0)),
			BundleID: a.text("bundle_id", fmt.Sprintf("com.example.app%d", i+1)),
		})
	}
	return apps
}

func (t table) selectApps(nowMS uint64, purpose abi.Purpose) []abi.SelectVersionApp {
	installed := uint64(0)
	if purpose == abi.PurposeUpdate {
		installed = 1 // the candidates are numbered from 2
	}
	var apps []abi.SelectVersionApp
	for i, a := range t.appList(selectAppKeys) {
		if _, there := a.m["candidates"]; !there {
			t.d.fail(t.path, "apps", "names no candidates: write apps = [{ candidates = [\"3.1.0\", \"3.0.0\"] }], the newest first")
		}
		app := abi.SelectVersionApp{
			Item: a.number("item", math.MaxUint64, defaultItem+uint64(i)), Installed: a.number("installed", math.MaxUint64, installed),
			BundleID: a.text("bundle_id", fmt.Sprintf("com.example.app%d", i+1)), Channel: a.text("channel", ""),
		}
		candidates := a.list("candidates")
		for j, v := range candidates {
			if short, ok := v.(string); ok {
				v = map[string]any{"short": short}
			}
			c := t.d.table(fmt.Sprintf("%s.candidates[%d]", a.path, j), v, candidateKeys...)
			app.Candidates = append(app.Candidates, c.candidate(app.Item, j, len(candidates), nowMS))
		}
		apps = append(apps, app)
	}
	return apps
}

// candidate reads the candidate j of n. Left out, its version is 2 for the oldest
// and one more for each newer one, and it was released j+1 days ago.
func (t table) candidate(item uint64, j, n int, nowMS uint64) abi.Candidate {
	const day = 24 * time.Hour
	version := t.number("version", math.MaxUint64, uint64(n-j+1))
	released := time.UnixMilli(int64(nowMS)).Add(-time.Duration(j+1) * day)
	c := abi.Candidate{
		Version: version, ReleasedMS: uint64(max(0, t.time("released", released).UnixMilli())), MinOS: t.system("min_os", defaultMinOS),
		Rollout: t.share("rollout"), Salt: t.text("salt", fmt.Sprintf("%d/%d", item, version)),
		Short: t.text("short", strconv.FormatUint(version, 10)), Build: t.text("build", strconv.FormatUint(version, 10)),
		Channel: t.text("channel", ""),
	}
	for _, f := range []struct {
		key    string
		flag   abi.CandidateFlags
		absent bool
	}{
		{"newest", abi.FlagNewest, j == 0}, {"critical", abi.FlagCritical, false}, {"delta", abi.FlagDelta, false},
		{"halted", abi.FlagHalted, false}, {"requested", abi.FlagRequested, false},
	} {
		if t.yes(f.key, f.absent) {
			c.Flags |= f.flag
		}
	}
	return c
}

// share reads "12.5%", or basis points as the record has them.
func (t table) share(key string) uint32 {
	v, there := t.m[key]
	if !there {
		return abi.Buckets
	}
	if n, ok := v.(int64); ok && n >= 0 && n <= abi.Buckets {
		return uint32(n)
	}
	if s, ok := v.(string); ok && strings.HasSuffix(s, "%") {
		percent, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
		if points := percent * 100; err == nil && points >= 0 && points <= abi.Buckets && math.Abs(points-math.Round(points)) < 1e-6 {
			return uint32(math.Round(points))
		}
	}
	t.bad(key, fmt.Sprintf(`a share like "10%%", or 0 to %d`, abi.Buckets))
	return 0
}

func (t table) signIn() (r abi.SignInRequest, carry bool) {
	r = abi.SignInRequest{
		Method: word(t, "method", methodWords,
			[]abi.SignInMethod{abi.SignInShow, abi.SignInSubmit, abi.SignInCancel, abi.SignInCallback}, abi.SignInShow),
		Attempts: uint32(t.number("attempts", math.MaxUint32, 0)), LoginHint: t.text("login_hint", ""), ClientName: t.text("client_name", ""),
		Locale: t.text("locale", "en"), Address: t.text("address", "192.0.2.1"), State: t.text("state", ""),
	}
	if v, there := t.m["fields"]; there {
		m := t.open("fields", v)
		for _, name := range sortedKeys(m) {
			value, ok := m[name].(string)
			if !ok {
				t.d.fail(join(t.path, "fields"), name, "is %s: it has to be a text in quotes, what the person typed", kind(m[name]))
			}
			r.Fields = append(r.Fields, abi.SubmittedField{Name: name, Value: value})
		}
	}
	_, given := t.m["state"]
	return r, !given
}
