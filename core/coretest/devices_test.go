package coretest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
)

// limited runs a server with the plugin quota in front of the others.
func limited(t *testing.T, config map[string]any) *coretest.Server {
	t.Helper()
	return limitedOn(t, core.DurabilityProcess, config)
}

// slow is limited where each write waits for the disk, so that requests which come
// at once are in each other's way.
func slow(t *testing.T, config map[string]any) *coretest.Server {
	t.Helper()
	return limitedOn(t, core.DurabilityPower, config)
}

func limitedOn(t *testing.T, durability string, config map[string]any) *coretest.Server {
	t.Helper()
	return coretest.Start(t, func(c *core.Config) {
		c.Store.Durability = durability
		quota := plugin.DefaultSpec()
		quota.Name, quota.Wasm, quota.Config = "quota", plugins.Quota, config
		quota.Deadline *= 50 // as in coretest.Plugins
		quota.StartDeadline *= 30
		c.Plugin = append([]plugin.Spec{quota}, c.Plugin...)
	})
}

// signedIn is a sign-in of a client by way of a link.
func signedIn(t testing.TB, s *coretest.Server, account, client string) tokens {
	t.Helper()
	return token(t, s, exchangeForm(s.SubjectToken(t, account), client)).granted(t, "exchange for "+account)
}

// devicesOf are so many devices that are signed in to an account.
func devicesOf(t testing.TB, s *coretest.Server, account string, n int) []tokens {
	t.Helper()
	devices := make([]tokens, n)
	atOnce(n, func(i int) { devices[i] = deviceOf(t, s, account) })
	return devices
}

// install asks for install tokens.
func install(t testing.TB, s *coretest.Server, access string, apps ...app) given {
	t.Helper()
	return ask(t, s, "/install-token", access, appsBody("iOS", deviceOS, apps...)).apps(t, "installs")
}

// holding is what the devices of an account hold, as the admin API tells it.
func holding(t testing.TB, s *coretest.Server, account string) string {
	t.Helper()
	var a struct {
		Devices []struct {
			Device string
			Items  []string
		}
	}
	if err := json.Unmarshal(s.Must(t, http.MethodGet, "/api/accounts/"+url.PathEscape(account), nil), &a); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range a.Devices {
		if len(d.Device) != 32 {
			t.Errorf("device %q has no 32 digits", d.Device)
		}
		all = append(all, strings.Join(d.Items, "+"))
	}
	return strings.Join(all, " ")
}

func endSessions(t testing.TB, s *coretest.Server, account string, which string) {
	t.Helper()
	s.Must(t, http.MethodDelete, "/api/accounts/"+url.PathEscape(account)+which, nil)
}

// The first devices get the app and keep it; the next one has to wait until a
// sign-in has ended, in whichever way.
func TestDevicesUpToTheLimit(t *testing.T) {
	t.Parallel()
	const account = "many@example.com"
	for _, test := range []struct {
		name string
		ends func(t *testing.T, s *coretest.Server, client string, first tokens)
		left string // what is held by then
	}{
		{"one sign-in is ended", func(t *testing.T, s *coretest.Server, client string, _ tokens) {
			all := sessionsOf(t, s, account)
			i := slices.IndexFunc(all, func(one session) bool { return one.Client == client })
			endSessions(t, s, account, "/sessions/"+all[i].ID)
		}, "1000002"},
		{"the sign-ins of a device are ended", func(t *testing.T, s *coretest.Server, client string, _ tokens) {
			endSessions(t, s, account, "/clients/"+client)
		}, "1000002"},
		{"its refresh token is used twice", func(t *testing.T, s *coretest.Server, _ string, first tokens) {
			second := refresh(t, s, first.refresh).granted(t, "refresh")
			refresh(t, s, second.refresh).granted(t, "refresh")
			refresh(t, s, first.refresh).refused(t, "reuse", 400, "invalid_grant")
		}, "1000002"},
		{"the account is signed out everywhere", func(t *testing.T, s *coretest.Server, _ string, _ tokens) {
			endSessions(t, s, account, "/sessions")
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := limited(t, map[string]any{"per_item": 2})
			first := deviceOf(t, s, account)
			client := sessionsOf(t, s, account)[0].Client
			second, third := deviceOf(t, s, account), deviceOf(t, s, account)
			install(t, s, first.access, notesNew).gives(t, "the first device", []app{notesNew})
			install(t, s, second.access, notesNew).gives(t, "the second device", []app{notesNew})
			install(t, s, third.access, notesNew, marketApp).gives(t, "the third device", []app{marketApp}, notesNew)
			if got := holding(t, s, account); got != "1000002 1000002 1000001" {
				t.Errorf("the devices hold %q", got)
			}
			for range 2 {
				install(t, s, first.access, notesNew).gives(t, "the first device once more", []app{notesNew})
				install(t, s, second.access, notesNew).gives(t, "the second device once more", []app{notesNew})
			}
			restore(t, s, second.access, deviceOS, notesOld).gives(t, "a restore of one that holds it", []app{notesOld})
			restore(t, s, third.access, deviceOS, notesOld).gives(t, "a restore of one that doesn't", nil, notesOld)
			updates(t, s, third.access, deviceOS, notesOld).gives(t, "an update is never refused", []app{notesNew})

			test.ends(t, s, client, first)
			if got := strings.TrimSuffix(holding(t, s, account), " 1000001"); got != test.left {
				t.Errorf("after that the devices hold %q, want %q", got, test.left)
			}
			if test.left == "" {
				second, third = deviceOf(t, s, account), deviceOf(t, s, account)
				install(t, s, second.access, notesNew).gives(t, "the second device, signed in again", []app{notesNew})
			}
			restore(t, s, third.access, deviceOS, notesOld).gives(t, "a restore of the third, which holds nothing yet", []app{notesOld})
			install(t, s, third.access, notesNew).gives(t, "the third device now", []app{notesNew})
			fourth := deviceOf(t, s, account)
			install(t, s, fourth.access, notesNew).gives(t, "a fourth device", nil, notesNew)
			s.Restart(t)
			install(t, s, fourth.access, notesNew).gives(t, "a fourth device after a restart", nil, notesNew)
			install(t, s, third.access, notesNew).gives(t, "the third device after a restart", []app{notesNew})
		})
	}
}

