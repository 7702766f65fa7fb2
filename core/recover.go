package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/store/backup"
	"github.com/souk-market/souk/core/store/badger"
	"github.com/souk-market/souk/core/token"
)

// recovering is the directory, inside of a data directory, where a recovery builds
// what it then moves into place. A server does not start beside it.
const recovering = "recovering"

// RecoverOptions say what a data directory is made of.
type RecoverOptions struct {
	From  []string // a full backup, and those that build on it, in order
	Data  string   // the new data directory: empty, or not there yet
	Audit string   // the audit folder of the old data directory; "" = it is lost
	// Key is the key that the key ring is encrypted under, 64 hexadecimal digits, and
	// KeyFile a file with it. Without either nobody looks whether the ring can be read.
	Key, KeyFile string
	EndSince     time.Time // ends the sign-ins begun or used since; zero = none
	Now          func() time.Time
	Log          *slog.Logger
	// Progress is told how many bytes are about to be read for what, and gets them.
	Progress func(what string, bytes int64) io.WriteCloser
}

// Recovered says what a recovery has done, and what it could not do.
type Recovered struct {
	Files   []backup.File
	Begun   time.Time // of the last file: what was acknowledged before is there
	At      time.Time // what is used once and was issued until then is refused
	Records uint64    // that are there now
	Ended   int       // sign-ins that had been ended since the backup
	Since   int       // sign-ins that RecoverOptions.EndSince has ended, or that of an earlier recovery
	// EndedSince is from when on those were begun or used, and Refused until when every
	// access token was issued that is refused; zero = there was none.
	EndedSince, Refused time.Time
	Retired             []byte // keys that had been retired since the backup
	// Licenses is how many licences had been revoked since the backup.
	Licenses int
	// Clients had lost something since the backup, and have lost it again: their
	// sign-ins, a redirect URI. Secrets are those among them that need another secret:
	// neither the one in the backup nor the one of after it is good.
	Clients, Secrets []string
	Checked          bool // the key opens the key ring

	Audit AuditLooked
	// Strangers is when tokens of others are exchanged again.
	Strangers time.Time
}

// AuditLooked is what the audit tells of the time since the backup.
type AuditLooked struct {
	Given   bool
	Entries int           // of that time
	First   time.Time     // of the oldest entry of all
	Last    time.Time     // of the newest
	SignIns int           // begun since: they are not in the backup
	Rotated []string      // keys made since, which are lost with all tokens under them
	Changes []audit.Entry // the operator's, which have to be made again
	Damage  []error

	ended   []audit.Entry // in the order in which they were written
	retired []byte
	// An earlier recovery since the backup has ended the sign-ins since a time, and all
	// access tokens until another.
	endSince, endUntil time.Time
}

// auditSlack is how long before the backup the audit is read: an entry is written
// down before its change, which the backup may not have.
const auditSlack = time.Hour

// Recover makes a data directory of backups. All that can be wrong with what it is
// given is found out before anything is written, and after an error the directory is
// as it was. See Recovered for what it can't bring back.
func Recover(ctx context.Context, o RecoverOptions) (done Recovered, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(string, int64) io.WriteCloser { return silent{io.Discard} }
	}
	made, err := o.empty()
	if err != nil {
		return done, err
	}
	ring, err := o.check(ctx, &done)
	if err != nil {
		return done, err
	}
	if done.Audit, err = o.look(ctx, done.Begun); err != nil {
		return done, err
	}
	if now := o.Now(); now.Before(done.Begun) || now.Before(done.Audit.Last) {
		return done, fmt.Errorf("the clock of this machine is behind: it is %s, and the backup or the audit is of %s: set it first",
			now.UTC().Format(time.RFC3339), latest(done.Begun, done.Audit.Last).UTC().Format(time.RFC3339))
	}
	master, from, err := o.master()
	if err != nil {
		return done, err
	}
	switch {
	case from != "" && ring != nil:
		if _, err := token.OpenKeys(master, ring); err != nil {
			return done, fmt.Errorf("%s: is not the key of the key ring in the backup: %w", from, err)
		}
		done.Checked = true
	case from == "" && len(done.Audit.retired) > 0:
		return done, fmt.Errorf("the keys %s were retired since the backup, and would be good again: give the old souk.key with --key-file, so that they are retired once more",
			numbers(done.Audit.retired))
	}

	// From here on there is something to take back, and only that is.
	var mine []string
	defer func() {
		if err != nil {
			for _, name := range mine {
				err = errors.Join(err, os.RemoveAll(filepath.Join(o.Data, name)))
			}
			if made {
				_ = os.Remove(o.Data) // if nothing else came into it
			}
		}
	}()
	if err := o.begin(); err != nil {
		return done, err
	}
	mine = append(mine, recovering)
	if err := o.build(ctx, &done, master); err != nil {
		return done, err
	}
	moved, err := o.place()
	mine = append(mine, moved...)
	return done, err
}

type silent struct{ io.Writer }

