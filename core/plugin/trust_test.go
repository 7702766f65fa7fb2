package plugin_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jedisct1/go-minisign"

	"github.com/souk-market/souk/core/plugin"
)

// signer is somebody with a key; every number makes another one.
type signer struct{ private minisign.PrivateKey }

func newSigner(number byte) signer {
	var s signer
	s.private.SignatureAlgorithm = [2]byte{'E', 'd'}
	s.private.KeyId = [8]byte{number}
	copy(s.private.SecretKey[:], ed25519.NewKeyFromSeed(bytes.Repeat([]byte{number}, ed25519.SeedSize)))
	return s
}

// key is the line of the .pub file.
func (s signer) key() string {
	p := s.private.PublicKey()
	return base64.StdEncoding.EncodeToString(slices.Concat(p.SignatureAlgorithm[:], p.KeyId[:], p.PublicKey[:]))
}

func (s signer) sign(t testing.TB, wasm []byte, hashed bool) []byte {
	t.Helper()
	signature, err := s.private.Sign(wasm, minisign.SignOptions{TrustedComment: "for tests", Hashed: hashed})
	if err != nil {
		t.Fatal(err)
	}
	return signature.Encode()
}

// signedDir is a directory with modules and what was signed of them.
type signedDir struct {
	testing.TB
	dir string
}

func (d signedDir) write(name string, content []byte) {
	d.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), content, 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d signedDir) spec(name string) plugin.Spec {
	s := spec(name, nil)
	s.File = name + ".wasm"
	return s
}

func (d signedDir) open(keys []string, specs ...plugin.Spec) (*plugin.Host, error) {
	d.Helper()
	h, err := plugin.Open(d.Context(), plugin.Options{Specs: specs, Dir: d.dir, Keys: keys})
	if err == nil {
		d.Cleanup(func() { _ = h.Close(d.Context()) })
	}
	return h, err
}

func TestModulesAreSigned(t *testing.T) {
	alice, bob, mallory := newSigner(1), newSigner(2), newSigner(3)
	twin := newSigner(4) // with the id of alice's key
	twin.private.KeyId = alice.private.KeyId
	keys := []string{alice.key(), bob.key()}
	module, other := marked("one"), marked("two")
	good := alice.sign(t, module, true)
	d := signedDir{t, t.TempDir()}
	d.write("a.wasm", module)
	for _, c := range []struct {
		rule      string
		signature []byte // nil = there is none
		want      string // of the refusal; "" = it is taken
	}{
		{"signed", good, ""},
		{"signed as minisign did before 0.10", alice.sign(t, module, false), ""},
		{"signed under the second key", bob.sign(t, module, true), ""},
		{"with the ends of lines of Windows", bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), ""},
		{"not signed", nil, "the module is not signed, and plugins.trusted_keys wants it to be"},
		{"signed by nobody that is trusted", mallory.sign(t, module, true), "signed under the key 0000000000000003, which is none of plugins.trusted_keys"},
		{"signed under a key with the id of another", twin.sign(t, module, true), "the signature under the key 0000000000000001 is of another module, or damaged"},
		{"the signature of another module", alice.sign(t, other, true), "is of another module, or damaged"},
		{"another comment", bytes.Replace(good, []byte("for tests"), []byte("for trust"), 1), "is of another module, or damaged"},
		{"an empty signature", []byte{}, "signature"},
		{"half of a signature", good[:len(good)/2], "its signature is none of minisign"},
		{"no base64", bytes.ReplaceAll(good, []byte("="), []byte("!")), "its signature is none of minisign"},
		{"a signature of megabytes", bytes.Repeat([]byte("x"), 1<<20), "its signature is none of minisign"},
		{"an algorithm that there isn't", bytes.Replace(good, []byte("\nRU"), []byte("\nRX"), 1), "is of another module, or damaged"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			d := signedDir{t, d.dir}
			_ = os.Remove(filepath.Join(d.dir, "a.wasm.minisig"))
			if c.signature != nil {
				d.write("a.wasm.minisig", c.signature)
			}
			_, err := d.open(keys, d.spec("a"))
			d.verdict("the file", err, c.want)

			// An upload is held to the same; what is live is the program's own.
			h, err := d.open(keys, spec("a", marked("builtin")))
			if err != nil {
				t.Fatalf("a module that comes with the program: %v", err)
			}
			_, err = h.Swap(t.Context(), "a", plugin.Module{Wasm: module, Signature: c.signature})
			if _, bad := errors.AsType[*plugin.BadModule](err); c.want != "" && !bad {
				t.Errorf("the upload: %v is no fault of the module", err)
			}
			d.verdict("the upload", err, c.want)
		})
	}
	t.Run("without trusted keys", func(t *testing.T) {
		d := signedDir{t, d.dir}
		_ = os.Remove(filepath.Join(d.dir, "a.wasm.minisig"))
		h, err := d.open(nil, d.spec("a"))
		d.verdict("the file", err, "")
		_, err = h.Swap(t.Context(), "a", plugin.Module{Wasm: other, Signature: []byte("nonsense")})
		d.verdict("the upload", err, "")
		if p := h.Plugins()[0]; p.SignedBy != "" {
			t.Errorf("the plugin is signed by %q, want nobody: nobody looked", p.SignedBy)
		}
	})
}

