package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/maphash"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// checks says which update checks devices send.
type checks struct {
	apps int  // of a device
	held bool // which have a newer version that is offered to nobody; without, the newest is installed

	// offered is how many of them have an older version installed and are offered the
	// newest, of the nth check of a connection; nil = none.
	offered  func(connection, nth int) int
	released bool // those are apps that came out just now
}

// check is an update check.
type check struct {
	request []byte
	offers  []int // which apps of the catalogue the answer offers, in order
}

// clients writes the check of each device. A connection stands for a part of the
// devices and goes through them in turn.
func (c checks) clients(f *filled, host string, connections int) ([]client, error) {
	if len(f.Devices) < connections {
		return nil, fmt.Errorf("%d devices are not enough for %d connections: --families has to be more", len(f.Devices), connections)
	}
	if n := drawable(f.Items, c.held); n < 2*c.apps {
		return nil, fmt.Errorf("%d apps of the catalogue are too few for devices with %d: --items has to be more", n, c.apps)
	}
	seed := maphash.MakeSeed()
	all := make([]client, connections)
	for i := range all {
		k := &checker{seed: seed}
		for j := i; j < len(f.Devices); j += connections {
			k.checks = append(k.checks, c.check(f, host, i, j, len(k.checks)))
		}
		all[i] = k
	}
	return all, nil
}

// check is that of one device.
func (c checks) check(f *filled, host string, connection, at, nth int) check {
	r := rand.New(rand.NewPCG(1, uint64(at)))
	offered := 0
	if c.offered != nil {
		offered = c.offered(connection, nth)
	}
	apps := draw(r, f.Items, c.apps, c.held)
	outdated := make([]bool, len(apps)) // so many of them, anywhere
	for _, i := range r.Perm(len(apps))[:offered] {
		outdated[i] = true
		if c.released {
			apps[i] = drawReleased(r, f.Items, apps)
		}
	}
	var k check
	body := append(make([]byte, 0, 64+64*len(apps)), `{"apps":[`...)
	for i, app := range apps {
		installed := newest
		switch {
		case c.held:
			installed--
		case outdated[i]:
			installed -= 1 + r.IntN(newest-1)
			k.offers = append(k.offers, app)
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(appendApp(body, app, installed), '}')
	}
	body = append(body, `],"platform":"iOS","osVersion":"26.1"}`...)
	k.request = appendCheck(nil, host, f.Devices[at].Access, body)
	return k
}

// appendApp appends how an app stands in a request, and in an answer too, up to what
// else there is of it.
func appendApp(b []byte, app, version int) []byte {
	b = strconv.AppendUint(append(b, `{"appleItemId":"`...), itemID(app), 10)
	b = strconv.AppendUint(append(b, `","appleVersionId":"`...), versionID(app, version), 10)
	return append(b, '"')
}

// appendCheck appends the request of an update check. With five apps it has 644 bytes,
// as those had that the targets were measured with.
func appendCheck(b []byte, host, access string, body []byte) []byte {
	b = append(append(b, "POST /updates HTTP/1.1\r\nHost: "...), host...)
	b = append(append(b, "\r\nAccept: */*\r\nAuthorization: Bearer "...), access...)
	b = append(b, "\r\nUser-Agent: managedappdistributiond/1 iOS/26.1 iPhone\r\nContent-Type: application/json\r\nContent-Length: "...)
	return append(append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...), body...)
}

// checker is a client that asks for updates.
type checker struct {
	checks []check
	at     int // the one under way

	seed   maphash.Seed
	tokens []uint64 // hashes of all that came
	kept   []string // some of them, whose signatures are to be verified
	whole  int      // answers with an offer so far
	want   []byte
}

func (k *checker) next(b []byte) []byte { return append(b, k.checks[k.at].request...) }

func (k *checker) sample() [][]byte {
	all := make([][]byte, len(k.checks))
	for i := range all {
		all[i] = k.checks[i].request
	}
	return all
}

// nothing is the answer without an offer.
const nothing = `{"updates":[]}`

func (k *checker) take(a *fasthttp.Response) error {
	c := &k.checks[k.at]
	k.at = (k.at + 1) % len(k.checks)
	body := a.Body()
	if a.StatusCode() != 200 {
		return fmt.Errorf("an update check was answered %d: %s", a.StatusCode(), body)
	}
	if len(c.offers) == 0 {
		if string(body) != nothing {
			return fmt.Errorf("an update check was answered %s, and not %s", body, nothing)
		}
		return nil
	}
	first := len(k.tokens)
	last, err := k.offers(c, body)
	if err != nil {
		return fmt.Errorf("%w: %s", err, body)
	}
	if len(k.tokens)-first != len(c.offers) {
		return fmt.Errorf("an update check was answered with %d tokens for %d offers: %s", len(k.tokens)-first, len(c.offers), body)
	}
	if k.whole++; k.whole%wholeEvery == 1 {
		if len(k.kept) < keptEach {
			k.kept = append(k.kept, string(last))
		}
		return readOffers(c, body)
	}
	return nil
}

