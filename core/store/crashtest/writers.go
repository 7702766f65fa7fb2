package crashtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/souk-market/souk/core/store"
)

const (
	writers  = 64
	rivals   = 4 // writers for one code or token
	accounts = 8
	counters = 4
	partKeys = 5

	table  = 'Z' // of the parts that Apply writes; no record of the Store
	plugin = "crash"
)

// Writers is the load. Session is 0 for the first process over a directory, 1 for
// the next and so on; it tries the codes and tokens of the earlier ones again.
type Writers struct {
	Engine  store.Engine
	Session uint64
	Tell    func(report []byte) error // called by many, each with one whole report

	store  *store.Store
	kv     *store.KV
	codes  atomic.Uint64 // tries so far
	tokens atomic.Uint64
}

// Run writes until something fails, or ctx ends.
func (w *Writers) Run(ctx context.Context) error {
	engine := witness{Engine: w.Engine, tell: w.tell}
	w.store = store.New(engine, time.Now)
	var err error
	if w.kv, err = w.store.PluginKV(plugin, store.KVQuota{}); err != nil {
		return err
	}
	failed := make(chan error, writers)
	for i := range writers {
		go func() { failed <- w.write(ctx, engine, i) }()
	}
	return <-failed
}

func (w *Writers) tell(r Report) error { return w.Tell(r.encode()) }

func (w *Writers) write(ctx context.Context, engine store.Engine, writer int) error {
	me := who(w.Session, writer)
	random := rand.New(rand.NewPCG(w.Session, uint64(writer)))
	state, err := partState(ctx, engine, writer)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		var err error
		switch random.IntN(16) {
		case 0, 1, 2, 3:
			err = w.redeem(ctx, me, w.pick(random, &w.codes))
		case 4, 5, 6, 7, 8, 9:
			err = w.refresh(ctx, random)
		case 10, 11:
			err = w.bind(ctx, me, w.pick(random, &w.tokens))
		case 12:
			err = w.grant(ctx, writer, random.IntN(accounts))
		case 13:
			err = w.swap(ctx, random.IntN(counters))
		default:
			state++
			err = w.apply(ctx, engine, writer, state)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// pick takes the next code or token, for which rivals try at the same time, or one
// of an earlier session.
func (w *Writers) pick(random *rand.Rand, next *atomic.Uint64) uint64 {
	if w.Session > 0 && random.IntN(8) == 0 {
		return number(random.Uint64N(w.Session), random.Uint64N(64))
	}
	return number(w.Session, (next.Add(1)-1)/rivals)
}

func familyID(code uint64) [16]byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("code"), code))
	return [16]byte(sum[:])
}

func tokenHash(token uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte("token"), token))
}

func (w *Writers) redeem(ctx context.Context, me, code uint64) error {
	created, existing, err := w.store.CreateFamily(ctx, familyID(code), store.Family{
		State: store.Active, Client: identity(me), Subject: store.SubjectID(account(int(code % accounts))), Created: time.Now(),
	}, time.Time{})
	if err != nil {
		return fmt.Errorf("redeem code %d: %w", code, err)
	}
	if created {
		return w.tell(Report{Rule: Redeemed, ID: code, Value: me})
	}
	return w.tell(Report{Rule: Replayed, ID: code, Value: binary.BigEndian.Uint64(existing.Client[8:])})
}

// refresh presents the token of a generation, as a device does that has read it a
// moment ago: whoever comes second gets the successor that the first was given.
func (w *Writers) refresh(ctx context.Context, random *rand.Rand) error {
	code := number(0, 0) // the hot one
	if known := w.codes.Load() / rivals; known > 0 && random.IntN(4) > 0 {
		code = number(w.Session, random.Uint64N(known))
	}
	family, err := w.store.Family(ctx, familyID(code))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the family of code %d: %w", code, err)
	}
	presented := family.Generation
	family, err = w.store.UpdateFamily(ctx, familyID(code), func(cur store.Family) (store.Family, time.Time, bool, error) {
		if cur.Generation != presented {
			return cur, time.Time{}, false, nil
		}
		cur.Generation++
		return cur, time.Time{}, true, nil
	})
	if err != nil {
		return fmt.Errorf("refresh with the family of code %d: %w", code, err)
	}
	return w.tell(Report{Rule: Rotated, ID: code, Value: uint64(family.Generation)})
}

func (w *Writers) bind(ctx context.Context, me, token uint64) error {
	hash := tokenHash(token)
	err := w.store.PutSubjectToken(ctx, hash, store.SubjectToken{Account: account(0)}, time.Time{})
	if err != nil {
		return fmt.Errorf("put token %d: %w", token, err)
	}
	switch _, err := w.store.BindSubjectToken(ctx, hash, client(me)); {
	case errors.Is(err, store.ErrBound):
		return nil
	case err != nil:
		return fmt.Errorf("bind token %d: %w", token, err)
	}
	return w.tell(Report{Rule: Bound, ID: token, Value: me})
}

func account(n int) string { return fmt.Sprintf("account-%d", n) }

func grant(writer int, n uint64) string { return fmt.Sprintf("w%02d-%d", writer, n) }

