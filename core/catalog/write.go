package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/souk-market/souk/core/store/audit"
)

// Put stores an item in place of what was there.
func (c *Catalog) Put(ctx context.Context, it Item) (Item, error) {
	return c.change(ctx, it.ID, func(rec *record) error {
		rec.Item, rec.Gone = stored(it.clone()), false
		return nil
	})
}

// Update changes an item in place and returns it as it then stands. The function may run
// more than once, each time on the item as it is then; its error is returned as it is.
// The item's id stays.
func (c *Catalog) Update(ctx context.Context, id uint64, f func(*Item) error) (Item, error) {
	return c.change(ctx, id, func(rec *record) error {
		if rec.absent() {
			return ErrNotFound
		}
		it := Item(rec.Item)
		err := f(&it)
		it.ID = id
		rec.Item = stored(it)
		return err
	})
}

// Remove takes an item out of the catalogue, as if it had never been there. The
// operator's file doesn't bring it back before its entry there changes. To stop an app
// and say so, use Takedown.
func (c *Catalog) Remove(ctx context.Context, id uint64) error {
	_, err := c.change(ctx, id, func(rec *record) error {
		if rec.absent() {
			return ErrNotFound
		}
		rec.Item, rec.Gone = stored{ID: id}, true
		return nil
	})
	return err
}

// SetRollout changes what is given and leaves what is nil: the share that is open, in
// basis points, whether the rollout is halted, and the salt.
func (c *Catalog) SetRollout(ctx context.Context, item, version uint64, share *int, halted *bool, salt *string) (Item, error) {
	return c.updateVersion(ctx, item, version, func(v *Version) {
		if share != nil {
			v.Rollout.Share = *share
		}
		if halted != nil {
			v.Rollout.Halted = *halted
		}
		if salt != nil {
			v.Rollout.Salt = *salt
		}
	})
}

// Withdraw ends a version, for updates and for restores, or brings it back.
func (c *Catalog) Withdraw(ctx context.Context, item, version uint64, withdrawn bool) (Item, error) {
	return c.updateVersion(ctx, item, version, func(v *Version) { v.Withdrawn = withdrawn })
}

// Takedown ends a whole item: nobody is offered any version until Reinstate.
func (c *Catalog) Takedown(ctx context.Context, id uint64, reason string) (Item, error) {
	return c.Update(ctx, id, func(it *Item) error {
		it.Removed, it.Reason = true, reason
		return nil
	})
}

// Reinstate undoes a Takedown.
func (c *Catalog) Reinstate(ctx context.Context, id uint64) (Item, error) {
	return c.Update(ctx, id, func(it *Item) error {
		it.Removed, it.Reason = false, ""
		return nil
	})
}

func (c *Catalog) updateVersion(ctx context.Context, item, version uint64, f func(*Version)) (Item, error) {
	return c.Update(ctx, item, func(it *Item) error {
		v, err := it.version(version)
		if err != nil {
			return err
		}
		f(v)
		return nil
	})
}

// change rewrites one record and publishes the result before it returns.
func (c *Catalog) change(ctx context.Context, id uint64, f func(*record) error) (Item, error) {
	if err := c.rewrite(ctx, id, f); err != nil {
		return Item{}, err
	}
	// The change is made: it must become visible even if the caller stops waiting.
	e, err := c.refresh(context.WithoutCancel(ctx), id)
	if err != nil {
		return Item{}, err
	}
	if e == nil {
		return Item{ID: id}, nil
	}
	return e.Item(), nil
}

var (
	// errMoved says that a record is no longer what a change was made from.
	errMoved = errors.New("catalog: item changed meanwhile")
	// errKeep is for a change that finds nothing to do.
	errKeep = errors.New("catalog: keep the item")
)

// rewrite stores what f makes of a record, and writes down before what changes. The work is done out here on a copy, and the
// store's own function only compares and swaps: it runs on the one goroutine that
// commits for everybody.
func (c *Catalog) rewrite(ctx context.Context, id uint64, f func(*record) error) error {
	for {
		cur, err := c.stored(ctx, id)
		if err != nil {
			return err
		}
		next, entry, err := c.rewritten(id, cur, f)
		switch {
		case errors.Is(err, errKeep):
			return nil
		case err != nil:
			return err
		case bytes.Equal(next, cur):
			return nil
		}
		if err := c.store.Audit(ctx, entry); err != nil {
			return fmt.Errorf("write item %d: %w", id, err)
		}
		_, err = c.store.UpdateCatalogItem(ctx, id, func(now []byte) ([]byte, error) {
			if !bytes.Equal(now, cur) {
				return nil, errMoved
			}
			return next, nil
		})
		switch {
		case errors.Is(err, errMoved):
			continue
		case err != nil:
			return fmt.Errorf("write item %d: %w", id, err)
		}
		return nil
	}
}

// rewritten returns the record that f makes of the present one, validated, and the
// entry that says what has changed.
func (c *Catalog) rewritten(id uint64, cur []byte, f func(*record) error) ([]byte, audit.Entry, error) {
	rec, before := new(record), (*record)(nil)
	if cur != nil {
		var err error
		if rec, err = decodeRecord(id, cur); err != nil {
			return nil, audit.Entry{}, err
		}
		before = &record{Item: stored(Item(rec.Item).clone()), Gone: rec.Gone}
	}
	if err := f(rec); err != nil {
		return nil, audit.Entry{}, err
	}
	if !rec.Gone {
		it := Item(rec.Item)
		if err := c.opts.Rules.Validate(it); err != nil {
			return nil, audit.Entry{}, err
		}
		it.normalise()
		rec.Item = stored(it)
	}
	value, err := rec.encode()
	return value, entryOf(id, before, rec), err
}

// absent says that there is no item, perhaps because it was removed.
func (r *record) absent() bool { return r.Gone || r.Item.ID == 0 }
