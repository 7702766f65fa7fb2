package plugin

import (
	"context"
	"strings"
	"unsafe"

	"github.com/tetratelabs/wazero/api"

	"github.com/souk-market/souk/sdk/abi"
)

// Prices of host functions, in fuel: a guest must not buy time from the host
// that it hasn't got itself. A unit is about 4 ns.
const (
	priceCall     = 32   // of any host function
	priceLine     = 400  // of a line of the log
	priceKV       = 1000 // of one access to the kv
	priceByte     = 4    // bytes a unit, where the host looks at each
	pricePassword = 1000 // the work itself is limited by number, not by fuel
	priceHMAC     = 400  // of one, without its bytes
	priceFetch    = 2000 // of a request, without its bytes and those of the response
	priceMetric   = 100  // of one addition
)

// bucketBytes are the most that key and salt of a bucket may have together.
const bucketBytes = 64 << 10

type importName struct{ module, name string }

// hostFunction is what a guest may import. The stack holds the parameters and
// takes the result.
type hostFunction struct {
	group string
	signature
	call func(in *instance, stack []uint64)
}

// hostFunctions are all of them.
var hostFunctions = func() map[importName]hostFunction {
	souk := map[string]func(*instance, []uint64){
		"bucket":          hostBucket,
		"log":             hostLog,
		"kv_get":          hostKVGet,
		"kv_put":          hostKVPut,
		"kv_delete":       hostKVDelete,
		"kv_swap":         hostKVSwap,
		"kv_add":          hostKVAdd,
		"password_hash":   hostPasswordHash,
		"password_verify": hostPasswordVerify,
		"hmac_sha256":     hostHMAC,
		"equal_ct":        hostEqual,
		"secret_get":      hostSecretGet,
		"http_fetch":      hostFetch,
		"metric_add":      hostMetricAdd,
	}
	all := map[importName]hostFunction{}
	for _, f := range abi.Imports {
		if call := souk[f.Name]; call != nil {
			all[importName{abi.ImportModule, f.Name}] = hostFunction{f.Group, signature{f.Params, f.Results}, call}
		}
	}
	for _, f := range wasi {
		all[importName{wasiModule, f.name}] = hostFunction{"always", f.signature, f.call}
	}
	return all
}()

// goFunction is how the engine calls a host function.
func goFunction(call func(*instance, []uint64)) api.GoModuleFunc {
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		in := ctx.(*running).in
		in.attach(mod)
		call(in, stack)
	}
}

// bytes returns n bytes of guest memory; they change when the guest goes on.
func (in *instance) bytes(at, n uint64) ([]byte, bool) {
	return in.mem.Read(uint32(at), uint32(n))
}

// text is bytes as a string that is good until the guest goes on.
func (in *instance) text(at, n uint64) (string, bool) {
	b, ok := in.bytes(at, n)
	return unsafe.String(unsafe.SliceData(b), len(b)), ok
}

// space says whether capacity bytes at out are the guest's.
func (in *instance) space(out, capacity uint64) bool {
	_, ok := in.bytes(out, capacity)
	return ok
}

// fill copies a value out and returns its length, or that it doesn't fit.
func (in *instance) fill(out, capacity uint64, value []byte) uint64 {
	if uint64(len(value)) > uint64(uint32(capacity)) {
		return code(abi.CodeDoesNotFit)
	}
	if !in.mem.Write(uint32(out), value) {
		return code(abi.CodeRefused)
	}
	return uint64(len(value))
}

func code(c abi.Code) uint64 { return uint64(uint32(c)) }

// bucket(key, klen, salt, slen) -> 0..9999
func hostBucket(in *instance, stack []uint64) {
	key, ok1 := in.text(stack[0], stack[1])
	salt, ok2 := in.text(stack[2], stack[3])
	if !ok1 || !ok2 || len(key)+len(salt) > bucketBytes {
		in.charge(priceCall)
		stack[0] = code(abi.CodeRefused)
		return
	}
	in.charge(priceCall + uint64(len(key)+len(salt))/priceByte) // at once: a look at the counter takes longer than the sum
	stack[0] = uint64(abi.Bucket(key, salt))
}

// log(level, text, tlen)
func hostLog(in *instance, stack []uint64) {
	in.charge(priceLine)
	text, ok := in.text(stack[1], uint64(min(uint32(stack[2]), logLine+1)))
	if !ok {
		return
	}
	in.charge(uint64(len(text)) / priceByte)
	in.say(uint32(stack[0]), strings.TrimRight(text, "\r\n"))
}
