package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/backup"
	"github.com/souk-market/souk/core/store/badger"
)

// build makes the store, and brings the audit up to it.
func (o *RecoverOptions) build(ctx context.Context, done *Recovered, master [32]byte) (err error) {
	work := filepath.Join(o.Data, recovering)
	engine, err := badger.Open(badger.Options{Dir: filepath.Join(work, "store"), Sync: runtime.GOOS != "windows", MinFree: 1, Log: o.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	var size int64
	for _, f := range done.Files {
		size += f.Size
	}
	bar := o.Progress("restoring", size)
	err = backup.Restore(ctx, engine, done.Files, bar)
	if err = errors.Join(err, bar.Close()); err != nil {
		return err
	}
	s, err := store.Open(ctx, engine, store.Config{Now: o.Now, Log: o.Log}) // migrates what is older
	if err != nil {
		return err
	}
	if err := o.replay(ctx, s, done, master); err != nil {
		return err
	}
	if err := o.endSince(ctx, s, done); err != nil {
		return err
	}
	if _, err := s.BurnSubjectTokens(ctx); err != nil {
		return fmt.Errorf("end subject tokens: %w", err)
	}
	done.At = o.Now().UTC()
	done.Strangers = done.At.Add(oauth.SubjectTokenLife)
	done.Refused = done.Audit.endUntil
	if !o.EndSince.IsZero() {
		done.Refused = done.At
		// An access token says in which second it was issued. None of a server to come
		// may be of the last one that is refused.
		select {
		case <-time.After(done.At.Truncate(time.Second).Add(time.Second).Sub(done.At)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.SetRecovery(ctx, store.Recovery{At: done.At, Ended: done.Refused}); err != nil {
		return fmt.Errorf("note the recovery: %w", err)
	}
	if err := s.Dump(ctx, func(store.Item) error { done.Records++; return nil }); err != nil {
		return err
	}
	return o.carryOn(ctx, done, filepath.Join(work, "audit"))
}

// endSince ends the sign-ins that may be in wrong hands, those too that an earlier
// recovery of this backup has ended for that. With them go all access tokens
// (store.Recovery): those of sign-ins that the backup does not have are known to nobody.
func (o *RecoverOptions) endSince(ctx context.Context, s *store.Store, done *Recovered) (err error) {
	since := done.Audit.endSince
	if since.IsZero() || !o.EndSince.IsZero() && o.EndSince.Before(since) {
		since = o.EndSince
	}
	if since.IsZero() {
		return nil
	}
	done.EndedSince = since
	if done.Since, err = s.EndSince(ctx, since); err != nil {
		return fmt.Errorf("end sign-ins: %w", err)
	}
	return nil
}

// carryOn copies the old audit, so that the new server goes on with it, and the next
// recovery finds all of it in one place, and writes down that there was a recovery.
func (o *RecoverOptions) carryOn(ctx context.Context, done *Recovered, dir string) error {
	if o.Audit != "" {
		if err := audit.Copy(o.Audit, dir); err != nil {
			return err
		}
	}
	log, err := audit.Open(audit.Options{Dir: dir, Now: o.Now, Log: o.Log})
	if err != nil {
		return err
	}
	last := done.Files[len(done.Files)-1]
	detail := map[string]string{"backup": last.Ref.ID.String(), "sha256": last.Ref.Sum.String(), "begun": done.Begun.Format(time.RFC3339Nano)}
	if !o.EndSince.IsZero() {
		detail["end_sessions_since"] = o.EndSince.UTC().Format(time.RFC3339Nano)
	}
	return errors.Join(log.Append(ctx, audit.Entry{Kind: audit.Recovered, Actor: audit.Admin, Detail: detail}), log.Close())
}

// place moves what was built into the data directory, and says what. The store comes
// last, and with it the directory is whole.
func (o *RecoverOptions) place() (moved []string, err error) {
	work := filepath.Join(o.Data, recovering)
	for _, name := range []string{"audit", "store"} {
		if err := os.Rename(filepath.Join(work, name), filepath.Join(o.Data, name)); err != nil {
			return moved, err
		}
		moved = append(moved, name)
	}
	return moved, errors.Join(syncDir(o.Data), os.Remove(work), syncDir(o.Data), syncDir(filepath.Dir(cmp.Or(filepath.Clean(o.Data), "."))))
}
