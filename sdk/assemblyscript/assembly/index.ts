// The AssemblyScript SDK for Souk's plugins. A plugin's entry file exports what
// it answers and nothing else, because what an entry exports is what a module
// exports:
//
//   import { SelectVersionAnswers, SelectVersionRequest, selectVersion, … } from "souk";
//   export { souk_abi_1, souk_buffer } from "souk";
//
//   export function select_version(length: u32): u64 {
//     return selectVersion(length, (request, out) => { … });
//   }
//
// It imports the host functions that it calls; the operator has to allow their
// groups. What a handler gets are objects of its own, and texts that are decoded
// when they are looked at first: keep a text if you like, but don't keep a record to
// look at its texts in another question, which is a trap. abi.ts is generated from
// the contract.
//
// Build without assertions and with the abort of this SDK, because a host of
// plugins has no module "env": see README.md of the SDKs for the command.
import * as abi from "./abi";
export * from "./abi";

let buffer: usize = 0;
let bufferSize: u32 = 0;
let verdict: usize = 0;

// Says the major version of the contract; it is never called.
export function souk_abi_1(): void {}

// Answers the host's request for space; 0 = refused.
export function souk_buffer(min: u32): u32 {
  if (min > abi.MAX_REQUEST) return 0;
  if (min > bufferSize) {
    if (buffer != 0) heap.free(buffer);
    buffer = heap.alloc(min);
    bufferSize = min;
  }
  return <u32>buffer;
}

// What the compiler calls instead of throwing: the call ends with a trap, which
// the host counts as a failure of the plugin.
export function abort(_message: string | null, _file: string | null, _line: u32, _column: u32): void {
  unreachable();
}

function space(): usize {
  if (verdict == 0) verdict = heap.alloc(abi.MAX_SIGN_IN_VERDICT);
  return verdict;
}

// The four hooks: return from the export of the same meaning what they return.

export function entitle(length: u32, handler: (request: abi.EntitleRequest, out: abi.EntitleAnswers) => void): u64 {
  return abi.answerEntitle(buffer, length, space(), abi.MAX_VERDICT, handler);
}

export function selectVersion(length: u32, handler: (request: abi.SelectVersionRequest, out: abi.SelectVersionAnswers) => void): u64 {
  return abi.answerSelectVersion(buffer, length, space(), abi.MAX_VERDICT, handler);
}

export function signIn(length: u32, handler: (request: abi.SignInRequest, out: abi.SignInAnswers) => void): u64 {
  return abi.answerSignIn(buffer, length, space(), abi.MAX_SIGN_IN_VERDICT, handler);
}

export function exchange(length: u32, handler: (request: abi.ExchangeRequest, out: abi.ExchangeAnswers) => void): u64 {
  return abi.answerExchange(buffer, length, space(), abi.MAX_VERDICT, handler);
}

// configure runs a function that gets the plugin's configuration as JSON text,
// once per instance and before any question. "" is good; another text stops the
// load and is what the operator reads.
export function configured(length: u32, handler: (json: string) => string): u64 {
  const wrong = handler(String.UTF8.decodeUnsafe(buffer, length));
  if (wrong == "") return 0;
  const n = <u32>String.UTF8.byteLength(wrong);
  if (n > abi.MAX_VERDICT) return abi.NO_SPACE;
  String.UTF8.encodeUnsafe(changetype<usize>(wrong), wrong.length, space(), false, String.UTF8.ErrorMode.REPLACE);
  return (<u64>space() << 32) | n;
}

// os packs the version of a system as the records have it.
export function os(major: u8, minor: u8, patch: u8): u32 {
  return ((<u32>major) << 16) | ((<u32>minor) << 8) | patch;
}

function at(b: ArrayBuffer): usize {
  return changetype<usize>(b);
}

function bytes(s: string): ArrayBuffer {
  const b = new ArrayBuffer(s.length);
  if (abi.narrow(s, changetype<usize>(b))) return b;
  return String.UTF8.encode(s, false, String.UTF8.ErrorMode.REPLACE);
}

const bucketSpace = memory.data(256);

// bucket places a key among BUCKETS: the first 8 bytes of SHA-256(salt, 0x00,
// key) as a big-endian number, modulo BUCKETS. The host computes it.
export function bucket(key: string, salt: string): u32 {
  const n = key.length;
  const to = bucketSpace + n;
  if (n + salt.length <= 256 && abi.narrow(key, bucketSpace) && abi.narrow(salt, to)) {
    return <u32>abi.host_bucket(bucketSpace, n, to, salt.length); // as nearly all are: nothing is allocated
  }
  const k = bytes(key);
  const s = bytes(salt);
  return <u32>abi.host_bucket(at(k), k.byteLength, at(s), s.byteLength);
}

// rolledOut says whether a version is open to who has the key: a share of it is,
// always the same people, nobody at 0 and all of them at BUCKETS. One who has no key
// (nobody is signed in) gets only what is open to all.
export function rolledOut(key: string, c: abi.Candidate): bool {
  return c.rollout >= abi.BUCKETS || (c.rollout > 0 && key.length > 0 && bucket(key, c.salt) < c.rollout);
}

// log writes one line to the operator's log; the host limits its rate.
export function log(level: abi.Level, line: string): void {
  const b = bytes(line);
  abi.host_log(level, at(b), b.byteLength);
}

