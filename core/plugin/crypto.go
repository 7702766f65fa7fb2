package plugin

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"

	"github.com/souk-market/souk/sdk/abi"
)

// pair reads two texts of the group crypto and takes their price.
func (in *instance) pair(price uint64, a, alen, b, blen uint64) (x, y []byte, ok bool) {
	x, ok1 := in.bytes(a, alen)
	y, ok2 := in.bytes(b, blen)
	if !ok1 || !ok2 || len(x) > abi.MaxCrypto || len(y) > abi.MaxCrypto {
		in.charge(price)
		return nil, nil, false
	}
	in.charge(price + uint64(len(x)+len(y))/priceByte)
	return x, y, true
}

// hmac_sha256(key, klen, data, dlen, out, cap) -> 32
func hostHMAC(in *instance, stack []uint64) {
	key, data, ok := in.pair(priceHMAC, stack[0], stack[1], stack[2], stack[3])
	if !ok || !in.space(stack[4], stack[5]) {
		stack[0] = code(abi.CodeRefused)
		return
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	stack[0] = in.fill(stack[4], stack[5], mac.Sum(nil))
}

// equal_ct(a, alen, b, blen) -> 1 or 0
func hostEqual(in *instance, stack []uint64) {
	a, b, ok := in.pair(priceCall, stack[0], stack[1], stack[2], stack[3])
	if !ok {
		stack[0] = code(abi.CodeRefused)
		return
	}
	stack[0] = uint64(subtle.ConstantTimeCompare(a, b))
}
