package coretest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/plugins"
)

// A territory is the account's, else what a trusted proxy says, else not known; and
// what then is the operator's to say.
func TestRegions(t *testing.T) {
	t.Parallel()
	s := coretest.Start(t, func(c *core.Config) {
		quick(c)
		c.Server.Proxies, c.Server.TerritoryHeader = []string{"127.0.0.0/8"}, "X-Territory"
		region := plugin.DefaultSpec()
		region.Name, region.Wasm = "region", plugins.Region
		region.Config = map[string]any{"unknown_territory": "deny", "rules": []map[string]any{
			{"name": "Notes", "items": []string{coretest.NotesItem}, "allow_territories": []string{"AUT"}},
			{"items": []string{"com.example.market"}, "deny_territories": []string{"USA"}, "unknown_territory": "allow", "only_new": true},
			{"versions": []string{coretest.SkyVersion}, "max_os": "18"},
		}}
		region.Deadline *= 50 // as in coretest.Plugins
		region.StartDeadline *= 30
		c.Plugin = append([]plugin.Spec{region}, c.Plugin...)
	})
	access := deviceOf(t, s, coretest.Alice).access
	ask := func(path, territory, os string, apps ...app) given {
		t.Helper()
		list := map[string]string{"/restore": "restores", "/updates": "updates", "/install-token": "installs"}[path]
		header := []string{"Authorization", "Bearer " + access}
		if territory != "" {
			header = append(header, "X-Territory", territory)
		}
		return post(t, s.PublicURL()+path, jsonType, appsBody("iOS", os, apps...), header...).apps(t, list)
	}
	both := []app{notesNew, marketApp}
	ask("/install-token", "", deviceOS, both...).gives(t, "nobody knows where", []app{marketApp}, notesNew)
	ask("/install-token", "AUT", deviceOS, both...).gives(t, "a proxy says Austria", both)
	ask("/install-token", "USA", deviceOS, both...).gives(t, "a proxy says the USA", nil, both...)
	ask("/restore", "USA", deviceOS, both...).gives(t, "a restore in the USA", []app{marketApp}, notesNew)
	ask("/updates", "USA", deviceOS, notesOld).gives(t, "an update in the USA", nil)
	ask("/updates", "AUT", deviceOS, notesOld).gives(t, "an update in Austria", []app{notesNew})
	s.Must(t, http.MethodPut, "/api/accounts/"+url.PathEscape(coretest.Alice)+"/territory", map[string]string{"territory": "AUT"})
	ask("/install-token", "USA", deviceOS, both...).gives(t, "the account is Austrian", both)
	ask("/install-token", "", deviceOS, both...).gives(t, "the account is Austrian, and no proxy says more", both)
	ask("/restore", "", "18.6", skyApp).gives(t, "a version on the last system that it is for", []app{skyApp})
	ask("/restore", "", deviceOS, skyApp).gives(t, "a version on a system that is too new", nil, skyApp)
	for _, reason := range []string{
		`reason="Notes: the territory is not known"`, `reason="Notes: the territory USA is not on the list"`,
		`reason="rule 2: the territory USA is on the list"`, `reason="rule 3: the system 26.1 is newer than 18"`,
	} {
		if !strings.Contains(s.Log.String(), reason) {
			t.Errorf("the log lacks %s", reason)
		}
	}
}
