package store

import "context"

// KeyRing returns the sealed key ring, or ErrNotFound. What is in it is the
// business of package token alone.
func (s *Store) KeyRing(ctx context.Context) ([]byte, error) {
	it, err := s.engine.Get(ctx, keyRingKey())
	return it.Value, err
}

// UpdateKeyRing lets f make the next sealed ring from the present one and returns
// the ring as it then stands. A nil cur is an absent ring, a nil result leaves it
// as it is. f must be pure, as an UpdateFunc: it may run on several nodes at once
// and one of them wins.
func (s *Store) UpdateKeyRing(ctx context.Context, f func(cur []byte) ([]byte, error)) ([]byte, error) {
	return s.updateOpaque(ctx, keyRingKey(), f)
}

// WatchKeyRing hints at changes of the key ring, as Engine.Watch does.
func (s *Store) WatchKeyRing(ctx context.Context) (<-chan struct{}, error) {
	return s.engine.Watch(ctx, tableKeyRing)
}

// updateOpaque updates a record whose bytes belong to someone else.
func (s *Store) updateOpaque(ctx context.Context, k Key, f func(cur []byte) ([]byte, error)) ([]byte, error) {
	it, err := s.engine.Update(ctx, k, func(cur *Item) (*Write, error) {
		var present []byte
		if cur != nil {
			present = cur.Value
		}
		next, err := f(present)
		if err != nil || next == nil {
			return nil, err
		}
		return &Write{Value: next}, nil
	})
	return it.Value, err
}
