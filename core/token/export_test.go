package token

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
