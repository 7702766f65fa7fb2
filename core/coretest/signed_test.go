package coretest_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/jedisct1/go-minisign"

	"github.com/souk-market/souk/core"
	"github.com/souk-market/souk/core/coretest"
	"github.com/souk-market/souk/sdk/abi"
)

// TestAnUploadIsSigned: whoever has the admin token alone changes no policy where
// keys are trusted.
func TestAnUploadIsSigned(t *testing.T) {
	t.Parallel()
	private := minisign.PrivateKey{SignatureAlgorithm: [2]byte{'E', 'd'}, KeyId: [8]byte{7}}
	copy(private.SecretKey[:], ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	public := private.PublicKey()
	allows, denies := says(abi.Allow, 0, 1).wasm(), says(abi.Deny, 0, 1).wasm()
	signature, err := private.Sign(denies, minisign.SignOptions{Hashed: true})
	if err != nil {
		t.Fatal(err)
	}
	header := base64.StdEncoding.EncodeToString(signature.Encode())

	s := coretest.Start(t, func(c *core.Config) {
		with(policySpec("policy", allows))(c) // as a module that comes with the program
		c.Plugins.TrustedKeys = []string{base64.StdEncoding.EncodeToString(slices.Concat(public.SignatureAlgorithm[:], public.KeyId[:], public.PublicKey[:]))}
	})
	o := operatorOf(t, s)
	access := deviceOf(t, s, coretest.Alice).access
	o.upload("policy", denies).declines(t, "no signature", 422, "the module is not signed")
	o.upload("policy", denies, "Souk-Signature", "?").declines(t, "a header that is no base64", 400, "Souk-Signature")
	o.upload("policy", denies, "Souk-Signature", base64.StdEncoding.EncodeToString([]byte("x"))).declines(t, "a signature that is none", 422, "its signature is none of minisign")
	o.upload("policy", says(abi.Deny, 1, 1).wasm(), "Souk-Signature", header).declines(t, "the signature of another", 422, "is of another module, or damaged")
	updates(t, s, access, deviceOS, notesOld).gives(t, "after what was refused", []app{notesNew})
	done := o.upload("policy", denies, "Souk-Signature", header)
	if got := done.object(t); done.status != 200 || got["signed_by"] != "0000000000000007" {
		t.Errorf("a signed module is answered %d %s", done.status, done.body)
	}
	updates(t, s, access, deviceOS, notesOld).gives(t, "after the swap", nil)
	if !strings.Contains(s.Log.String(), "action=plugin.swap") || !strings.Contains(s.Log.String(), "signed_by=0000000000000007") {
		t.Error("the audit doesn't say who has signed")
	}
}
