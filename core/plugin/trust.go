package plugin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/jedisct1/go-minisign"
)

// SignatureEnd is what the file of a signature is called behind the name of its
// module: minisign writes it there.
const SignatureEnd = ".minisig"

// maxSignature is far above what minisign writes.
const maxSignature = 8 << 10

// ParseKeys reads public keys as minisign writes them: the second line of its .pub
// file. The error says which is none.
func ParseKeys(lines []string) ([]TrustedKey, error) {
	var keys []TrustedKey
	for i, line := range lines {
		k, err := minisign.NewPublicKey(line)
		if err != nil || k.SignatureAlgorithm != [2]byte{'E', 'd'} {
			return nil, fmt.Errorf("plugins.trusted_keys[%d]: %.60q is no public key of minisign: write the second line of its .pub file, which begins with RW", i, line)
		}
		keys = append(keys, TrustedKey{k})
	}
	return keys, nil
}

// TrustedKey is a key whose signature makes a module one that may be loaded.
type TrustedKey struct{ key minisign.PublicKey }

// String returns the key's id as minisign shows it.
func (k TrustedKey) String() string { return keyID(k.key.KeyId) }

func keyID(id [8]byte) string { return fmt.Sprintf("%016X", binary.LittleEndian.Uint64(id[:])) }

// voucher is who stands up for a module: nobody, the program that carries it, or a
// key.
type voucher struct {
	program bool
	key     TrustedKey
}

func (v voucher) String() string {
	if v.key == (TrustedKey{}) {
		return ""
	}
	return v.key.String()
}

// vouch says who stands up for a module, and refuses one that nobody trusted does.
// Without trusted keys nobody is asked.
func (l *loader) vouch(s *Spec, wasm []byte) (voucher, error) {
	v := voucher{program: s.Wasm != nil && s.upload == nil}
	if len(l.keys) == 0 || v.program {
		return v, nil
	}
	text, err := l.signature(s)
	if err != nil {
		return v, err
	}
	signature, err := minisign.DecodeSignature(string(text))
	if err != nil {
		return v, errors.New("its signature is none of minisign: sign the module with \"minisign -S -m\"")
	}
	for _, k := range l.keys {
		if k.key.KeyId != signature.KeyId {
			continue
		}
		if ok, err := k.key.Verify(wasm, signature); err != nil || !ok {
			return v, fmt.Errorf("the signature under the key %s is of another module, or damaged: sign this one", k)
		}
		v.key = k
		return v, nil
	}
	return v, fmt.Errorf("the module is signed under the key %s, which is none of plugins.trusted_keys", keyID(signature.KeyId))
}

// signature is what came with an upload, or stands beside the file.
func (l *loader) signature(s *Spec) ([]byte, error) {
	if s.upload != nil {
		if len(s.upload.Signature) == 0 {
			return nil, errors.New("the module is not signed, and plugins.trusted_keys wants it to be: sign it with \"minisign -S -m\", and send its signature too")
		}
		return s.upload.Signature, nil
	}
	path := l.path(s.File) + SignatureEnd
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the module is not signed, and plugins.trusted_keys wants it to be: %s doesn't exist, which \"minisign -S -m %s\" makes", path, l.path(s.File))
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSignature))
}

// trusts says whether a module that was loaded may still be asked: the keys may
// have changed since.
func (l *loader) trusts(v voucher) error {
	if len(l.keys) == 0 || v.program || slices.Contains(l.keys, v.key) {
		return nil
	}
	if v.key == (TrustedKey{}) {
		return errors.New("the module was never signed, and plugins.trusted_keys wants it to be")
	}
	return fmt.Errorf("the module was signed under the key %s, which is no more in plugins.trusted_keys", v)
}
