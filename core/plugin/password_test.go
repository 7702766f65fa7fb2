package plugin_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

func TestPasswords(t *testing.T) {
	ctx := t.Context()
	hash, err := plugin.HashPassword(ctx, "wonderland")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("HashPassword = %q, %v", hash, err)
	}
	if again, _ := plugin.HashPassword(ctx, "wonderland"); again == hash {
		t.Error("two hashes of one password are alike, want other salts")
	}
	// Of the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 (64 MiB)
	const reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	parts := strings.Split(hash, "$")
	for _, c := range []struct {
		rule, password, hash string
		want                 bool
	}{
		{"the password", "wonderland", hash, true},
		{"another", "Wonderland", hash, false},
		{"the reference", "password", reference, true},
		{"no hash", "", "", false},
		{"no hash at all", "wonderland", "wonderland", false},
		{"4 GiB of memory", "wonderland", strings.Replace(hash, "m=19456", "m=4194304", 1), false},
		{"more memory than a number holds", "wonderland", strings.Replace(hash, "m=19456", "m=99999999999", 1), false},
		{"a million passes", "wonderland", strings.Replace(hash, "t=2", "t=1000000", 1), false},
		{"no passes", "wonderland", strings.Replace(hash, "t=2", "t=0", 1), false},
		{"no memory", "wonderland", strings.Replace(hash, "m=19456", "m=0", 1), false},
		{"255 threads", "wonderland", strings.Replace(hash, "p=1", "p=255", 1), false},
		{"no threads", "wonderland", strings.Replace(hash, "p=1", "p=0", 1), false},
		{"another algorithm", "wonderland", strings.Replace(hash, "argon2id", "argon2i", 1), false},
		{"an old version", "wonderland", strings.Replace(hash, "v=19", "v=16", 1), false},
		{"an empty key", "wonderland", strings.Join(append(parts[:5:5], ""), "$"), false},
		{"an empty salt", "wonderland", strings.Join([]string{"", parts[1], parts[2], parts[3], "", parts[5]}, "$"), false},
		{"a line's end behind it", "wonderland", hash + "\n", false},
		{"a line's end in the salt", "wonderland", strings.Join([]string{"", parts[1], parts[2], parts[3], parts[4][:4] + "\r\n" + parts[4][4:], parts[5]}, "$"), false},
		{"spaces in the parameters", "wonderland", strings.Replace(hash, ",t=2", ", t=2", 1), false},
	} {
		if got := plugin.VerifyPassword(ctx, c.password, c.hash); got != c.want {
			t.Errorf("%s: VerifyPassword(%s) = %v, want %v", c.rule, c.hash, got, c.want)
		}
	}
}

func TestPasswordsDoNotWaitForEver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := plugin.HashPassword(ctx, "wonderland"); err == nil {
		t.Error("HashPassword works though its context is done")
	}
	if _, err := plugin.HashPassword(t.Context(), strings.Repeat("x", 1<<20)); err == nil {
		t.Error("HashPassword takes 1 MiB")
	}
}

// FuzzPasswordHash reads hashes as a guest's data may hold them: what is taken
// costs no more than it may, and is written in one way only.
func FuzzPasswordHash(f *testing.F) {
	const good = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, hash := range []string{
		"", "$", "wonderland", good, good + "$", good + "\n", good[:40], strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "m=65536", "m=4294967295", 1), strings.Replace(good, "m=65536", "m=065536", 1), strings.Replace(good, "m=65536", "m=8", 1),
		strings.Replace(good, "t=2", "t=4", 1), strings.Replace(good, ",t=2", ", t=2", 1), strings.Replace(good, "p=1", "p=4", 1), strings.Replace(good, "p=1", "p=257", 1),
		strings.Replace(good, "c29tZXNhbHQ", "c29tZXNhbHR", 1), strings.Replace(good, "c29tZXNhbHQ", "c29t\r\nZXNhbHQ", 1),
	} {
		f.Add(hash)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		memory, passes, threads, salt, key, err := plugin.ParseHash(hash)
		if err != nil {
			return
		}
		if memory > 64<<10 || passes < 1 || uint64(memory)*uint64(passes) > 256<<10 || threads < 1 || threads > 4 || memory < 8*uint32(threads) {
			t.Errorf("%q is taken: %d KiB, %d passes, %d threads", hash, memory, passes, threads)
		}
		if len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
			t.Errorf("%q is taken: a salt of %d bytes, a key of %d", hash, len(salt), len(key))
		}
		b64 := base64.RawStdEncoding
		again := fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, threads, b64.EncodeToString(salt), b64.EncodeToString(key))
		if again != hash {
			t.Errorf("%q is taken, but is written %q", hash, again)
		}
	})
}

func TestSignInWithAGoGuest(t *testing.T) {
	kv := &store{}
	s := fullSpec(t)
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, KV: kv.open})
	step := func(method abi.SignInMethod, hint, email, password string) abi.SignInAnswer {
		t.Helper()
		c := h.Acquire()
		defer c.Release()
		c.SignIn.Purpose, c.SignIn.Method, c.SignIn.LoginHint = abi.PurposeSignIn, method, hint
		c.SignIn.Fields = append(c.SignIn.Fields, abi.SubmittedField{Name: "email", Value: email}, abi.SubmittedField{Name: "password", Value: password})
		answer, _, err := c.AskSignIn(t.Context(), "full")
		if err != nil {
			t.Fatal(err)
		}
		return abi.SignInAnswer{Outcome: answer.Outcome, Account: strings.Clone(answer.Account), Title: strings.Clone(answer.Title)}
	}
	if a := step(abi.SignInShow, "", "", ""); a.Outcome != abi.SignInPage || a.Title != "Hello" {
		t.Errorf("show: %+v, want the page", a)
	}
	if a := step(abi.SignInSubmit, "", "alice@example.com", "wonderland"); a.Outcome != abi.SignInRefused {
		t.Errorf("submit by somebody unknown: %+v, want a refusal", a)
	}
	if a := step(abi.SignInSubmit, "register", "alice@example.com", "wonderland"); a.Outcome != abi.SignInDone || a.Account != "person-1" {
		t.Errorf("submit: %+v, want person-1 signed in", a)
	}
	if a := step(abi.SignInSubmit, "", "alice@example.com", "looking glass"); a.Outcome != abi.SignInRefused {
		t.Errorf("submit with a wrong password: %+v, want a refusal", a)
	}
}