// What a host function answered: a value, or a code below zero.
export class Answer {
  constructor(
    public code: i32,
    public value: ArrayBuffer,
  ) {}

  get good(): bool {
    return this.code >= 0;
  }

  get text(): string {
    return String.UTF8.decode(this.value);
  }
}

const none = new ArrayBuffer(0);

function filled(n: i32, out: ArrayBuffer): Answer {
  return n < 0 ? new Answer(n, none) : new Answer(n, out.slice(0, n));
}

// kvGet returns the value of a key in the plugin's own part of the store.
export function kvGet(key: string): Answer {
  const k = bytes(key);
  let out = new ArrayBuffer(512);
  let n = abi.host_kv_get(at(k), k.byteLength, at(out), out.byteLength);
  if (n == abi.Code.DoesNotFit) {
    out = new ArrayBuffer(abi.MAX_KV_VALUE);
    n = abi.host_kv_get(at(k), k.byteLength, at(out), out.byteLength);
  }
  return filled(n, out);
}

// kvPut stores a value for so many seconds, 0 = for ever; 0 or a code.
export function kvPut(key: string, value: ArrayBuffer, seconds: u32 = 0): i32 {
  const k = bytes(key);
  return abi.host_kv_put(at(k), k.byteLength, at(value), value.byteLength, seconds);
}

// kvDelete removes a key; removing none is no error. 0 or a code.
export function kvDelete(key: string): i32 {
  const k = bytes(key);
  return abi.host_kv_delete(at(k), k.byteLength);
}

// kvSwap stores a value if the present one is old; an empty one means that there
// must be none. 0 or a code.
export function kvSwap(key: string, old: ArrayBuffer, value: ArrayBuffer): i32 {
  const k = bytes(key);
  return abi.host_kv_swap(at(k), k.byteLength, at(old), old.byteLength, at(value), value.byteLength);
}

// What kvAdd answered.
export class Sum {
  constructor(
    public code: i32,
    public sum: i64,
  ) {}
}

const sum = memory.data(8, 8);

// kvAdd adds to a counter, which begins at 0.
export function kvAdd(key: string, delta: i64): Sum {
  const k = bytes(key);
  const code = abi.host_kv_add(at(k), k.byteLength, delta, sum);
  return new Sum(code, code < 0 ? 0 : load<i64>(sum));
}

// passwordHash returns a hash of a password.
export function passwordHash(password: string): Answer {
  const p = bytes(password);
  const out = new ArrayBuffer(512);
  return filled(abi.host_password_hash(at(p), p.byteLength, at(out), out.byteLength), out);
}

// passwordVerify is 1 when the password has this hash and 0 when not; an empty
// hash takes as long and never matches. A code says that the host did not look.
export function passwordVerify(password: string, hash: ArrayBuffer): i32 {
  const p = bytes(password);
  return abi.host_password_verify(at(p), p.byteLength, at(hash), hash.byteLength);
}

// hmacSha256 returns the HMAC-SHA256 of data (RFC 2104), 32 bytes.
export function hmacSha256(key: ArrayBuffer, data: ArrayBuffer): Answer {
  const out = new ArrayBuffer(32);
  return filled(abi.host_hmac_sha256(at(key), key.byteLength, at(data), data.byteLength, at(out), out.byteLength), out);
}

// equalCt says whether both are the same bytes, in a time that depends on their
// lengths only.
export function equalCt(a: ArrayBuffer, b: ArrayBuffer): bool {
  return abi.host_equal_ct(at(a), a.byteLength, at(b), b.byteLength) == 1;
}

// secret returns a secret of the plugin's configuration, in sign_in and exchange
// only. The host takes it out of the log; pages and other people's servers are the
// plugin's to watch.
export function secret(name: string): Answer {
  const n = bytes(name);
  const out = new ArrayBuffer(abi.MAX_SECRET);
  return filled(abi.host_secret_get(at(n), n.byteLength, at(out), out.byteLength), out);
}

// What fetch answered: null, and a code below zero, or the response.
export class Fetched {
  constructor(
    public code: i32,
    public response: abi.FetchResponse | null,
  ) {}
}

let fetched: usize = 0;

// fetch asks another server, in sign_in and exchange only. The operator's log says
// which rule a refused request breaks.
export function fetch(request: abi.FetchRequest): Fetched {
  if (fetched == 0) fetched = heap.alloc(abi.MAX_FETCH_RESPONSE); // the answer lies where the request was
  const n = request.write(fetched, abi.MAX_FETCH_REQUEST);
  if (n == 0) return new Fetched(abi.Code.Refused, null);
  const size = abi.host_http_fetch(fetched, n, fetched, abi.MAX_FETCH_RESPONSE);
  if (size < 0) return new Fetched(size, null);
  const response = abi.FetchResponse.read(fetched, size);
  return new Fetched(response ? 0 : abi.Code.Failed, response);
}

// metricAdd adds n, which is not negative, to a counter that the operator sees; 0
// or a code. A plugin has at most MAX_METRICS of them: a name is no place for what
// differs from request to request.
export function metricAdd(name: string, n: i64): i32 {
  const b = bytes(name);
  return abi.host_metric_add(at(b), b.byteLength, n);
}