func (d signedDir) verdict(what string, err error, want string) {
	d.Helper()
	switch {
	case want == "" && err != nil:
		d.Errorf("%s: %v, want it to be taken", what, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")):
		d.Errorf("%s: %v, want one line with %q", what, err, want)
	}
}

// TestMinisignItself: what the tool of that name has signed.
func TestMinisignItself(t *testing.T) {
	const dir = "testdata/signed"
	public, err := os.ReadFile(dir + "/key.pub")
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(strings.Split(string(public), "\n")[1])
	s := spec("signed", nil)
	s.File = "guest.wasm"
	h := open(t, plugin.Options{Specs: []plugin.Spec{s}, Dir: dir, Keys: []string{key}})
	if p := h.Plugins()[0]; p.SignedBy == "" || !strings.Contains(string(public), p.SignedBy) {
		t.Errorf("signed by %q, want the id in %s", p.SignedBy, public)
	}
}

func TestTrustedKeys(t *testing.T) {
	good := newSigner(1).key()
	for _, bad := range []string{"", "x", good[:len(good)-2], "RX" + good[2:], "untrusted comment: minisign public key 1\n" + good, good + good} {
		if _, err := plugin.ParseKeys([]string{good, bad}); err == nil || !strings.HasPrefix(err.Error(), "plugins.trusted_keys[1]: ") {
			t.Errorf("ParseKeys of %q: %v, want a refusal that names it", bad, err)
		}
		if _, err := plugin.Open(t.Context(), plugin.Options{Keys: []string{bad}}); err == nil {
			t.Errorf("Open with the key %q trusts it", bad)
		}
	}
}

// TestKeysAreRotated: new and old together, then new alone, while the plugin runs.
func TestKeysAreRotated(t *testing.T) {
	before, after := newSigner(1), newSigner(2)
	d := signedDir{t, t.TempDir()}
	first := marked("first")
	d.write("a.wasm", first)
	d.write("a.wasm.minisig", before.sign(t, first, true))
	h, err := d.open([]string{before.key()}, d.spec("a"))
	if err != nil {
		t.Fatal(err)
	}
	reload := func(want string, keys ...signer) {
		t.Helper()
		var lines []string
		for _, k := range keys {
			lines = append(lines, k.key())
		}
		r, err := h.Reload(t.Context(), []plugin.Spec{d.spec("a")}, lines)
		if got := fmt.Sprint(r.Changed, r.Unchanged, err); !strings.HasPrefix(got, want) {
			t.Errorf("Reload with %d keys: %s, want %s", len(keys), got, want)
		}
	}
	second := marked("second")
	upload := func(by signer) error {
		_, err := h.Swap(t.Context(), "a", plugin.Module{Wasm: second, Signature: by.sign(t, second, true)})
		return err
	}
	if err := upload(after); err == nil {
		t.Error("a key is trusted before it is named")
	}
	reload("[] [a] <nil>", before, after)
	if err := upload(after); err != nil {
		t.Errorf("an upload under the new key: %v", err)
	}
	if p := h.Plugins()[0]; p.SignedBy != "0000000000000002" {
		t.Errorf("signed by %q, want the new key", p.SignedBy)
	}
	if _, err := h.Return(t.Context(), "a", ""); err != nil {
		t.Errorf("a return while both keys are trusted: %v", err)
	}
	// The old key goes: what it signed does not start again, not even unchanged.
	reload("[] [] plugin[0] a: the module is signed under the key 0000000000000001, which is none of plugins.trusted_keys", after)
	if err := upload(before); err != nil {
		t.Errorf("after a reload that was refused: %v, want the old keys", err)
	}
	d.write("a.wasm.minisig", after.sign(t, first, true))
	reload("[a] [] <nil>", after)
	if _, err := h.Return(t.Context(), "a", ""); err == nil || !strings.Contains(err.Error(), "was signed under the key 0000000000000001, which is no more in plugins.trusted_keys") {
		t.Errorf("a return to what the old key signed: %v, want a refusal", err)
	}
	if err := upload(before); err == nil {
		t.Error("the old key is still trusted")
	}
	if got, _, _ := check(h); got != "first" {
		t.Errorf("the mark is %q in the end, want first", got)
	}
	// Without a signature nothing is loaded, and with no keys everything.
	if err := os.Remove(filepath.Join(d.dir, "a.wasm.minisig")); err != nil {
		t.Fatal(err)
	}
	reload("[] [] plugin[0] a: the module is not signed", after)
	reload("[a] [] <nil>")
}
