// Package abi is the contract between the host and its guests, version 1: the
// records that cross the boundary, their meaning, the names of the exports and
// the functions a guest may import. It is the only place where the contract is
// written by hand; `go generate ./sdk/abi` makes the codec of the host and the
// bindings of the guest languages from it.
//
// A guest is a core WebAssembly module. For each question the host writes one
// record into the guest's buffer and calls the export of the hook with its
// length; the guest answers with address<<32 | length of a verdict in its own
// memory. Records are flat and little endian, naturally aligned, with offsets
// from the start of the message:
//
//	string  off u32, len u32                           UTF-8
//	list    off u32, count u32, stride u32, zero u32   elements are stride bytes apart
//
// so that a C struct, a Rust #[repr(C)] struct or an AssemblyScript load<T>
// reads them as they lie there. Records grow at their end and nowhere else: a
// reader takes a short record as filled up with zeros and ignores what lies
// behind the fields it knows, so neither side has to be rebuilt when the other
// learns a new field. No field ever changes its place or its meaning.
package abi

//go:generate go run ./gen

// Minor is the number of times the records of version 1 have grown. The host
// puts its own into every request; a guest that can't work without a newer
// field says so with the export souk_needs_minor_N.
const Minor = 0

// Names of a guest's exports. The marker is never called: it says the major
// version before anything of the guest runs.
const (
	ExportMemory     = "memory"
	ExportMarker     = "souk_abi_1"        // () -> ()
	ExportNeedsMinor = "souk_needs_minor_" // + N: () -> (), optional
	ExportBuffer     = "souk_buffer"       // (min: i32) -> i32: address of at least min bytes, 8-aligned; 0 = refused
	ExportInitialize = "_initialize"       // () -> (), optional: the reactor start of WASI
	ExportConfigure  = "configure"         // (len: i32) -> i64, optional: 0 = good, else a text that says what is wrong
)

// ImportModule is the module that the host functions are imported from.
const ImportModule = "souk"

// Bounds that the host keeps on both sides of a call.
const (
	BufferSize       = 64 << 10  // bytes of the buffer that the host asks an instance for at its start
	MaxRequest       = 1 << 20   // bytes of a request; the host refuses to ask a larger question
	MaxVerdict       = 64 << 10  // bytes of a verdict
	MaxSignInVerdict = 256 << 10 // bytes of a verdict of sign_in, which may carry a page
	MaxStrings       = 1 << 20   // bytes of all strings of a message together; one that several fields share counts each time
	MaxKVKey         = 256       // bytes of a key of the kv, which is not empty
	MaxKVValue       = 64 << 10  // bytes of a value of the kv
	MaxPassword      = 1 << 10   // bytes of a password that is hashed or verified
	MaxCrypto        = 1 << 20   // bytes of a key, or of a text, of the group crypto
	MaxSecret        = 4 << 10   // bytes of a secret, which is UTF-8
	MaxFetchRequest  = 64 << 10  // bytes of a FetchRequest
	MaxFetchResponse = 256 << 10 // bytes of a FetchResponse; a longer one is a failure
	MaxMetricName    = 64        // bytes of the name of a metric
	MaxMetrics       = 64        // names of metrics that one plugin may have
)

// Hook is one of the questions that policy answers. Its name is the name of
// the guest's export.
type Hook uint16

// The hooks.
const (
	HookEntitle       Hook = 1 // may this account have these apps?
	HookSelectVersion Hook = 2 // which version does this device get, for each of its apps?
	HookSignIn        Hook = 3 // what does the sign-in page show, and who is this person?
	HookExchange      Hook = 4 // whose subject token is this?
)

// Hooks lists the hooks in the order of their numbers.
var Hooks = [...]Hook{HookEntitle, HookSelectVersion, HookSignIn, HookExchange}

// String returns the name of the hook's export.
func (h Hook) String() string {
	switch h {
	case HookEntitle:
		return "entitle"
	case HookSelectVersion:
		return "select_version"
	case HookSignIn:
		return "sign_in"
	case HookExchange:
		return "exchange"
	}
	return "unknown"
}

// ParseHook finds the hook by the name of its export.
func ParseHook(name string) (Hook, bool) {
	for _, h := range Hooks {
		if h.String() == name {
			return h, true
		}
	}
	return 0, false
}

// Code is what a host function answers when it has no length to return.
type Code int32

