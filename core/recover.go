package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/backup"
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

// cutOff refuses a data directory in which a recovery was killed.
func (c *Config) cutOff() error {
	if _, err := os.Stat(c.data(recovering)); err == nil {
		return fmt.Errorf("store.dir: a recovery into %s was cut off: empty the directory and run \"souk recover\" again", c.path(c.Store.Dir))
	}
	return nil
}
