package policy

import (
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

// FieldCode is the field of the second step.
const FieldCode = "code"

// UsedPrefix begins the keys under which the last time step is kept whose code an
// account has used; the address follows.
const UsedPrefix = "totp/"

// What every authenticator app takes, and some take nothing else (RFC 6238 §4,
// RFC 4226 §5.3): SHA-1, steps of half a minute, six digits.
const (
	step   = 30 * 1000 // ms
	digits = 6
	modulo = 1_000_000
	// drift is how many steps a clock may be off. A person who types slowly needs
	// one, and RFC 6238 §5.2 wants no more.
	drift = 1
)

const (
	sayCode      = "Enter the code that your authenticator app shows."
	sayWrongCode = "The code is not right. Codes change every 30 seconds, and each is good once."
	sayAgain     = "Begin again: your account was changed meanwhile."
)

var b32 = base32.StdEncoding.WithPadding(base32.NoPadding)

// code is the code of a time step (RFC 4226 §5.3).
func code(secret []byte, counter uint64) string {
	var message [8]byte
	binary.BigEndian.PutUint64(message[:], counter)
	mac := hmacSHA1(secret, message[:])
	at := mac[len(mac)-1] & 0xf
	n := binary.BigEndian.Uint32(mac[at:]) & 0x7fffffff % modulo
	text := strconv.Itoa(int(n))
	return strings.Repeat("0", digits-len(text)) + text
}

// hmacSHA1 is RFC 2104. Package crypto/hmac would double the module.
func hmacSHA1(key, message []byte) [sha1.Size]byte {
	if len(key) > sha1.BlockSize {
		sum := sha1.Sum(key)
		key = sum[:]
	}
	var inner, outer [sha1.BlockSize]byte
	copy(inner[:], key)
	copy(outer[:], key)
	for i := range inner {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	sum := sha1.Sum(append(inner[:], message...))
	return sha1.Sum(append(outer[:], sum[:]...))
}

// matches returns the time step whose code was typed, 0 if there is none. All steps
// are compared, each whole, so the time tells nothing.
func matches(secret []byte, typed string, nowMS uint64) uint64 {
	found, now := uint64(0), nowMS/step
	for counter := now - min(now, drift); counter <= now+drift; counter++ {
		if same(code(secret, counter), typed) {
			found = counter
		}
	}
	return found
}

func same(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	var differ byte
	for i := range len(a) {
		differ |= a[i] ^ b[i]
	}
	return differ == 0
}

// mark is what the second step remembers of the first: for whom, and with which
// password. The core seals it, so it is as good as the password for ten minutes.
func mark(account string, person Person) string {
	hash := person.Password
	return account + "\n" + hash[max(0, len(hash)-16):]
}

// second asks for the code.
func (p Page) second(req *abi.SignInRequest, account string, person Person, complaint string) abi.SignInAnswer {
	a := abi.SignInAnswer{Outcome: abi.SignInPage, Title: p.title(req), State: mark(account, person)}
	sentences := []string{complaint, sayCode}
	if req.Attempts >= warnAfter {
		sentences = append(sentences, sayWait)
	}
	a.Message = join(sentences)
	a.Fields = append(a.Fields, abi.FormField{Name: FieldCode, Label: "Code", Kind: "code"})
	return p.helped(a)
}

// submitCode checks what was typed at the second step.
func (p Page) submitCode(req *abi.SignInRequest) (abi.SignInAnswer, error) {
	account, _, _ := strings.Cut(req.State, "\n")
	person, ok, err := load(account)
	if err != nil {
		return abi.SignInAnswer{}, err
	}
	if !ok || person.Disabled || req.State != mark(account, person) {
		return p.form(req, "", sayAgain), nil
	}
	if person.TOTP == "" { // it was taken away meanwhile, and the password was right
		return done(account, person), nil
	}
	secret, err := b32.DecodeString(person.TOTP)
	if err != nil || len(secret) == 0 {
		return abi.SignInAnswer{}, errors.New("the record " + Prefix + account + " has a totp that is no base32")
	}
	typed := strings.ReplaceAll(strings.ReplaceAll(field(req, FieldCode), " ", ""), "-", "") // as apps show it
	counter := matches(secret, typed, req.NowMS)
	if counter == 0 {
		return p.second(req, account, person, sayWrongCode), nil
	}
	switch fresh, err := use(account, counter); {
	case err != nil:
		return abi.SignInAnswer{}, err
	case !fresh:
		return p.second(req, account, person, sayWrongCode), nil
	}
	return done(account, person), nil
}

// use notes that the code of a time step was used, and says whether it is the
// first of that step or a later one: a code is good once (RFC 6238 §5.2).
func use(account string, counter uint64) (fresh bool, err error) {
	key := UsedPrefix + account
	next := binary.LittleEndian.AppendUint64(nil, counter)
	for {
		last, err := souk.KVGet(key)
		switch {
		case errors.Is(err, souk.ErrNotFound):
			last = nil
		case err != nil:
			return false, err
		case len(last) == 8 && binary.LittleEndian.Uint64(last) >= counter:
			return false, nil
		}
		if err := souk.KVSwap(key, last, next); !errors.Is(err, souk.ErrConflict) {
			return err == nil, err
		} // else somebody was faster: what they left decides
	}
}