// Nobody sees a sign-in expire: it is found out when devices are counted.
func TestAnExpiredSignInFreesItsPlace(t *testing.T) {
	t.Parallel()
	const account = "idle@example.com"
	s := limited(t, map[string]any{"per_account": 2})
	first, second, third := deviceOf(t, s, account), deviceOf(t, s, account), deviceOf(t, s, account)
	install(t, s, first.access, notesNew).gives(t, "the first device", []app{notesNew})
	install(t, s, second.access, marketApp).gives(t, "the second device", []app{marketApp})
	for range 3 { // 180 days without a sign from the first
		install(t, s, third.access, notesNew).gives(t, "the third device", nil, notesNew)
		s.Clock.Advance(61 * 24 * time.Hour)
		second, third = refresh(t, s, second.refresh).granted(t, "refresh"), refresh(t, s, third.refresh).granted(t, "refresh")
	}
	install(t, s, third.access, notesNew).gives(t, "the third device when the first is gone", []app{notesNew})
	if got := holding(t, s, account); got != "1000001 1000002" {
		t.Errorf("the devices hold %q, want the second and the third", got)
	}
	install(t, s, deviceOf(t, s, account).access, notesNew).gives(t, "a fourth device", nil, notesNew)
}

// What an install token finds out holds for what follows, also where it takes no
// place itself: the device has it already.
func TestAnExpiredSignInIsForgotten(t *testing.T) {
	t.Parallel()
	s := limited(t, map[string]any{"per_item": 1})
	v := newVisitor(t, s)
	link := v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)
	install(t, s, deviceOf(t, s, coretest.Alice).access, notesNew).gives(t, "the first device", []app{notesNew})
	second := token(t, s, exchangeForm(link["token"], newClientID())).granted(t, "exchange of a link that was there before")
	for range 3 { // 180 days without a sign from the first
		restore(t, s, second.access, deviceOS, notesNew).gives(t, "a restore beside the first device", nil, notesNew)
		s.Clock.Advance(61 * 24 * time.Hour)
		second = refresh(t, s, second.refresh).granted(t, "refresh")
	}
	install(t, s, second.access, notesNew).gives(t, "the second device when the first is gone", []app{notesNew})
	restore(t, s, second.access, deviceOS, notesNew).gives(t, "a restore of the only device", []app{notesNew})
	if got := holding(t, s, coretest.Alice); got != coretest.NotesItem {
		t.Errorf("the devices hold %q, want one with the app", got)
	}
}

// A device that signs in again is the same one; a registered app is one on each
// device. A sign-in beside another takes no place when it ends.
func TestWhatCountsAsADevice(t *testing.T) {
	t.Parallel()
	const account = "two@example.com"
	s := limited(t, map[string]any{"per_account": 2})
	client := newClientID()
	install(t, s, signedIn(t, s, account, client).access, notesNew).gives(t, "a device", []app{notesNew})
	again := signedIn(t, s, account, client)
	install(t, s, again.access, marketApp).gives(t, "the device, signed in again", []app{marketApp})
	endSessions(t, s, account, "/sessions/"+sessionsOf(t, s, account)[0].ID) // one of the two
	if got := holding(t, s, account); got != "1000001+1000002" {
		t.Errorf("after one of two sign-ins of a device has ended, %q is held", got)
	}
	one, two := signedIn(t, s, account, coretest.NativeClient), signedIn(t, s, account, coretest.NativeClient)
	install(t, s, one.access, notesNew).gives(t, "the marketplace app on a phone", []app{notesNew})
	install(t, s, two.access, notesNew).gives(t, "the marketplace app on another", nil, notesNew)
	install(t, s, "", skyApp).gives(t, "nobody", []app{skyApp})
	if got := holding(t, s, account); got != "1000001+1000002 1000002" {
		t.Errorf("%q is held", got)
	}
}

