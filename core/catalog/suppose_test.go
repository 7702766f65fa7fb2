package catalog_test

import (
	"strings"
	"testing"

	"github.com/souk-market/souk/core/catalog"
)

func TestSupposeIsACatalogueThatMayNeverBe(t *testing.T) {
	one := catalog.Item{ID: 1, BundleID: "com.example.one", Versions: []catalog.Version{
		{ID: 11, Short: "1", Build: "1", MinOS: map[string]string{"ios": "17.4"}, Rollout: catalog.Rollout{Share: catalog.FullShare}},
		{ID: 12, Short: "2", Build: "2", MinOS: map[string]string{"ios": "18.0"}, Rollout: catalog.Rollout{Share: 100}},
	}}
	two := catalog.Item{ID: 2, BundleID: "com.example.two"}
	s, err := new(catalog.Snapshot).Suppose(one, two)
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 2 || s.Item(1).Versions[0].ID != 12 || s.Item(1).Versions[0].Salt != "1/12" {
		t.Fatalf("the snapshot has %d items, and of the first %+v", s.Len(), s.Item(1))
	}
	one.Versions[1].Rollout.Share = 5000
	next, err := s.Suppose(one)
	if err != nil {
		t.Fatal(err)
	}
	if s.Item(1).Versions[0].Share != 100 || next.Item(1).Versions[0].Share != 5000 || next.Item(2) != s.Item(2) {
		t.Errorf("before %d, after %d", s.Item(1).Versions[0].Share, next.Item(1).Versions[0].Share)
	}
	if got := next.Item(1).AppendUpdates(nil, 11, catalog.IOS, 18<<16); len(got) != 1 || got[0].Release.ID != 12 {
		t.Errorf("the candidates are %+v", got)
	}
	one.BundleID = "not a bundle"
	if _, err := s.Suppose(one); err == nil || !strings.Contains(err.Error(), "item 1: ") || !strings.Contains(err.Error(), "bundle_id") {
		t.Errorf("an item against the rules: %v", err)
	}
}
