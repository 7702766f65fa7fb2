// The host for a plugin that runs in Node as it is, in its own tests: node --test. The
// host functions work in memory. Expiry is not simulated, a password hash is quick
// instead of safe, and every function may be called in every hook.
//
//   import * as plugin from "./plugin.js";
//   const answers = ask(plugin, "selectVersion", { apps: [{ candidates: [{}] }] });
import { createHash, createHmac } from "node:crypto";
import { Code, BUCKETS, MAX_KV_KEY, MAX_KV_VALUE, MAX_PASSWORD, hooks, records } from "./abi.js";
import { check } from "./check.js";
import { answers } from "./guest.js";

export const kv = new Map(); // keys to bytes or texts
export const logged = []; // what log was given, as [level, line]
export const metrics = new Map(); // names to BigInts
export const secrets = new Map(); // names to texts

let server;

// serve sets the function that answers fetch: it takes a request and returns a
// response, or a Code.
export function serve(answer) {
  server = answer;
}

// reset empties everything, between two tests.
export function reset() {
  for (const all of [kv, metrics, secrets]) all.clear();
  logged.length = 0;
  server = undefined;
}

const zero = { u16: 0, u32: 0, i32: 0, u64: 0n, text: "", texts: [], list: [] };

// complete is the whole record that some of its fields are given for.
export function complete(record, value) {
  const all = {};
  for (const { name, kind, of } of records[record].fields) {
    const v = value[name] ?? zero[kind];
    all[name] = kind === "list" ? v.map((e) => complete(of, e)) : kind === "texts" ? [...v] : kind === "u64" ? BigInt(v) : v;
  }
  for (const name of Object.keys(value)) {
    if (!(name in all)) throw new TypeError(`${record} has no ${name}`);
  }
  return all;
}

// ask gives a question to a plugin's function, with zeros for what is left out, and
// returns its answer, one or an array: undefined is an abstention. It throws what the
// function throws, and what the host would refuse.
export function ask(plugin, hook, request) {
  const { request: record, answer, apps } = hooks[hook];
  const all = answers(hook, plugin[hook], apps, complete(record, request));
  if (all === undefined) return undefined;
  for (const v of all) check(answer, v);
  return apps ? all : all[0];
}

// ---- the host functions, as index.js calls them

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const bytes = (v) => Buffer.from(v);
const place = (key) => bytes(key).toString("latin1");
const refused = (key, value = "") => {
  const n = bytes(key).length;
  return n === 0 || n > MAX_KV_KEY || bytes(value).length > MAX_KV_VALUE;
};
const digest = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const hash = (password) => bytes("test$" + digest(bytes(password)).toString("hex"));
const copy = (v) => new Uint8Array(bytes(v));

export function utf8(v) {
  try {
    return decoder.decode(v);
  } catch {
    return undefined;
  }
}

export function bucket(key, salt) {
  return Number(digest(bytes(salt), Buffer.alloc(1), bytes(key)).readBigUInt64BE(0) % BigInt(BUCKETS));
}

export function log(level, line) {
  logged.push([level, line]);
}

export function kv_get(key) {
  if (refused(key)) return Code.Refused;
  const v = kv.get(place(key));
  return v === undefined ? Code.NotFound : copy(v);
}

export function kv_put(key, value) {
  if (refused(key, value)) return Code.Refused;
  kv.set(place(key), bytes(value));
  return 0;
}

export function kv_delete(key) {
  if (refused(key)) return Code.Refused;
  kv.delete(place(key));
  return 0;
}

export function kv_swap(key, old, value) {
  if (refused(key, value)) return Code.Refused;
  const present = kv.get(place(key));
  const same = present === undefined ? old.length === 0 : old.length > 0 && bytes(present).equals(bytes(old));
  return same ? kv_put(key, value) : Code.Conflict;
}

export function kv_add(key, delta) {
  if (refused(key)) return Code.Refused;
  const b = bytes(kv.get(place(key)) ?? Buffer.alloc(8));
  if (b.length !== 8) return Code.Refused;
  const sum = BigInt.asIntN(64, b.readBigInt64LE(0) + delta);
  b.writeBigInt64LE(sum);
  kv.set(place(key), b);
  return sum;
}

export function password_hash(password) {
  return bytes(password).length > MAX_PASSWORD ? Code.Refused : copy(hash(password));
}

export function password_verify(password, known) {
  return bytes(password).length > MAX_PASSWORD ? Code.Refused : Number(hash(password).equals(bytes(known)));
}

export function hmac_sha256(key, data) {
  return copy(createHmac("sha256", bytes(key)).update(bytes(data)).digest());
}

export function equal_ct(a, b) {
  return Number(bytes(a).equals(bytes(b)));
}

export function secret_get(name) {
  return secrets.has(name) ? copy(bytes(secrets.get(name))) : Code.NotFound;
}

export function http_fetch(request) {
  check("FetchRequest", request);
  const v = server === undefined ? Code.Refused : server(complete("FetchRequest", request));
  return typeof v === "number" ? v : complete("FetchResponse", v);
}

export function metric_add(name, value) {
  if (value < 0n || !/^[a-z][a-z0-9_]{0,63}$/.test(utf8(bytes(name)) ?? "")) return Code.Refused;
  metrics.set(name, (metrics.get(name) ?? 0n) + value);
  return 0;
}
