package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Imported says what an import did, by item id in ascending order.
type Imported struct {
	Added   []uint64 // the catalogue had no such item
	Changed []uint64 // the file's entry is another than at the last import
	Kept    []uint64 // the file says what it said then: what was done since stands
	Missing []uint64 // imported once and no longer in the file: left as they are
}

// importers is how many items are written at a time: each waits for the store to make
// it durable, and the store does that for many at once.
const importers = 64

// Import brings the items of the operator's file into the store. The file seeds: an item
// is written when its entry differs from what was last imported, and then replaces what
// the admin API made of it. As long as the entry is the same, changes and removals made
// over the admin API survive every start. If the items are not valid, nothing is
// written; after another error, importing again does the rest.
func (c *Catalog) Import(ctx context.Context, items []Item) (Imported, error) {
	if problems := c.opts.Rules.validateAll(items, nil); len(problems) > 0 {
		return Imported{}, problems
	}
	c.importing.Lock()
	defer c.importing.Unlock()
	var (
		mu   sync.Mutex
		done Imported
		errs []error
		wg   sync.WaitGroup
		todo = make(chan Item)
	)
	for range min(importers, len(items)) {
		wg.Go(func() {
			for it := range todo {
				into, err := c.importItem(ctx, it)
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				} else {
					list := into(&done)
					*list = append(*list, it.ID)
				}
				mu.Unlock()
			}
		})
	}
	for _, it := range items {
		if ctx.Err() != nil {
			break
		}
		todo <- it.clone()
	}
	close(todo)
	wg.Wait()

	// One new snapshot shows all of them.
	if err := c.reload(context.WithoutCancel(ctx)); err != nil {
		errs = append(errs, err)
	}
	if ctx.Err() != nil {
		errs = append(errs, fmt.Errorf("import catalogue: %w", context.Cause(ctx)))
	}
	done.Missing = c.missing(items)
	for _, ids := range [][]uint64{done.Added, done.Changed, done.Kept} {
		slices.Sort(ids)
	}
	return done, errors.Join(errs...)
}

// importItem writes one item if it has to and says which list it belongs to.
func (c *Catalog) importItem(ctx context.Context, it Item) (into func(*Imported) *[]uint64, err error) {
	it.normalise()
	digest, err := importDigest(it)
	if err != nil {
		return nil, err
	}
	err = c.rewrite(ctx, it.ID, func(rec *record) error {
		switch {
		case rec.Imported == digest:
			into = func(d *Imported) *[]uint64 { return &d.Kept }
			return errKeep
		case rec.absent():
			into = func(d *Imported) *[]uint64 { return &d.Added }
		default:
			into = func(d *Imported) *[]uint64 { return &d.Changed }
		}
		*rec = record{Item: stored(it), Imported: digest}
		return nil
	})
	return into, err
}

// missing lists the items that came from a file and are in this one no more.
func (c *Catalog) missing(items []Item) []uint64 {
	here := make(map[uint64]struct{}, len(items))
	for _, it := range items {
		here[it.ID] = struct{}{}
	}
	var ids []uint64
	for e := range c.Snapshot().All() {
		if _, ok := here[e.ID]; !ok && e.imported {
			ids = append(ids, e.ID)
		}
	}
	return ids
}
