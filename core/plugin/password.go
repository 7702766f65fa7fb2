package plugin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/souk-market/souk/sdk/abi"
)

// argonParams are the parameters of an argon2id hash.
type argonParams struct {
	memory  uint32 // KiB
	passes  uint32
	threads uint8
}

// argonNew is what new hashes get: the second choice of RFC 9106 costs 64 MiB a
// sign-in, this one is OWASP's for servers with many.
var argonNew = argonParams{memory: 19456, passes: 2, threads: 1}

const (
	saltBytes = 16
	keyBytes  = 32

	// Bounds of a stored hash: it comes from a guest, and its parameters say
	// how much work the host does.
	maxArgonMemory  = 64 << 10  // KiB
	maxArgonWork    = 256 << 10 // KiB times passes
	maxArgonThreads = 4
	maxHash         = 1 << 10 // bytes of its string
)

// passwords bounds how many are worked on at a time, of the whole process: each
// takes a core and 19 MiB.
var passwords = make(chan struct{}, runtime.GOMAXPROCS(0))

var b64 = base64.RawStdEncoding.Strict()

// derive waits for its turn and works.
func derive(ctx context.Context, password string, salt []byte, p argonParams, size int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("wait for a turn to hash a password: %w", err)
	}
	select {
	case passwords <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a turn to hash a password: %w", ctx.Err())
	}
	defer func() { <-passwords }()
	return argon2.IDKey([]byte(password), salt, p.passes, p.memory, p.threads, uint32(size)), nil
}

// HashPassword returns the argon2id hash of a password in the PHC string
// format. At most GOMAXPROCS are worked on at a time; ctx bounds the wait.
func HashPassword(ctx context.Context, password string) (string, error) {
	if len(password) > abi.MaxPassword {
		return "", fmt.Errorf("the password has more than %d bytes", abi.MaxPassword)
	}
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	key, err := derive(ctx, password, salt, argonNew, keyBytes)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argonNew.memory, argonNew.passes, argonNew.threads, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// VerifyPassword reports whether a password has this hash. A hash that is empty
// or none takes as long and matches nothing.
func VerifyPassword(ctx context.Context, password, hash string) bool {
	ok, _ := verifyPassword(ctx, password, hash)
	return ok
}

func verifyPassword(ctx context.Context, password, hash string) (bool, error) {
	p, salt, want, err := parseHash(hash)
	if err != nil || len(password) > abi.MaxPassword {
		_, err := derive(ctx, "", make([]byte, saltBytes), argonNew, keyBytes)
		return false, err
	}
	have, err := derive(ctx, password, salt, p, len(want))
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(have, want) == 1, nil
}

var errHash = errors.New("no argon2id hash within bounds")

func parseHash(hash string) (p argonParams, salt, key []byte, err error) {
	if len(hash) > maxHash || strings.ContainsAny(hash, "\r\n") { // base64 would skip the ends of lines
		return p, nil, nil, errHash
	}
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.threads); err != nil {
		return p, nil, nil, errHash
	}
	if parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.passes, p.threads) {
		return p, nil, nil, errHash // Sscanf reads more than we wrote
	}
	if p.threads < 1 || p.threads > maxArgonThreads || p.passes < 1 || p.memory < 8*uint32(p.threads) ||
		p.memory > maxArgonMemory || uint64(p.memory)*uint64(p.passes) > maxArgonWork {
		return p, nil, nil, errHash
	}
	salt, err1 := b64.DecodeString(parts[4])
	key, err2 := b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return p, nil, nil, errHash
	}
	return p, salt, key, nil
}

// password_hash(password, plen, out, cap) -> length
func hostPasswordHash(in *instance, stack []uint64) {
	in.charge(pricePassword)
	password, ok := in.bytes(stack[0], stack[1])
	if !ok || len(password) > abi.MaxPassword || !in.space(stack[2], stack[3]) || !in.asked.personal() {
		stack[0] = code(abi.CodeRefused)
		return
	}
	var hash string
	err := in.outside(func(ctx context.Context) (err error) {
		hash, err = HashPassword(ctx, string(password))
		return err
	})
	if err != nil {
		stack[0] = code(abi.CodeFailed)
		return
	}
	stack[0] = in.fill(stack[2], stack[3], []byte(hash))
}

// password_verify(password, plen, hash, hlen) -> 1 or 0
func hostPasswordVerify(in *instance, stack []uint64) {
	in.charge(pricePassword)
	password, ok1 := in.bytes(stack[0], stack[1])
	hash, ok2 := in.bytes(stack[2], stack[3])
	if !ok1 || !ok2 || len(password) > abi.MaxPassword || !in.asked.personal() {
		stack[0] = code(abi.CodeRefused)
		return
	}
	if len(hash) > maxHash {
		hash = nil // as good as none
	}
	var same bool
	err := in.outside(func(ctx context.Context) (err error) {
		same, err = verifyPassword(ctx, string(password), string(hash))
		return err
	})
	switch {
	case err != nil:
		stack[0] = code(abi.CodeFailed)
	case same:
		stack[0] = 1
	default:
		stack[0] = 0
	}
}
