package token

import "time"

// The vector of Apple's documentation has its own nonce and neither iid nor vid, so
// tests reach the signing input directly.

func InstallInput(keyID, issuer, nonce string, iat, exp int64, c InstallClaims) string {
	return string(appendInstallInput(nil, installInput{
		keyID: keyID, issuer: issuer, nonce: nonce, issuedAt: iat, expires: exp, InstallClaims: c,
	}))
}

var (
	RawSignature     = rawSignature
	SignES256        = signES256
	AppendJSONString = appendJSONString
)

// SealPlainKeys seals any bytes as if they were a ring's records.
func SealPlainKeys(master [32]byte, plain []byte) []byte {
	gcm, err := newGCM(master[:])
	if err != nil {
		panic(err)
	}
	head := append([]byte(keysMagic), make([]byte, gcm.NonceSize())...)
	return gcm.Seal(head, head[len(keysMagic):], plain, []byte(keysMagic))
}

// Forecast looks at the offers of late and returns how many tokens each kind is to have.
func (p *InstallPool) Forecast() map[InstallClaims]int {
	p.filler.queue = p.forecast(nil)
	p.filler.looked = time.Now()
	want := map[InstallClaims]int{}
	for c, s := range p.supplies.Load().by {
		want[c] = int(s.want.Load())
	}
	return want
}

// FillUp signs what the last forecast wants, as Fill does.
func (p *InstallPool) FillUp() {
	for len(p.filler.queue) > 0 {
		if p.step(p.filler.looked); p.filler.busy > 0 {
			return
		}
	}
}

// Step is one step of Fill at a time of the steady clock.
func (p *InstallPool) Step(now time.Time) time.Duration { return p.step(now) }

// Rewind gives the batch that is taken from out again: for a benchmark, which would sign
// for hours otherwise.
func (p *InstallPool) Rewind(c InstallClaims) {
	p.supplies.Load().find(&c).current.Load().taken.Store(0)
}

// CoresIdle is what Fill goes by.
func CoresIdle() bool { return new(coreWatch).idle() }

const (
	Asleep      = asleep
	MaxSupplies = maxSupplies
	MaxToken    = maxToken
)
