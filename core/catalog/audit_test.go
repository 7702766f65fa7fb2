package catalog_test

import (
	"strings"
	"testing"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/badger"
)

// What is written down of a change says what differs, whoever made it and however.
func TestChangesOfItemsAreWrittenDown(t *testing.T) {
	log, err := audit.Open(audit.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	engine, err := badger.Open(badger.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), engine, store.Config{Audit: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := catalog.Open(t.Context(), s, catalog.Options{PublicURL: "https://market.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	version := func(id uint64) catalog.Version {
		return catalog.Version{ID: id, Short: "1.0", Build: "1", MinOS: map[string]string{"ios": "17.4"}, Rollout: catalog.Rollout{Share: catalog.FullShare}}
	}
	item := func(change func(*catalog.Item)) func() error {
		it := catalog.Item{ID: 7, BundleID: "com.example.seven", Versions: []catalog.Version{version(2), version(1)}}
		change(&it)
		return func() error { _, err := c.Put(t.Context(), it); return err }
	}
	share, halted, salt := 2500, true, "spring"
	for _, step := range []struct {
		do   func() error
		want string // kind and change; empty = no entry
	}{
		{item(func(*catalog.Item) {}), "item_changed added with 2 versions"},
		{item(func(*catalog.Item) {}), ""},
		{item(func(it *catalog.Item) { it.Name = "Seven" }), "item_changed its own fields changed"},
		{item(func(it *catalog.Item) { it.Versions = append(it.Versions[:1:1], version(3)) }),
			"item_changed version 3 added, open to 10000 of 10000; version 1 removed; its own fields changed"},
		{func() error { _, err := c.SetRollout(t.Context(), 7, 3, &share, &halted, &salt); return err },
			"item_changed version 3 opened to 2500 of 10000, it was 10000; version 3 halted; version 3 has another salt"},
		{func() error { _, err := c.Withdraw(t.Context(), 7, 2, true); return err }, "item_changed version 2 withdrawn"},
		{func() error { _, err := c.Withdraw(t.Context(), 7, 2, false); return err }, "item_changed version 2 brought back"},
		{func() error { _, err := c.Takedown(t.Context(), 7, "a court"); return err }, "item_changed taken down (a court)"},
		{func() error { _, err := c.Reinstate(t.Context(), 7); return err }, "item_changed reinstated"},
		{func() error { return c.Remove(t.Context(), 7) }, "item_removed"},
		{func() error {
			_, err := c.Import(t.Context(), []catalog.Item{{ID: 7, BundleID: "com.example.seven"}})
			return err
		}, "item_changed added with 0 versions"},
	} {
		before, _, _ := log.Last()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.want, err)
		}
		found, _, err := audit.Search(t.Context(), log.Dir(), audit.Query{Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if after, _, _ := log.Last(); after != before {
			got = strings.TrimSpace(string(found[0].Kind) + " " + found[0].Detail["change"])
			if reason := found[0].Detail["reason"]; reason != "" {
				got += " (" + reason + ")"
			}
			if after != before+1 || found[0].Item != 7 {
				t.Errorf("a change left %+v, want one entry of item 7", found)
			}
		}
		if got != step.want {
			t.Errorf("written down as %q, want %q", got, step.want)
		}
	}
}
