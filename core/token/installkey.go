package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// ParseInstallKey reads the private half of an alternative distribution key: a P-256
// key in PEM, as PKCS#8 ("PRIVATE KEY") or SEC 1 ("EC PRIVATE KEY", as openssl writes
// it, with or without its parameters in front).
func ParseInstallKey(text []byte) (*ecdsa.PrivateKey, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("token: install key: no private key in PEM found")
		}
		switch block.Type {
		case "EC PARAMETERS":
		case "EC PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errors.New("token: install key is encrypted: store it without a passphrase")
			}
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("token: install key: %w", err)
			}
			return onP256(key)
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("token: install key: %w", err)
			}
			return onP256(key)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("token: install key is encrypted: store it without a passphrase")
		default:
			return nil, fmt.Errorf("token: install key: found a %q, want the private key", block.Type)
		}
	}
}

func onP256(key any) (*ecdsa.PrivateKey, error) {
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("token: install key is a %T, want an elliptic curve key on P-256", key)
	}
	if ec.Curve != elliptic.P256() {
		return nil, fmt.Errorf("token: install key is on %s, want P-256", ec.Curve.Params().Name)
	}
	return ec, nil
}

// PublicPEM returns the public half, as App Store Connect wants it when the key is registered.
func PublicPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("token: encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