// The link of an install page takes the place of the device that uses it.
func TestALinkTakesAPlace(t *testing.T) {
	t.Parallel()
	s := limited(t, map[string]any{"per_item": 1})
	v := newVisitor(t, s)
	link := v.signIn(t, coretest.NotesItem, coretest.Alice, coretest.AlicePassword).link(t)
	if got := holding(t, s, coretest.Alice); got != "" {
		t.Errorf("a page that was looked at left %q", got)
	}
	client := newClientID()
	phone := token(t, s, exchangeForm(link["token"], client)).granted(t, "exchange of the link")
	if got := holding(t, s, coretest.Alice); got != coretest.NotesItem {
		t.Errorf("after the exchange %q is held, want the app", got)
	}
	restore(t, s, phone.access, deviceOS, notesNew).gives(t, "a restore of that device", []app{notesNew})
	install(t, s, deviceOf(t, s, coretest.Alice).access, notesNew).gives(t, "another device", nil, notesNew)
	if p := v.get(t, installPath(coretest.NotesItem)); len(p.buttons) != 0 || !strings.Contains(p.text, "not available for this account") {
		t.Errorf("the page says %q with the buttons %q, want that the app is not available", p.text, p.buttons)
	}
	endSessions(t, s, coretest.Alice, "/clients/"+clientOf(t, s, phone))
	v.get(t, installPath(coretest.NotesItem)).link(t)
}

// clientOf is the client of the sign-in with these tokens.
func clientOf(t *testing.T, s *coretest.Server, k tokens) string {
	t.Helper()
	a, err := s.OAuth.Ring().VerifyAccess([]byte(k.access), s.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s.OAuth.Clients.Policy(a.Client)
}

// Many devices at once and one place: exactly one gets it, and nobody is told to
// come back later.
func TestRaceForTheLastPlace(t *testing.T) {
	t.Parallel()
	const n = 64
	for _, config := range []map[string]any{{"per_item": 3}, {"per_account": 3}} {
		t.Run(fmt.Sprint(config), func(t *testing.T) {
			s := slow(t, config)
			for round := range 2 {
				account := fmt.Sprintf("race-%d@example.com", round)
				for range 2 {
					install(t, s, deviceOf(t, s, account).access, notesNew).gives(t, "one before the race", []app{notesNew})
				}
				devices := devicesOf(t, s, account, n)
				var won atomic.Int64
				atOnce(n, func(i int) {
					g := install(t, s, devices[i].access, notesNew)
					if won.Add(int64(len(g.Installs))); len(g.Installs)+len(g.Failures) != 1 {
						t.Errorf("device %d got %d apps and %d failures", i, len(g.Installs), len(g.Failures))
					}
				})
				if got := holding(t, s, account); won.Load() != 1 || strings.Count(got, coretest.NotesItem) != 3 {
					t.Errorf("%d of %d devices got the last place, %q is held; want one, and three with it", won.Load(), n, got)
				}
			}
		})
	}
}

// Many devices that are in each other's way all get what no limit refuses.
func TestRaceWithoutALimit(t *testing.T) {
	t.Parallel()
	const n, account = 64, "crowd@example.com"
	s := slow(t, map[string]any{"per_account": 200})
	devices := devicesOf(t, s, account, n)
	atOnce(n, func(i int) {
		install(t, s, devices[i].access, notesNew, marketApp).gives(t, "one of many", []app{notesNew, marketApp})
	})
	if got := strings.Fields(holding(t, s, account)); len(got) != n {
		t.Errorf("%d devices hold something, want %d", len(got), n)
	}
}

// A device that is signed out while it installs holds nothing afterwards.
func TestRaceInstallAgainstSigningOut(t *testing.T) {
	t.Parallel()
	s := slow(t, map[string]any{"per_account": 200})
	for _, way := range []string{"/clients/", "/sessions"} {
		for round := range 5 {
			account := fmt.Sprintf("leaving-%d-%d@example.com", len(way), round)
			const n = 8
			devices := devicesOf(t, s, account, n)
			gone, end := clientOf(t, s, devices[0]), way
			if way == "/clients/" {
				end += gone
			}
			atOnce(n+1, func(i int) {
				if i == n {
					endSessions(t, s, account, end)
					return
				}
				a := ask(t, s, "/install-token", devices[i].access, appsBody("iOS", deviceOS, notesNew))
				if a.status != 200 && (a.status != 403 || way == "/clients/" && i > 0) {
					t.Errorf("device %d answered %d %s amid a sign-out", i, a.status, a.body)
				}
			})
			want := n - 1
			if way == "/sessions" {
				want = 0
			}
			if got := strings.Fields(holding(t, s, account)); len(got) != want {
				t.Errorf("after %s %d devices hold something, want %d", way, len(got), want)
			}
		}
	}
}