func (silent) Close() error { return nil }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func numbers(ids []byte) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = fmt.Sprint(id)
	}
	return strings.Join(texts, ", ")
}

// empty refuses a directory with anything in it, and says whether it has to be made.
func (o *RecoverOptions) empty() (made bool, err error) {
	entries, err := os.ReadDir(o.Data)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(o.Data); err == nil {
			return false, fmt.Errorf("--data: %s is a link that leads nowhere: make the directory that it leads to", o.Data)
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("--data: %w", err)
	}
	if len(entries) == 0 {
		return false, nil
	}
	return false, o.notEmpty(entries)
}

// begin makes the directory to build in. Reading the backups may have taken hours:
// whoever has come into the data directory meanwhile keeps what is there.
func (o *RecoverOptions) begin() error {
	if err := os.MkdirAll(o.Data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	work := filepath.Join(o.Data, recovering)
	err := os.Mkdir(work, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--data: %w", err)
	}
	entries, failed := os.ReadDir(o.Data)
	switch {
	case err != nil: // somebody else recovers into it
		return errors.Join(failed, o.notEmpty(entries))
	case failed != nil:
		return errors.Join(fmt.Errorf("--data: %w", failed), os.Remove(work))
	case len(entries) > 1:
		others := slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == recovering })
		return errors.Join(o.notEmpty(others), os.Remove(work))
	}
	return nil
}

func (o *RecoverOptions) notEmpty(entries []fs.DirEntry) error {
	var names []string
	hint := ""
	for _, e := range entries {
		if len(names) < 8 {
			names = append(names, e.Name())
		}
		if e.Name() == recovering {
			hint = " (" + recovering + " is of a recovery that is under way, or was killed)"
		}
	}
	if more := len(entries) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("--data: %s is not empty, it has %s%s: name a directory that is, or that is not there yet", o.Data, strings.Join(names, ", "), hint)
}

// CheckBackups reads files to their ends and says what they hold, as far as it came,
// and whether they follow each other.
func CheckBackups(ctx context.Context, files []string, visit func(store.Item), progress func(string, int64) io.WriteCloser) (checked []backup.File, err error) {
	for _, name := range files {
		var size int64
		if info, err := os.Stat(name); err == nil {
			size = info.Size()
		}
		bar := progress("checking "+filepath.Base(name), size)
		f, err := backup.Check(ctx, name, visit, bar)
		if err := errors.Join(err, bar.Close()); err != nil {
			return checked, err
		}
		checked = append(checked, f)
	}
	return checked, backup.Chain(checked)
}

// check reads all files and returns the sealed key ring that comes with them.
func (o *RecoverOptions) check(ctx context.Context, done *Recovered) (ring []byte, err error) {
	done.Files, err = CheckBackups(ctx, o.From, func(it store.Item) {
		if r, ok := store.SealedRing(it); ok {
			ring = slices.Clone(r)
		}
	}, o.Progress)
	if err != nil {
		return nil, err
	}
	done.Begun = done.Files[len(done.Files)-1].Header.Begun
	return ring, nil
}

// look reads what the audit says of the time since the backup. Places that are
// damaged are told, and what is behind them is read all the same.
func (o *RecoverOptions) look(ctx context.Context, begun time.Time) (a AuditLooked, err error) {
	if o.Audit == "" {
		return a, nil
	}
	a.Given = true
	if info, err := os.Stat(o.Audit); err != nil {
		return a, fmt.Errorf("--audit: %w", err)
	} else if !info.IsDir() {
		return a, fmt.Errorf("--audit: %s is no directory: it is the folder \"audit\" of the old data directory", o.Audit)
	}
	for e, err := range audit.Read(o.Audit) {
		switch {
		case ctx.Err() != nil:
			return a, ctx.Err()
		case errors.Is(err, audit.ErrDamaged):
			a.Damage = append(a.Damage, err)
			continue
		case err != nil:
			return a, fmt.Errorf("--audit: %w", err)
		}
		if a.First.IsZero() {
			a.First = e.Time
		}
		a.Last = latest(a.Last, e.Time)
		if !e.Time.Before(begun.Add(-auditSlack)) {
			a.note(e, begun)
		}
	}
	if a.First.IsZero() && len(a.Damage) == 0 {
		return a, fmt.Errorf("--audit: %s has no entries: it is the folder \"audit\" of the old data directory", o.Audit)
	}
	return a, nil
}

