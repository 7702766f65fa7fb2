package store

import (
	"context"
	"encoding/binary"
	"fmt"
)

// PutCatalogItem stores an item as it is given, in place of what was there.
func (s *Store) PutCatalogItem(ctx context.Context, id uint64, value []byte) error {
	_, err := s.engine.Update(ctx, catalogKey(id), func(*Item) (*Write, error) {
		return &Write{Value: value}, nil
	})
	return err
}

// UpdateCatalogItem lets f make the item's next bytes from the present ones and
// returns the item as it then stands. A nil cur is an absent item, a nil result
// leaves it as it is. f must be pure, as an UpdateFunc.
func (s *Store) UpdateCatalogItem(ctx context.Context, id uint64, f func(cur []byte) ([]byte, error)) ([]byte, error) {
	return s.updateOpaque(ctx, catalogKey(id), f)
}

// DeleteCatalogItem removes an item; an absent one is no error.
func (s *Store) DeleteCatalogItem(ctx context.Context, id uint64) error {
	return s.engine.Apply(ctx, Op{Key: catalogKey(id), Delete: true})
}

// CatalogItem returns one item's bytes, or ErrNotFound.
func (s *Store) CatalogItem(ctx context.Context, id uint64) ([]byte, error) {
	it, err := s.engine.Get(ctx, catalogKey(id))
	return it.Value, err
}

// CatalogItems hands out all items in the order of their ids; emit's error ends
// it. It reads in pages: items changed meanwhile appear as they were or as they
// are.
func (s *Store) CatalogItems(ctx context.Context, emit func(id uint64, value []byte) error) error {
	return s.scanAll(ctx, tableCatalog, partCatalog, func(it Item) error {
		if len(it.Key.Sub) != 8 {
			return fmt.Errorf("store: table %c: key %x is no item id", tableCatalog, it.Key.Sub)
		}
		return emit(binary.BigEndian.Uint64([]byte(it.Key.Sub)), it.Value)
	})
}

// WatchCatalog hints at changes of the catalogue, as Engine.Watch does.
func (s *Store) WatchCatalog(ctx context.Context) (<-chan struct{}, error) {
	return s.engine.Watch(ctx, tableCatalog)
}
