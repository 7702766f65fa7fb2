package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/souk-market/souk/core/token"
)

// What the server signs is verified, and each part of it is looked at.
func TestVerify(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := token.PublicPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseInstallKey(text, "1", "k")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, test := range map[string]struct {
		issuer, id, bundle string
		version            uint64
		again              bool
		age                time.Duration
		err                string
	}{
		"good":            {"1", "k", "com.example.a", 3, true, 0, ""},
		"a download":      {"1", "k", "com.example.a", 3, false, 0, `dtype "download"`},
		"another key id":  {"1", "x", "com.example.a", 3, true, 0, `kid "x"`},
		"another market":  {"2", "k", "com.example.a", 3, true, 0, `iss "2"`},
		"another version": {"1", "k", "com.example.a", 4, true, 0, "vid 4"},
		"another app":     {"1", "k", "com.example.b", 3, true, 0, "bid com.example.b"},
		"over":            {"1", "k", "com.example.a", 3, true, time.Hour, "the token is good"},
	} {
		s := token.InstallSigner{Issuer: test.issuer, KeyID: test.id, Key: key, Now: func() time.Time { return now.Add(-test.age) }}
		signed, err := s.Sign(token.InstallClaims{BundleID: test.bundle, Item: 2, Version: test.version, Redownload: test.again})
		if err != nil {
			t.Fatal(err)
		}
		err = k.verify(&offer{item: 2, version: 3, token: []byte(signed)}, "com.example.a", now, now.Add(time.Minute))
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: verify = %v, want %q", name, err, test.err)
		}
	}
}
