package catalog_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/souk-market/souk/core/catalog"
)

func TestImport(t *testing.T) {
	c, s := openCatalog(t)
	ctx := t.Context()
	load := func(c *catalog.Catalog, want catalog.Imported, items ...catalog.Item) {
		t.Helper()
		got, err := c.Import(ctx, items)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("Import = %+v, %v, want %+v", got, err, want)
		}
	}
	one, two, three := item(1, version(10, "17")), item(2, version(10, "17")), item(3)

	load(c, catalog.Imported{Added: []uint64{1, 2, 3}}, three, one, two)
	first := c.Snapshot()
	if first.Generation() != 1 || first.Len() != 3 {
		t.Errorf("three items were published in %d steps", first.Generation())
	}
	load(c, catalog.Imported{Kept: []uint64{1, 2, 3}}, one, two, three)
	if c.Snapshot() != first {
		t.Error("importing the same file again made a new snapshot")
	}

	// The admin API changes one item, removes another and adds a third; then a restart.
	share := 100
	if _, err := c.SetRollout(ctx, 1, 10, &share, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, 2); err != nil {
		t.Fatal(err)
	}
	put(t, c, item(4))
	c = openOn(t, s)
	load(c, catalog.Imported{Kept: []uint64{1, 2, 3}}, one, two, three)
	if snap := c.Snapshot(); snap.Item(1).Version(10).Share != 100 || snap.Item(2) != nil || snap.Item(4) == nil {
		t.Error("what the admin API did before a restart is gone after it")
	}

	// The same entry in another spelling is the same entry.
	respelled := item(1, version(10, "17"))
	respelled.SignIn = catalog.SignInRequired
	load(c, catalog.Imported{Kept: []uint64{1}, Missing: []uint64{3}}, respelled)

	// The file's own entries change: they win, also over a removal.
	one = item(1, version(10, "17"), version(20, "17"))
	two.Name = "back"
	load(c, catalog.Imported{Added: []uint64{2}, Changed: []uint64{1}, Kept: []uint64{3}}, one, two, three)
	if snap := c.Snapshot(); snap.Item(1).Version(10).Share != catalog.FullShare || len(snap.Item(1).Versions) != 2 || snap.Item(2).Name != "back" {
		t.Error("a changed entry of the file was not taken over")
	}

	// An item that was only known to the admin API gets into the file.
	four := item(4)
	four.Name = "of the file"
	load(c, catalog.Imported{Changed: []uint64{4}, Missing: []uint64{1, 2, 3}}, four)
	if c.Snapshot().Item(4).Name != "of the file" || c.Snapshot().Len() != 4 {
		t.Error("items that left the file are to be left as they are")
	}

	// Putting a removed item back keeps what the file said of it in mind.
	if err := c.Remove(ctx, 4); err != nil {
		t.Fatal(err)
	}
	put(t, c, item(4, version(5, "17")))
	load(c, catalog.Imported{Kept: []uint64{4}, Missing: []uint64{1, 2, 3}}, four)
	if len(c.Snapshot().Item(4).Versions) != 1 {
		t.Error("an item that was put back was overwritten by an entry that had not changed")
	}
}

func TestImportIsAllOrNothingWhenInvalid(t *testing.T) {
	c, _ := openCatalog(t)
	_, err := c.Import(t.Context(), []catalog.Item{item(1), {ID: 2}, item(1)})
	invalid, ok := errors.AsType[catalog.Invalid](err)
	if !ok || len(invalid) != 2 || invalid[0].Path != "items[1].bundle_id" || invalid[1].Path != "items[2].id" {
		t.Errorf("Import = %v, want the problems of items[1] and items[2]", err)
	}
	if c.Snapshot().Len() != 0 {
		t.Error("a file with problems was imported in part")
	}
}

func TestImportInterrupted(t *testing.T) {
	c, _ := openCatalog(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := c.Import(ctx, []catalog.Item{item(1), item(2)})
	if !errors.Is(err, context.Canceled) || len(got.Added) != 0 {
		t.Errorf("Import with an ended context = %+v, %v", got, err)
	}
}

// Nodes that start at the same time import the same file.
func TestImportByTwoNodes(t *testing.T) {
	s := openStore(t)
	items := manyItems(200)
	done := make(chan catalog.Imported, 2)
	for range 2 {
		c := openOn(t, s)
		go func() {
			got, err := c.Import(context.Background(), items)
			if err != nil {
				t.Error(err)
			}
			done <- got
		}()
	}
	a, b := <-done, <-done
	if len(a.Added)+len(b.Added) != 200 || len(a.Kept)+len(b.Kept) != 200 || len(a.Changed)+len(b.Changed) != 0 {
		t.Errorf("two imports added %d and %d, kept %d and %d of 200", len(a.Added), len(b.Added), len(a.Kept), len(b.Kept))
	}
}