// keptEach is how many tokens of a connection have their signatures verified.
const keptEach = 4

// offers goes over an answer with its offers, and returns the last token.
func (k *checker) offers(c *check, body []byte) (token []byte, err error) {
	rest, ok := bytes.CutPrefix(body, []byte(`{"updates":[`))
	if !ok {
		return nil, errors.New("an update check was answered without updates")
	}
	for i, app := range c.offers {
		k.want = k.want[:0]
		if i > 0 {
			k.want = append(k.want, ',')
		}
		k.want = appendApp(k.want, app, newest)
		if rest, ok = bytes.CutPrefix(rest, k.want); !ok {
			return nil, fmt.Errorf("of an update check offer %d is not %s", i, k.want)
		}
		if _, rest, ok = bytes.Cut(rest, []byte(`,"installVerificationToken":"`)); ok {
			token, rest, ok = bytes.Cut(rest, []byte{'"'})
		}
		if !ok || len(token) == 0 {
			return nil, fmt.Errorf("of an update check offer %d has no token", i)
		}
		k.tokens = append(k.tokens, maphash.Bytes(k.seed, token))
		if _, rest, ok = bytes.Cut(rest, []byte{'}'}); !ok {
			return nil, fmt.Errorf("of an update check offer %d has no end", i)
		}
	}
	if string(rest) != `]}` {
		return nil, errors.New("an update check was answered with more than what is to be offered")
	}
	return token, nil
}

// readOffers reads an answer as a device does.
func readOffers(c *check, body []byte) error {
	type update struct {
		Item    string `json:"appleItemId"`
		Version string `json:"appleVersionId"`
		Package string `json:"alternativeDistributionPackage"`
		Build   string `json:"bundleVersion"`
		Short   string `json:"shortVersionString"`
		Token   string `json:"installVerificationToken"`
		Share   string `json:"appShareURL"`
	}
	var answer struct {
		Updates []update `json:"updates"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&answer); err != nil {
		return fmt.Errorf("an update check was answered with what is no list of updates: %w: %s", err, body)
	}
	if len(answer.Updates) != len(c.offers) {
		return fmt.Errorf("an update check was answered with %d updates, and not %d: %s", len(answer.Updates), len(c.offers), body)
	}
	for i, app := range c.offers {
		got := answer.Updates[i]
		want := update{
			fmt.Sprint(itemID(app)), fmt.Sprint(versionID(app, newest)), packageOf(app, newest),
			buildOf(newest), shortOf(newest), got.Token, shareURL(app),
		}
		if got != want {
			return fmt.Errorf("an update check was answered with %+v, and not %+v", got, want)
		}
		if err := readClaims(got.Token, app); err != nil {
			return fmt.Errorf("an install verification token %w: %s", err, got.Token)
		}
	}
	return nil
}

// readClaims looks at what a token says.
func readClaims(token string, app int) error {
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss, Aud, Bid, Dtype, Nonce, Iid, Vid string
		Iat, Exp                              int64
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("has not three parts")
	}
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return fmt.Errorf("is no JWS: %w", err)
		}
	}
	now := time.Now().Unix()
	switch {
	case header.Alg != "ES256" || header.Kid == "":
		return errors.New("has another algorithm, or no key id")
	case claims.Bid != bundleID(app) || claims.Iid != fmt.Sprint(itemID(app)) || claims.Vid != fmt.Sprint(versionID(app, newest)):
		return errors.New("is of another app")
	case claims.Aud != "AppleDownloadVerification-v1" || claims.Iss == "" || claims.Dtype != "redownload" || claims.Nonce == "":
		return errors.New("says something else than it has to")
	case claims.Iat > now+1 || claims.Exp-now < (claims.Exp-claims.Iat)/2-1: // half of its life is left at least
		return errors.New("has not the life that it has to have")
	}
	return nil
}

// verifyTokens looks whether all tokens that came were different and signatures are
// good.
func verifyTokens(f *filled, clients []client) error {
	block, _ := pem.Decode([]byte(f.Key))
	if block == nil {
		return errors.New("the key of install verification tokens is no PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("the key of install verification tokens: %w", err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return errors.New("the key of install verification tokens is of another kind than ECDSA")
	}
	var all []uint64
	kept := 0
	for _, c := range clients {
		k := c.(*checker)
		all = append(all, k.tokens...)
		for _, token := range k.kept {
			if err := verifyES256(key, token); err != nil {
				return fmt.Errorf("an install verification token %w: %s", err, token)
			}
			kept++
		}
	}
	if kept == 0 {
		return errors.New("no install verification token came")
	}
	slices.Sort(all)
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			return errors.New("an install verification token came twice")
		}
	}
	return nil
}

// verifyES256 verifies the signature of a JWS (RFC 7518 §3.4).
func verifyES256(key *ecdsa.PublicKey, token string) error {
	dot := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if dot < 0 || err != nil || len(sig) != 64 {
		return errors.New("has no signature")
	}
	digest := sha256.Sum256([]byte(token[:dot]))
	if !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return errors.New("has a wrong signature")
	}
	return nil
}
