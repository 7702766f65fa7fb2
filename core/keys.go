package core

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/souk-market/souk/core/store"
	"github.com/souk-market/souk/core/store/audit"
	"github.com/souk-market/souk/core/token"
)

// masterKey is the key that the key ring is encrypted under: from the
// environment, or from a file that is made at the first start.
func (c *Config) masterKey(created func(string)) (key [32]byte, err error) {
	if c.Key != "" {
		if !parseKey(c.Key, &key) {
			return key, errors.New("SOUK_KEY: is no key: it has 64 hexadecimal digits")
		}
		return key, nil
	}
	file := c.path(c.Token.KeyFile)
	if file == "" {
		file = c.data("souk.key")
	}
	text, err := secretFile(file, created, func() (string, error) {
		_, err := io.ReadFull(c.Rand, key[:])
		return hex.EncodeToString(key[:]), err
	})
	if err != nil {
		return key, fmt.Errorf("token.key_file: %w", err)
	}
	if !parseKey(text, &key) {
		return key, fmt.Errorf("token.key_file: %s holds no key: it has 64 hexadecimal digits", file)
	}
	return key, nil
}

func parseKey(s string, key *[32]byte) bool {
	b, err := hex.DecodeString(strings.TrimSpace(s))
	return err == nil && copy(key[:], b) == 32 && len(b) == 32
}

// openRing reads the key ring, and makes one in an empty store.
func (c *Config) openRing(ctx context.Context, s *store.Store, created func(string)) (*keyring, error) {
	_, err := s.KeyRing(ctx)
	empty := errors.Is(err, store.ErrNotFound)
	if err != nil && !empty {
		return nil, fmt.Errorf("read the key ring: %w", err)
	}
	if !empty && c.Key == "" {
		file := cmp.Or(c.path(c.Token.KeyFile), c.data("souk.key"))
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("token.key_file: the store has a key ring, but its key %s is gone: put it back, or set SOUK_KEY", file)
		}
	}
	master, err := c.masterKey(created)
	if err != nil {
		return nil, err
	}
	if empty {
		fresh, err := c.firstRing(master)
		if err != nil {
			return nil, err
		}
		if err := s.Audit(ctx, keyEntry(audit.KeyRotated, 1)); err != nil {
			return nil, fmt.Errorf("write the key ring: %w", err)
		}
		_, err = s.UpdateKeyRing(ctx, func(cur []byte) ([]byte, error) {
			if cur != nil {
				return nil, nil // another node was first
			}
			return fresh, nil
		})
		if err != nil {
			return nil, fmt.Errorf("write the key ring: %w", err)
		}
	}
	k := &keyring{store: s, master: master, life: c.Token.RefreshIdle.Std(), now: c.clock(), rand: c.Rand, log: c.Log}
	return k, k.load(ctx)
}

func (c *Config) firstRing(master [32]byte) ([]byte, error) {
	key, err := token.NewKey(c.Rand, 1, c.clock()())
	if err != nil {
		return nil, err
	}
	return token.SealKeys(master, c.Rand, []token.Key{key})
}

// installKeyID is the id that App Store Connect gave to the key. Without one the
// key names itself, which is good for trying things out: Apple doesn't know it.
func (c *Config) installKeyID(key *ecdsa.PrivateKey) (string, error) {
	if id := c.Market.InstallKeyID; id != "" {
		return id, nil
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(public)
	c.Log.Warn("market.install_key_id is empty: devices will not take the install verification tokens. Register the public key at App Store Connect, and write its id there")
	return hex.EncodeToString(sum[:16]), nil
}

// installKey is the key that signs install verification tokens.
func (c *Config) installKey(created func(string)) (*ecdsa.PrivateKey, error) {
	file := c.path(c.Market.InstallKey)
	if file == "" {
		file = c.data("install.pem")
	}
	make := func() (string, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), c.Rand)
		if err != nil {
			return "", err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
	}
	if c.Market.InstallKey != "" {
		make = nil
	}
	text, err := secretFile(file, created, make)
	if err != nil {
		return nil, fmt.Errorf("market.install_key: %w", err)
	}
	key, err := token.ParseInstallKey([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("market.install_key: %s: %w", file, err)
	}
	return key, nil
}

// secretFile reads a small file, and makes it first if it is missing and may be
// made. It is there whole or not at all, and only its owner can read it.
func secretFile(file string, created func(string), content func() (string, error)) (string, error) {
	text, err := os.ReadFile(file)
	if err == nil || !errors.Is(err, os.ErrNotExist) || content == nil {
		return string(text), err
	}
	fresh, err := content()
	if err != nil {
		return "", err
	}
	if err := writeSecret(file, fresh); err != nil {
		return "", err
	}
	created(file)
	return fresh, nil
}

func writeSecret(file, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// syncDir makes a new name in a directory survive a power loss: what is encrypted
// under a key must not be durable before the key is.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil && runtime.GOOS != "windows" { // which has no such thing
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// adminToken is the secret of the admin API, made at the first start.
func (c *Config) adminToken(created func(string)) (string, error) {
	file := c.path(c.Admin.TokenFile)
	if file == "" {
		file = c.data("admin.token")
	}
	t, err := secretFile(file, created, func() (string, error) { return token.NewOpaque(c.Rand) })
	if err != nil {
		return "", fmt.Errorf("admin.token_file: %w", err)
	}
	t = strings.TrimSpace(t)
	if b, err := base64.RawURLEncoding.DecodeString(t); err != nil || len(b) < 16 {
		return "", fmt.Errorf("admin.token_file: %s holds no token: remove it, and the next start makes one", file)
	}
	return t, nil
}
