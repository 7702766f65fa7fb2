package core

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/souk-market/souk/core/store"
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
func (c *Config) openRing(ctx context.Context, s *store.Store, created func(string)) (*token.Ring, error) {
	_, err := s.KeyRing(ctx)
	empty := errors.Is(err, store.ErrNotFound)
	if err != nil && !empty {
		return nil, fmt.Errorf("read the key ring: %w", err)
	}
	if !empty && c.Key == "" && c.Token.KeyFile == "" {
		if _, err := os.Stat(c.data("souk.key")); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("token.key_file: the store has a key ring, but %s is gone: put it back, or set SOUK_KEY", c.data("souk.key"))
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
	sealed, err := s.KeyRing(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the key ring: %w", err)
	}
	keys, err := token.OpenKeys(master, sealed)
	if err != nil {
		return nil, fmt.Errorf("token.key_file: is not the key of this store's key ring: %w", err)
	}
	return token.NewRing(keys)
}

func (c *Config) firstRing(master [32]byte) ([]byte, error) {
	key, err := token.NewKey(c.Rand, 1, c.clock()())
	if err != nil {
		return nil, err
	}
	return token.SealKeys(master, c.Rand, []token.Key{key})
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
	return os.Rename(tmp.Name(), file)
}