// note keeps what has to be done for an entry.
func (a *AuditLooked) note(e audit.Entry, begun time.Time) {
	since := !e.Time.Before(begun)
	if since {
		a.Entries++
	}
	switch e.Kind {
	case audit.FamilyRevoked, audit.SignedOut, audit.LicenseRevoked, audit.ClientDisabled, audit.ClientRemoved, audit.ClientSecretRotated:
		a.ended = append(a.ended, e)
	case audit.ClientRegistered, audit.ClientChanged, audit.ClientEnabled: // what they gave is given again by hand
		a.ended = append(a.ended, e)
		if since {
			a.Changes = append(a.Changes, e)
		}
	case audit.KeyRetired:
		var id byte
		if _, err := fmt.Sscan(e.Detail["key"], &id); err == nil {
			a.retired = append(a.retired, id)
		}
	case audit.SignedIn:
		if since {
			a.SignIns++
		}
	case audit.KeyRotated:
		if since {
			a.Rotated = append(a.Rotated, e.Detail["key"])
		}
	case audit.Recovered:
		if from, err := time.Parse(time.RFC3339Nano, e.Detail["end_sessions_since"]); since && err == nil {
			if a.endSince.IsZero() || from.Before(a.endSince) {
				a.endSince = from
			}
			a.endUntil = latest(a.endUntil, e.Time)
		}
	case audit.CodeBurned, audit.TokenMinted, audit.LimitReached, audit.Started, audit.ChainBroken, audit.SegmentsDropped,
		audit.PluginSwapped, audit.PluginsReloaded: // nothing of it is in the store, or it is refused anyway
	default:
		if since {
			a.Changes = append(a.Changes, e)
		}
	}
}

// master is the key of the key ring, and where it comes from; "" = none was given.
func (o *RecoverOptions) master() (key [32]byte, from string, err error) {
	text, from := o.Key, "SOUK_KEY"
	if o.KeyFile != "" {
		b, err := os.ReadFile(o.KeyFile)
		if err != nil {
			return key, "", fmt.Errorf("--key-file: %w", err)
		}
		text, from = string(b), "--key-file: "+o.KeyFile
	}
	if text == "" && o.KeyFile == "" {
		return key, "", nil
	}
	if !parseKey(text, &key) {
		return key, "", fmt.Errorf("%s: holds no key: it has 64 hexadecimal digits", from)
	}
	return key, from, nil
}

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

// replay does again what ended or took something since the backup.
func (o *RecoverOptions) replay(ctx context.Context, s *store.Store, done *Recovered, master [32]byte) error {
	for _, e := range done.Audit.ended {
		if err := again(ctx, s, done, e); err != nil {
			return fmt.Errorf("replay entry %d of the audit: %w", e.Seq, err)
		}
	}
	if len(done.Audit.retired) == 0 {
		return nil
	}
	_, err := s.UpdateKeyRing(ctx, func(cur []byte) ([]byte, error) {
		keys, err := token.OpenKeys(master, cur)
		if err != nil {
			return nil, err
		}
		if done.Retired, keys, err = retireAgain(keys, done.Audit.retired, o.Now()); err != nil {
			return nil, err
		}
		return token.SealKeys(master, nil, keys)
	})
	if err != nil {
		return fmt.Errorf("retire keys again: %w", err)
	}
	return nil
}

// again does again what one entry says.
func again(ctx context.Context, s *store.Store, done *Recovered, e audit.Entry) error {
	switch e.Kind {
	case audit.FamilyRevoked:
		ended, err := s.EndFamily(ctx, e.Family, e.Until)
		if ended {
			done.Ended++
		}
		return err
	case audit.SignedOut:
		// Each of its sign-ins has an entry of its own, unless the server died in between.
		n, err := s.EndAccount(ctx, e.Account, e.Epoch, e.Time.Add(oauth.MaxAccess))
		done.Ended += n
		return err
	case audit.LicenseRevoked:
		n, err := s.ReplayLicenses(ctx, e)
		done.Licenses += n
		return err
	}
	r, err := s.ReplayClient(ctx, e)
	if r.Changed {
		done.Clients = with(done.Clients, r.Client)
	}
	if r.Secret {
		done.Secrets = with(done.Secrets, r.Client)
	}
	if e.Kind == audit.ClientRemoved || e.Kind == audit.ClientRegistered { // that one is gone
		done.Secrets = slices.DeleteFunc(done.Secrets, func(id string) bool { return id == r.Client })
	}
	return err
}

// with adds a text to a sorted list, once.
func with(list []string, text string) []string {
	at, found := slices.BinarySearch(list, text)
	if found {
		return list
	}
	return slices.Insert(list, at, text)
}

// retireAgain ends keys of a ring. If none is left, there is a new one.
func retireAgain(keys []token.Key, ids []byte, now time.Time) (retired []byte, next []token.Key, err error) {
	left := false
	for i := range keys {
		if slices.Contains(ids, keys[i].ID) && keys[i].Retired.IsZero() {
			keys[i].Retired = now
			retired = append(retired, keys[i].ID)
		}
		left = left || keys[i].Retired.IsZero()
	}
	if left {
		return retired, keys, nil
	}
	id, err := token.FreeID(keys)
	if err != nil {
		return retired, keys, err
	}
	key, err := token.NewKey(nil, id, now)
	return retired, append(keys, key), err
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

// cutOff refuses a data directory in which a recovery was killed.
func (c *Config) cutOff() error {
	if _, err := os.Stat(c.data(recovering)); err == nil {
		return fmt.Errorf("store.dir: a recovery into %s was cut off: empty the directory and run \"souk recover\" again", c.path(c.Store.Dir))
	}
	return nil
}
