package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/souk-market/souk/core/oauth"
	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/token"
)

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
		audit.PluginSwapped, audit.PluginsReloaded, audit.BackupTaken: // nothing of it is in the store, or it is refused anyway
	default:
		if since {
			a.Changes = append(a.Changes, e)
		}
	}
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
