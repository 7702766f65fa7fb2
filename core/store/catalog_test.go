package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/souk-market/souk/core/store"
)

func TestCatalogItems(t *testing.T) {
	s, _, _ := openStore(t)
	_, err := s.CatalogItem(ctx, 1)
	wantIs(t, "CatalogItem", err, store.ErrNotFound)

	// Ids in an order that is not theirs, more than a page.
	const n = 1200
	together(n, func(i int) {
		id := uint64(n-i) << 20
		if err := s.PutCatalogItem(ctx, id, fmt.Append(nil, "item ", id)); err != nil {
			t.Error(err)
		}
	})
	var ids []uint64
	err = s.CatalogItems(ctx, func(id uint64, value []byte) error {
		if string(value) != fmt.Sprint("item ", id) {
			t.Errorf("item %d has the bytes %q", id, value)
		}
		if len(ids) > 0 && id <= ids[len(ids)-1] {
			t.Errorf("item %d comes after %d", id, ids[len(ids)-1])
		}
		ids = append(ids, id)
		return nil
	})
	if err != nil || len(ids) != n {
		t.Errorf("CatalogItems hands out %d items, %v, want %d", len(ids), err, n)
	}
	stop := errors.New("stop")
	wantIs(t, "CatalogItems", s.CatalogItems(ctx, func(uint64, []byte) error { return stop }), stop)

	for range 2 {
		if err := s.DeleteCatalogItem(ctx, ids[0]); err != nil {
			t.Errorf("DeleteCatalogItem = %v", err)
		}
	}
	_, err = s.CatalogItem(ctx, ids[0])
	wantIs(t, "CatalogItem after its deletion", err, store.ErrNotFound)
}

// opaque runs the rules that catalogue items and the key ring share.
func opaque(t *testing.T, update func(f func([]byte) ([]byte, error)) ([]byte, error), read func() ([]byte, error)) {
	got, err := update(func(cur []byte) ([]byte, error) {
		if cur != nil {
			t.Errorf("f sees %q, want nil", cur)
		}
		return nil, nil
	})
	if err != nil || got != nil {
		t.Errorf("update that leaves an absent record = %q, %v", got, err)
	}
	_, err = read()
	wantIs(t, "read", err, store.ErrNotFound)
	together(16, func(int) {
		if _, err := update(func(cur []byte) ([]byte, error) { return append(cur, 'x'), nil }); err != nil {
			t.Error(err)
		}
	})
	const want = "xxxxxxxxxxxxxxxx"
	refused := errors.New("refused")
	_, err = update(func([]byte) ([]byte, error) { return []byte("no"), refused })
	if err != refused {
		t.Errorf("update = %v, want f's own error", err)
	}
	if got, err := update(func([]byte) ([]byte, error) { return nil, nil }); err != nil || string(got) != want {
		t.Errorf("update that leaves a record = %q, %v, want %q", got, err, want)
	}
	if got, err := read(); err != nil || string(got) != want {
		t.Errorf("read = %q, %v, want %q", got, err, want)
	}
}

func TestUpdateCatalogItem(t *testing.T) {
	s, _, _ := openStore(t)
	opaque(t,
		func(f func([]byte) ([]byte, error)) ([]byte, error) { return s.UpdateCatalogItem(ctx, 1000001, f) },
		func() ([]byte, error) { return s.CatalogItem(ctx, 1000001) })
}

func TestUpdateKeyRing(t *testing.T) {
	s, _, _ := openStore(t)
	opaque(t,
		func(f func([]byte) ([]byte, error)) ([]byte, error) { return s.UpdateKeyRing(ctx, f) },
		func() ([]byte, error) { return s.KeyRing(ctx) })
}

func TestWatches(t *testing.T) {
	s, _, _ := openStore(t)
	catalog, err := s.WatchCatalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := s.WatchKeyRing(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	<-catalog
	<-ring
	if err := s.PutCatalogItem(ctx, 1, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	<-catalog
	if _, err := s.UpdateKeyRing(ctx, func([]byte) ([]byte, error) { return []byte("ring"), nil }); err != nil {
		t.Fatal(err)
	}
	<-ring
}
