package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/store"
)

// The map in keys.go, with one key of each kind as an engine gets it.
func TestKeyMap(t *testing.T) {
	s, e, _ := openStore(t)
	until := start.Add(time.Hour)
	id := [16]byte{0xfa, 0x01}
	hash := [32]byte{0x5a, 0x02}
	kv := openKV(t, s, "rollout", store.KVQuota{})
	writes := []error{
		s.PutCatalogItem(ctx, 1000001, []byte("{}")),
		func() error { _, _, err := s.CreateFamily(ctx, id, aFamily(), until); return err }(),
		func() error {
			_, err := s.UpdateAccount(ctx, "bob", change(func(a *store.Account) { a.Epoch = 1 }))
			return err
		}(),
		func() error {
			_, err := s.UpdateKeyRing(ctx, func([]byte) ([]byte, error) { return []byte("sealed"), nil })
			return err
		}(),
		kv.Put(ctx, []byte("held/1000001"), []byte("2.0"), 0),
		s.PutSubjectToken(ctx, hash, store.SubjectToken{Account: "bob", Client: "tv"}, until),
		s.Revoke(ctx, id, until),
		func() error { _, err := s.CreateClient(ctx, aClient("com.example.app")); return err }(),
		func() error { _, err := s.AddAttempt(ctx, store.SubjectID("bob"), time.Minute); return err }(),
		func() error {
			_, err := s.IssueLicense(ctx, store.SubjectID("bob"), license(258, 1000001, 1, time.Hour), 1)
			return err
		}(),
		s.SetPolling(ctx, 48, until),
	}
	for i, err := range writes {
		if err != nil {
			t.Fatalf("write %d = %v", i, err)
		}
	}
	const day = 24 * time.Hour
	const bob = "\x81\xb6\x37\xd8\xfc\xd2\xc6\xda\x63\x59\xe6\x96\x31\x13\xa1\x17" // SHA-256("bob"), first half
	family := aFamily()
	want := map[string]string{
		`A "cat" "\x00\x00\x00\x00\x00\x0fBA"`:                        `2 bytes, for good`,
		fmt.Sprintf(`E "e" %q`, bob):                                  `5 bytes, for good`,
		fmt.Sprintf(`F %q ""`, id[:]):                                 `73 bytes, for 1h0m0s`,
		fmt.Sprintf(`G %q ""`, bob):                                   `9 bytes, for 1m0s`,
		fmt.Sprintf(`H %q %q`, "\x00\x00\x00\x00\x00\x0fBA\x20", bob): `9 bytes, for good`,
		fmt.Sprintf(`I " " %q`, bob):                                  `5 bytes, for good`,
		`K "ring" ""`:                                                 `6 bytes, for good`,
		fmt.Sprintf(`L %q %q`, bob, "\x00\x00\x00\x00\x00\x0fBA"):     "39 bytes, for " + (time.Hour + 30*day).String(),
		`M "format" ""`:                                               `5 bytes, for good`,
		fmt.Sprintf(`N %q ""`, "\x00\x00\x00\x00\x00\x00\x01\x02"):    "25 bytes, for " + (time.Hour + 180*day).String(),
		`O "polling" ""`:                                              `22 bytes, for 1h0m0s`,
		`P "rollout" "held/1000001"`:                                  `3 bytes, for good`,
		`R "client" "com.example.app"`:                                `87 bytes, for good`,
		fmt.Sprintf(`S %q %q`, family.Subject[:], id[:]):              `9 bytes, for good`,
		fmt.Sprintf(`T %q ""`, hash[:]):                               `13 bytes, for 1h0m0s`,
		fmt.Sprintf(`U %q ""`, bob):                                   `13 bytes, for good`,
		fmt.Sprintf(`X "x" %q`, id[:]):                                `9 bytes, for 1h0m0s`,
	}
	got := map[string]string{}
	err := e.Dump(ctx, func(it store.Item) error {
		life := "for good"
		if !it.Expires.IsZero() {
			life = "for " + it.Expires.Sub(start).String()
		}
		if kind := store.Kind(it.Key.Table); strings.HasPrefix(kind, "table ") {
			t.Errorf("Kind(%c) = %q, want what it holds in words", it.Key.Table, kind)
		}
		got[fmt.Sprintf("%c %q %q", it.Key.Table, it.Key.Part, it.Key.Sub)] = fmt.Sprintf("%d bytes, %s", len(it.Value), life)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s = %q, want %q", key, got[key], value)
		}
		delete(got, key)
	}
	for key, value := range got {
		t.Errorf("%s = %q is not in the map", key, value)
	}
}
