package coretest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
)

// Apple, "Installing your app from your website": every field but appShareURL is
// a text that has to be there, and the list too.
func TestUpdateIsOffered(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	a := ask(t, s, "/updates", access, appsBody("iOS", deviceOS, notesOld, skyApp))
	a.json(t, "updates")
	g := a.apps(t, "updates")
	g.gives(t, "an update", []app{notesNew})
	if len(g.Updates) != 1 {
		return
	}
	raw := a.object(t)["updates"].([]any)[0].(map[string]any)
	for _, key := range []string{"appleItemId", "appleVersionId", "alternativeDistributionPackage", "bundleVersion", "shortVersionString", "installVerificationToken", "appShareURL"} {
		if v, ok := raw[key].(string); !ok || v == "" {
			t.Errorf("updates[0].%s is %v, want a text", key, raw[key])
		}
	}
	if len(raw) != 7 {
		t.Errorf("updates[0] is %v, want the seven documented keys", raw)
	}
	u := g.Updates[0]
	if u.Bundle == nil || *u.Bundle != "7" || u.Short == nil || *u.Short != "3.2" || u.Share != "https://market.example.com/apps/notes" {
		t.Errorf("the update %+v has not the versions 7 and 3.2 and the page of the app", u)
	}
	if want := s.PublicURL() + "/packages/" + coretest.NotesItem + "/" + coretest.NotesNew; u.Package != want {
		t.Errorf("the package is at %s, want %s", u.Package, want)
	}
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	s := shared(t)
	access := deviceOf(t, s, coretest.Alice).access
	for _, test := range []struct {
		name        string
		os          string
		asked, want []app
		failed      []app
	}{
		{"the newest is installed", "26.1", []app{notesNew}, nil, nil},
		{"a newer one than ours is installed", "26.1", []app{{coretest.NotesItem, "2999999"}}, nil, nil},
		{"a version that nobody knows, older than ours", "26.1", []app{{coretest.NotesItem, "1999999"}}, []app{notesNew}, nil},
		{"a version between ours", "26.1", []app{{coretest.NotesItem, "2000021"}}, []app{notesNew}, nil},
		{"the version 0 is not installed", "26.1", []app{{coretest.NotesItem, "0"}}, nil, nil},
		{"no version", "26.1", []app{{Item: coretest.NotesItem}}, nil, nil},
		{"a version that is no number", "26.1", []app{{coretest.NotesItem, "3.1"}}, nil, nil},
		{"the newest wants a newer system", "17.6.1", []app{notesOld}, nil, nil},
		{"the newest that runs on the device", "17.4", []app{{coretest.NotesItem, "1"}}, []app{notesOld}, nil},
		{"nothing runs on the device", "17.3", []app{{coretest.NotesItem, "1"}}, nil, nil},
		{"an app that nobody knows", "26.1", []app{nobodys, notesOld}, []app{notesNew}, []app{nobodys}},
		{"an app without the entitlement", "26.1", []app{{coretest.PlusItem, "1"}, notesOld}, []app{notesNew}, nil},
		{"all apps", "26.1", []app{{coretest.MarketItem, "1"}, notesOld, {coretest.SkyItem, "1"}}, []app{marketApp, notesNew, skyApp}, nil},
		{"no app", "26.1", nil, nil, nil},
	} {
		updates(t, s, access, test.os, test.asked...).gives(t, test.name, test.want, test.failed...)
	}
}

// What the operator does is seen by the next check.
func TestUpdatesFollowTheCatalogue(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	access := deviceOf(t, s, coretest.Alice).access
	old := app{coretest.NotesItem, "2000020"}
	version := "/api/apps/" + coretest.NotesItem + "/versions/" + coretest.NotesNew
	check := func(what string, want []app, failed ...app) {
		t.Helper()
		updates(t, s, access, deviceOS, old).gives(t, what, want, failed...)
	}
	check("before", []app{notesNew})
	s.Must(t, http.MethodPut, version+"/rollout", map[string]bool{"halted": true})
	check("while the newest is halted", []app{notesOld})
	updates(t, s, access, deviceOS, notesOld).gives(t, "while all that is newer is halted", nil)
	s.Must(t, http.MethodPut, version+"/rollout", map[string]bool{"halted": false})
	s.Must(t, http.MethodPut, version+"/withdrawn", map[string]bool{"withdrawn": true})
	check("after the newest was withdrawn", []app{notesOld})
	s.Must(t, http.MethodPut, version+"/withdrawn", map[string]bool{"withdrawn": false})
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/takedown", map[string]string{"reason": "court order"})
	check("after the app was taken down", nil, old)
	s.Must(t, http.MethodDelete, "/api/apps/"+coretest.NotesItem+"/takedown", nil)
	check("after it came back", []app{notesNew})
}