// The codes of the host functions.
const (
	CodeNotFound   Code = -1 // there is no such value
	CodeDoesNotFit Code = -2 // the value is longer than the space given for it
	CodeRefused    Code = -3 // not here, not now or not with these arguments
	CodeConflict   Code = -4 // the value is another than the one expected
	CodeFailed     Code = -5 // the host could not do it
)

// Level is the importance of a log line.
type Level uint32

// The levels of the log.
const (
	LevelDebug Level = 0
	LevelInfo  Level = 1
	LevelWarn  Level = 2
	LevelError Level = 3
)

// address says where something lies in the guest's memory: an i32, and a
// pointer in the bindings of languages that have them.
type address uint32

// imports are the functions that the host offers in module "souk". A method is
// one function; the directive behind it names its group, which a plugin's
// `allow` list must hold, and its name in the module. An i32 result is a length (the value is copied only if
// it fits) or a Code.
type imports interface {
	// Bucket answers where a key falls among 10 000 buckets: see [Bucket].
	//souk:import always bucket
	Bucket(key address, klen uint32, salt address, slen uint32) int32

	// Log writes one line to the operator's log. It is limited in rate.
	//souk:import log log
	Log(level uint32, text address, tlen uint32)

	// KVGet copies the value of a key to out, which has space for capacity bytes.
	//souk:import kv kv_get
	KVGet(key address, klen uint32, out address, capacity uint32) int32
	// KVPut stores a value for ttl seconds, 0 = for ever; the answer is 0 or a Code.
	//souk:import kv kv_put
	KVPut(key address, klen uint32, value address, vlen, ttl uint32) int32
	// KVDelete removes a key; the answer is 0, also when there was none, or a Code.
	//souk:import kv kv_delete
	KVDelete(key address, klen uint32) int32
	// KVSwap stores a value if the present one is old; olen = 0 means that there must be none.
	//souk:import kv kv_swap
	KVSwap(key address, klen uint32, old address, olen uint32, value address, vlen uint32) int32
	// KVAdd adds to a counter, which begins at 0, and writes the sum to out (8 bytes).
	//souk:import kv kv_add
	KVAdd(key address, klen uint32, delta int64, out address) int32

	// PasswordHash writes the argon2id hash of a password to out.
	//souk:import password password_hash
	PasswordHash(password address, plen uint32, out address, capacity uint32) int32
	// PasswordVerify answers 1 when the password has this hash, else 0. With
	// hlen = 0 it takes as long as with a hash and answers 0, so that a guest
	// needs no trick to hide whether an account exists.
	//souk:import password password_verify
	PasswordVerify(password address, plen uint32, hash address, hlen uint32) int32

	// HMACSHA256 writes the HMAC-SHA256 of data (RFC 2104), 32 bytes, to out.
	//souk:import crypto hmac_sha256
	HMACSHA256(key address, klen uint32, data address, dlen uint32, out address, capacity uint32) int32
	// EqualCT answers 1 when a and b are the same bytes, else 0. How long it takes
	// depends on their lengths only.
	//souk:import crypto equal_ct
	EqualCT(a address, alen uint32, b address, blen uint32) int32

	// SecretGet copies a secret of the plugin's configuration to out, in sign_in and
	// exchange only. The host keeps it out of every log.
	//souk:import secret secret_get
	SecretGet(name address, nlen uint32, out address, capacity uint32) int32

	// HTTPFetch sends the FetchRequest to another server and copies the
	// FetchResponse to out, in sign_in and exchange only. CodeRefused: the request
	// or one of its redirects breaks a rule. CodeFailed: no answer, or none that is
	// UTF-8 and short enough. CodeDoesNotFit: capacity is too small; the request
	// was sent all the same.
	//souk:import http http_fetch
	HTTPFetch(request address, rlen uint32, out address, capacity uint32) int32

	// MetricAdd adds to a counter that the operator sees; the answer is 0 or a
	// Code. A name is lower-case letters, digits and _, a letter first. A counter
	// only grows, and a plugin has few: a name is no place for what differs from
	// request to request.
	//souk:import metric metric_add
	MetricAdd(name address, nlen uint32, value int64) int32
}

var _ imports // its reader is sdk/abi/gen

// Import describes one host function.
type Import struct {
	Group   string // the word in a plugin's `allow` list; "always" needs none
	Name    string // in module "souk"
	Params  string // one letter a parameter: i = i32, I = i64
	Results string
}
