package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/souk-market/souk/core/store"
)

// File is a file that was read to its end, and is whole.
type File struct {
	Name    string
	Header  Header
	Ref     Ref
	Size    int64
	Records uint64
	Gone    uint64
	Tables  map[byte]uint64 // records of each
}

// Check reads a file to its end, unless ctx ends. visit, if any, sees the records;
// progress, if any, everything that is read.
func Check(ctx context.Context, name string, visit func(store.Item), progress io.Writer) (f File, err error) {
	err = each(ctx, name, progress, func(r *Reader) error {
		f, err = check(r, visit)
		return err
	})
	f.Name = name
	return f, err
}

func check(r *Reader, visit func(store.Item)) (File, error) {
	f := File{Header: r.Header(), Tables: map[byte]uint64{}}
	for {
		it, gone, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			f.Ref, f.Size = r.Ref(), r.at
			return f, nil
		case err != nil:
			return f, err
		case gone:
			f.Gone++
			continue
		}
		f.Records++
		f.Tables[it.Key.Table]++
		if visit != nil {
			visit(it)
		}
	}
}

// each opens a file and names it in every error.
func each(ctx context.Context, name string, progress io.Writer, f func(*Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err // it names the file
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%s: is a directory, not a backup", name)
	}
	from := io.Reader(stopped{ctx, file})
	if progress != nil {
		from = io.TeeReader(file, progress)
	}
	r, err := NewReader(from)
	if err == nil {
		err = f(r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// stopped is a reader that ends with a context.
type stopped struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (s stopped) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(b)
}

// Chain says whether the files make a store in this order: a full one, and then each
// the one that builds on the one before it.
func Chain(files []File) error {
	for i, f := range files {
		switch {
		case i == 0 && f.Header.Since != nil:
			return fmt.Errorf("%s: %w: it holds what has changed since the backup %s, which has to come first", f.Name, ErrChain, f.Header.Since.ID)
		case i > 0 && f.Header.Since == nil:
			return fmt.Errorf("%s: %w %s: it is a full backup, which comes first and alone", f.Name, ErrChain, files[i-1].Name)
		case i > 0 && f.Header.Since.ID != files[i-1].Ref.ID:
			return fmt.Errorf("%s: %w %s: that is the backup %s, and this one builds on %s", f.Name, ErrChain, files[i-1].Name, files[i-1].Ref.ID, f.Header.Since.ID)
		case i > 0 && f.Header.Since.Sum != files[i-1].Ref.Sum:
			return fmt.Errorf("%s: %w %s: that is another file of the same backup (SHA-256 %s, should be %s)", f.Name, ErrChain, files[i-1].Name, files[i-1].Ref.Sum, f.Header.Since.Sum)
		}
	}
	return nil
}

// Restore fills an empty engine with a chain that was checked. After an error it
// holds a part, and should be thrown away.
func Restore(ctx context.Context, e store.Engine, files []File, progress io.Writer) error {
	for i, f := range files {
		err := each(ctx, f.Name, progress, func(r *Reader) error {
			next := func() (store.Item, bool, error) {
				it, gone, err := r.Next()
				if errors.Is(err, io.EOF) && r.Ref() != f.Ref {
					return it, gone, errors.New("has changed since it was checked")
				}
				return it, gone, err
			}
			if i == 0 {
				return e.Load(ctx, func() (store.Item, error) {
					it, _, err := next() // none of a full one is gone
					return it, err
				})
			}
			return apply(ctx, e, next)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// applyAtOnce is how many changes are made at the same time, so that they share
// commits.
const applyAtOnce = 256

// apply makes changes. No two of one file are of the same key, but for those that say
// twice that it is gone, so their order does not matter. A record that has expired by
// now is written all the same: it takes the place of what an earlier file has.
func apply(ctx context.Context, e store.Engine, next func() (store.Item, bool, error)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ops := make(chan store.Op)
	var workers sync.WaitGroup
	for range applyAtOnce {
		workers.Go(func() {
			for op := range ops {
				if err := e.Apply(ctx, op); err != nil {
					stop(err)
				}
			}
		})
	}
	var err error
	for err == nil {
		var it store.Item
		var gone bool
		if it, gone, err = next(); err != nil {
			break
		}
		op := store.Op{Key: it.Key, Expires: it.Expires, Delete: gone}
		if !gone {
			op.Value = append([]byte{}, it.Value...) // the reader uses its bytes again
		}
		select {
		case ops <- op:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	close(ops)
	workers.Wait()
	if !errors.Is(err, io.EOF) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