// A device that was offered a version keeps being offered it while the share
// grows, and another share of the devices is in the next rollout.
func TestRolloutIsSticky(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	var devices []string
	for i := range 40 {
		devices = append(devices, deviceOf(t, s, fmt.Sprintf("person-%d@example.com", i)).access)
	}
	share := func(n int) {
		t.Helper()
		s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]int{"share": n})
	}
	offered := func() (who []int) {
		t.Helper()
		for i, access := range devices {
			if len(updates(t, s, access, deviceOS, notesOld).Updates) == 1 {
				who = append(who, i)
			}
		}
		return who
	}
	share(0)
	if who := offered(); len(who) > 0 {
		t.Errorf("a rollout to nobody is offered to %v", who)
	}
	share(5000)
	half := offered()
	if len(half) < 8 || len(half) > 32 {
		t.Errorf("a rollout to a half is offered to %d of 40", len(half))
	}
	if again := offered(); !slices.Equal(half, again) {
		t.Errorf("the same rollout is offered to %v and then to %v", half, again)
	}
	share(8000)
	most := offered()
	for _, i := range half {
		if !slices.Contains(most, i) {
			t.Errorf("device %d lost its offer when the share grew", i)
		}
	}
	share(10000)
	if all := offered(); len(all) != 40 {
		t.Errorf("a rollout to everyone is offered to %d of 40", len(all))
	}
}

// Nobody in particular falls into no bucket.
func TestAnonymousDevicesWaitForTheWholeRollout(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	old := app{coretest.SkyItem, "2000040"}
	for share, want := range map[int][]app{0: nil, 9999: nil, 10000: {skyApp}} {
		s.Must(t, http.MethodPut, "/api/apps/"+coretest.SkyItem+"/versions/"+coretest.SkyVersion+"/rollout", map[string]int{"share": share})
		updates(t, s, "", deviceOS, old).gives(t, fmt.Sprintf("a share of %d", share), want)
	}
}

// Apple, "Reauthenticating a person to manage apps": the update check in the
// background refreshes by itself and asks exactly once more.
func TestUpdateCheckWithAnExpiredTokenIsRecovered(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, quick)
	held := deviceOf(t, s, coretest.Alice)
	s.Clock.Advance(73 * time.Hour)
	for _, wanted := range []app{notesOld, notesNew} {
		if a := ask(t, s, "/updates", held.access, appsBody("iOS", deviceOS, wanted)); a.status != 403 {
			t.Errorf("an update check with an expired token answered %d, want 403", a.status)
		}
	}
	next := refresh(t, s, held.refresh).granted(t, "refresh without client_id")
	updates(t, s, next.access, deviceOS, notesOld).gives(t, "the check after the refresh", []app{notesNew})
	updates(t, s, next.access, deviceOS, notesNew).gives(t, "a check without news", nil)
}

// Without any plugin everyone who is signed in is entitled and the newest version
// that fits is offered.
func TestMarketWithoutPlugins(t *testing.T) {
	t.Parallel()
	s := coretest.Empty(t, func(c *core.Config) { quick(c); c.Plugin = nil })
	for _, it := range coretest.Catalogue() {
		if _, err := s.Catalog.Put(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	access := deviceOf(t, s, coretest.Alice).access
	updates(t, s, access, deviceOS, notesOld, app{coretest.PlusItem, "1"}).gives(t, "updates", []app{notesNew, plusApp})
	restore(t, s, access, "17.4", notesNew).gives(t, "restore", []app{notesOld})
	for path, list := range map[string]string{"/restore": "restores", "/install-token": "installs"} {
		ask(t, s, path, access, appsBody("iOS", deviceOS, notesOld)).apps(t, list).gives(t, path+" for an older version", []app{notesOld})
	}
	r := deviceSignIn("")
	q := get(t, authorizeURL(s, r.query())).led(t, r.redirect)
	if q.Get("error") != "access_denied" || q.Get("state") != r.state {
		t.Errorf("sign-in where nobody can sign in led to %v, want access_denied", q)
	}
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]int{"share": 0})
	updates(t, s, access, deviceOS, notesOld).gives(t, "a version that is open to nobody", nil)
	// Who had a version before it was halted gets it back, others don't.
	s.Must(t, http.MethodPut, "/api/apps/"+coretest.NotesItem+"/versions/"+coretest.NotesNew+"/rollout", map[string]any{"share": 10000, "halted": true})
	updates(t, s, access, deviceOS, notesOld).gives(t, "an update to a halted version", nil)
	restore(t, s, access, deviceOS, notesNew).gives(t, "restore of a halted version", []app{notesNew})
	restore(t, s, access, deviceOS, app{coretest.NotesItem, "1"}).gives(t, "restore of another version", []app{notesOld})
}