// granted returns the writer's grants of an account, which are one or none.
func granted(a store.Account, writer int) (n uint64, err error) {
	for _, g := range a.Grants {
		rest, mine := strings.CutPrefix(g, fmt.Sprintf("w%02d-", writer))
		if !mine {
			continue
		}
		if n > 0 {
			return 0, fmt.Errorf("writer %d has two grants in %s", writer, a.Account)
		}
		if n, err = strconv.ParseUint(rest, 10, 64); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (w *Writers) grant(ctx context.Context, writer, k int) error {
	a, err := w.store.UpdateAccount(ctx, account(k), func(a *store.Account) (bool, error) {
		n, err := granted(*a, writer)
		if err != nil {
			return false, err
		}
		var kept []string
		for _, g := range a.Grants {
			if g != grant(writer, n) {
				kept = append(kept, g)
			}
		}
		a.Grants = append(kept, grant(writer, n+1))
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("grant to %s: %w", account(k), err)
	}
	n, err := granted(a, writer)
	if err != nil {
		return err
	}
	return w.tell(Report{Rule: Granted, ID: uint64(k<<8 | writer), Value: n})
}

func counterKey(k int) []byte { return []byte{byte(k)} }

func (w *Writers) swap(ctx context.Context, k int) error {
	old, err := w.kv.Get(ctx, counterKey(k))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read counter %d: %w", k, err)
	}
	n := uint64(1)
	if len(old) == 8 {
		n += binary.LittleEndian.Uint64(old)
	}
	switch err := w.kv.Swap(ctx, counterKey(k), old, binary.LittleEndian.AppendUint64(nil, n)); {
	case errors.Is(err, store.ErrConflict):
		return nil
	case err != nil:
		return fmt.Errorf("swap counter %d: %w", k, err)
	}
	return w.tell(Report{Rule: Swapped, ID: uint64(k), Value: n})
}

func partKey(writer, i int) store.Key {
	return store.Key{Table: table, Part: string(rune('A' + writer)), Sub: string(rune('a' + i))}
}

// In its n-th state a part has all keys but one, each of which says n.
func partValue(n uint64, i int) []byte {
	if int(n%partKeys) == i {
		return nil
	}
	value := make([]byte, 0, 120)
	for len(value) < cap(value) {
		value = binary.BigEndian.AppendUint64(value, n)
	}
	return value
}

// partState reads the n of a writer's part; 0 is one that was never written.
func partState(ctx context.Context, e store.Engine, writer int) (uint64, error) {
	items, err := e.Scan(ctx, table, partKey(writer, 0).Part, "", partKeys+1)
	if err != nil {
		return 0, err
	}
	return stateOf(writer, items)
}

func stateOf(writer int, items []store.Item) (n uint64, err error) {
	if len(items) == 0 {
		return 0, nil
	}
	n = binary.BigEndian.Uint64(items[0].Value)
	at := 0
	for i := range partKeys {
		want := partValue(n, i)
		if want == nil {
			continue
		}
		if at == len(items) || items[at].Key != partKey(writer, i) || string(items[at].Value) != string(want) {
			return 0, fmt.Errorf("part of writer %d: half of an Apply is there, around state %d", writer, n)
		}
		at++
	}
	if at < len(items) {
		return 0, fmt.Errorf("part of writer %d: key %q is there that state %d has deleted", writer, items[at].Key.Sub, n)
	}
	return n, nil
}

func (w *Writers) apply(ctx context.Context, e store.Engine, writer int, n uint64) error {
	ops := make([]store.Op, partKeys)
	for i := range ops {
		value := partValue(n, i)
		ops[i] = store.Op{Key: partKey(writer, i), Value: value, Delete: value == nil}
	}
	if err := e.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("apply state %d of writer %d: %w", n, writer, err)
	}
	return w.tell(Report{Rule: Applied, ID: uint64(writer), Value: n})
}

// witness reports what its engine has acknowledged, before the caller hears of it.
type witness struct {
	store.Engine
	tell func(Report) error
}

func (e witness) Update(ctx context.Context, k store.Key, f store.UpdateFunc) (store.Item, error) {
	it, err := e.Engine.Update(ctx, k, f)
	if err != nil || it.Version == 0 {
		return it, err
	}
	return it, e.tell(Report{Rule: Wrote, Writes: []Written{{k, it.Version, sum(it.Value)}}})
}

// Apply looks at what it has written: another may have written more by then, which
// is there just as well.
func (e witness) Apply(ctx context.Context, ops ...store.Op) error {
	if err := e.Engine.Apply(ctx, ops...); err != nil {
		return err
	}
	var report Report
	var version store.Version
	for _, op := range ops {
		it, err := e.Get(ctx, op.Key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		version = it.Version
		report.Writes = append(report.Writes, Written{op.Key, it.Version, sum(it.Value)})
	}
	for _, op := range ops {
		if op.Delete && version != 0 {
			report.Writes = append(report.Writes, Written{Key: op.Key, Version: version})
		}
	}
	report.Rule = Wrote
	return e.tell(report)
}
