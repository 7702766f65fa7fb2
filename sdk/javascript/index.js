// The JavaScript SDK for Souk's plugins. A plugin is a module that exports the hooks
// that it answers, and build.js makes WebAssembly of it:
//
//   import { Choice, rolledOut } from "souk";
//
//   export function selectVersion(request) {
//     return request.apps.map((app) => ({ choice: Choice.Hold }));
//   }
//
// A request is a plain object: numbers of 64 bits are BigInts, everything else is a
// number, a string or an array. entitle and selectVersion return an array with one
// answer for each app, signIn and exchange one answer; nothing at all is an
// abstention. What is thrown is a failure: the operator's on_error decides, and the
// message goes to the log. configure gets the operator's table as an object, and
// throws what is wrong with it.
//
// A module imports the host functions that it calls, and the operator has to allow
// their groups. They answer at once: a hook is not async. Where one can't do what it
// is asked it throws a HostError. abi.js is generated from the contract.
import * as host from "#host";
import { BUCKETS, Code } from "./abi.js";
export * from "./abi.js";

function reason(code) {
  switch (code) {
    case Code.NotFound: return "not found";
    case Code.DoesNotFit: return "does not fit";
    case Code.Refused: return "refused";
    case Code.Conflict: return "conflict";
  }
  return "failed";
}

// What a host function throws: code is one of Code.
export class HostError extends Error {
  constructor(name, code) {
    super(`${name}: ${reason(code)}`);
    this.name = "HostError";
    this.code = code;
  }
}

function answer(name, value) {
  if (typeof value === "number" && value < 0) throw new HostError(name, value);
  return value;
}

function bytes(name, value) {
  if (typeof value === "string" || value instanceof Uint8Array) return value;
  throw new TypeError(`${name} takes a string or a Uint8Array`);
}

function text(name, value) {
  const s = host.utf8(answer(name, value));
  if (s === undefined) throw new HostError(name, Code.Failed);
  return s;
}

// whole is a number of 64 bits with a sign.
function whole(name, value) {
  if (typeof value !== "bigint" && !Number.isSafeInteger(value)) throw new RangeError(`${name}: ${value} is no whole number`);
  const n = BigInt(value);
  if (n !== BigInt.asIntN(64, n)) throw new RangeError(`${name}: ${n} has more than 64 bits`);
  return n;
}

// os packs the version of a system as the records have it.
export function os(major, minor = 0, patch = 0) {
  return (major << 16) | (minor << 8) | patch;
}

// bucket places a key among BUCKETS: the first 8 bytes of SHA-256(salt, 0x00, key) as
// a big-endian number, modulo BUCKETS. The host computes it, and has nothing to refuse.
export { bucket } from "#host";

// rolledOut says whether a version is open to who has the key: a share of it is,
// always the same people, nobody at 0 and all of them at BUCKETS. One who has no key
// (nobody is signed in) gets only what is open to all.
export function rolledOut(key, candidate) {
  return candidate.rollout >= BUCKETS || (candidate.rollout > 0 && key !== "" && host.bucket(key, candidate.salt) < candidate.rollout);
}

// log writes one line to the operator's log; the host limits its rate.
export function log(level, line) {
  host.log(level, String(line));
}

// kvGet returns the value of a key in the plugin's own part of the store, undefined
// if there is none.
export function kvGet(key) {
  const v = host.kv_get(bytes("kvGet", key));
  return v === Code.NotFound ? undefined : text("kvGet", v);
}

// kvGetBytes does the same for a value that is no text.
export function kvGetBytes(key) {
  const v = host.kv_get(bytes("kvGetBytes", key));
  return v === Code.NotFound ? undefined : answer("kvGetBytes", v);
}

// kvPut stores a value for so many seconds, 0 = for ever.
export function kvPut(key, value, seconds = 0) {
  if (!Number.isInteger(seconds) || seconds < 0 || seconds > 0xffffffff) throw new RangeError(`kvPut: ${seconds} is no number of seconds`);
  answer("kvPut", host.kv_put(bytes("kvPut", key), bytes("kvPut", value), seconds));
}

// kvDelete removes a key; removing none is no error.
export function kvDelete(key) {
  answer("kvDelete", host.kv_delete(bytes("kvDelete", key)));
}

// kvSwap stores a value if the present one is old and says whether it did; an empty
// old one means that there must be none.
export function kvSwap(key, old, value) {
  const n = host.kv_swap(bytes("kvSwap", key), bytes("kvSwap", old), bytes("kvSwap", value));
  return n !== Code.Conflict && answer("kvSwap", n) === 0;
}

// kvAdd adds to a counter, which begins at 0, and returns the sum, a BigInt.
export function kvAdd(key, delta) {
  return answer("kvAdd", host.kv_add(bytes("kvAdd", key), whole("kvAdd", delta)));
}

// passwordHash returns a hash of a password.
export function passwordHash(password) {
  return text("passwordHash", host.password_hash(bytes("passwordHash", password)));
}

// passwordVerify says whether the password has this hash; an empty hash takes as long
// and never matches.
export function passwordVerify(password, hash) {
  return answer("passwordVerify", host.password_verify(bytes("passwordVerify", password), bytes("passwordVerify", hash))) === 1;
}

// hmacSha256 returns 32 bytes.
export function hmacSha256(key, data) {
  return answer("hmacSha256", host.hmac_sha256(bytes("hmacSha256", key), bytes("hmacSha256", data)));
}

// equalCt says whether a and b are the same; how long it takes depends on their
// lengths only.
export function equalCt(a, b) {
  return answer("equalCt", host.equal_ct(bytes("equalCt", a), bytes("equalCt", b))) === 1;
}

// secret returns a secret of the plugin's configuration, undefined if there is none.
export function secret(name) {
  const v = host.secret_get(bytes("secret", name));
  return v === Code.NotFound ? undefined : text("secret", v);
}

// fetch sends a request to another server, GET unless it says otherwise, and
// returns its answer.
export function fetch(request) {
  const response = answer("fetch", host.http_fetch({ method: "GET", ...request }));
  if (response === undefined) throw new HostError("fetch", Code.Failed); // it is no record
  return response;
}

// metricAdd adds to a counter that the operator sees.
export function metricAdd(name, value = 1) {
  answer("metricAdd", host.metric_add(bytes("metricAdd", name), whole("metricAdd", value)));
}
