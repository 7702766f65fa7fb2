// Runs a built plugin in Node, for the policy's own tests: questions and answers
// are plain objects with the names of the contract, and the host functions work
// in memory. Expiry is not simulated, and the password hash is quick instead of
// safe. Numbers of 64 bits are decimal texts, as in the golden vectors; what is
// zero or empty is left out.
//
//   const plugin = await load(readFileSync("build/plugin.wasm"), { config: {} });
//   const verdict = plugin.ask("select_version", { apps: [ … ] });
import { createHash, createHmac } from "node:crypto";
import { bounds, hooks, records } from "./schema_gen.js";

const sizes = { u16: 2, u32: 4, i32: 4, u64: 8 };
const code = { notFound: -1, doesNotFit: -2, refused: -3, conflict: -4, failed: -5 };

// encode writes a record as a message.
export function encode(record, value) {
  let b = Buffer.alloc(records[record].size);
  const reserve = (n) => {
    const at = (b.length + 7) & ~7;
    b = Buffer.concat([b, Buffer.alloc(at + n - b.length)]);
    return at;
  };
  const text = (at, s) => {
    const raw = Buffer.from(s);
    if (raw.length === 0) return;
    b.writeUInt32LE(b.length, at);
    b.writeUInt32LE(raw.length, at + 4);
    b = Buffer.concat([b, raw]);
  };
  const put = (name, base, v) => {
    for (const f of records[name].fields) {
      const at = base + f.at;
      const x = v[f.name];
      if (x === undefined) continue;
      if (f.kind === "u16") b.writeUInt16LE(x, at);
      else if (f.kind === "u32") b.writeUInt32LE(x, at);
      else if (f.kind === "i32") b.writeInt32LE(x, at);
      else if (f.kind === "u64") b.writeBigUInt64LE(BigInt(x), at);
      else if (f.kind === "text") text(at, x);
      else if (x.length > 0) {
        const stride = f.kind === "texts" ? 8 : records[f.of].size;
        const off = reserve(x.length * stride);
        b.writeUInt32LE(off, at);
        b.writeUInt32LE(x.length, at + 4);
        b.writeUInt32LE(stride, at + 8);
        x.forEach((e, i) => (f.kind === "texts" ? text(off + i * stride, e) : put(f.of, off + i * stride, e)));
      }
    }
  };
  const hook = Object.values(hooks).find((h) => h.request === record);
  const own = hook ? { hook: hook.number, fixed: records[record].size } : {};
  put(record, 0, { ...value, ...own, minor: bounds.minor });
  b.writeUInt32LE(b.length, 0);
  return b;
}

// decode reads a message that a test trusts.
export function decode(record, b) {
  b = Buffer.from(b);
  const text = (at) => b.subarray(b.readUInt32LE(at), b.readUInt32LE(at) + b.readUInt32LE(at + 4)).toString();
  const get = (name, base, have) => {
    const v = {};
    for (const f of records[name].fields) {
      const at = base + f.at;
      if (f.at + (sizes[f.kind] ?? (f.kind === "text" ? 8 : 16)) > have) continue;
      let x;
      if (f.kind === "u16") x = b.readUInt16LE(at);
      else if (f.kind === "u32") x = b.readUInt32LE(at);
      else if (f.kind === "i32") x = b.readInt32LE(at);
      else if (f.kind === "u64") x = String(b.readBigUInt64LE(at));
      else if (f.kind === "text") x = text(at);
      else {
        const [off, count, stride] = [0, 4, 8].map((i) => b.readUInt32LE(at + i));
        x = Array.from({ length: count }, (_, i) => (f.kind === "texts" ? text(off + i * stride) : get(f.of, off + i * stride, stride)));
      }
      if (x !== 0 && x !== "0" && x !== "" && x.length !== 0) v[f.name] = x;
    }
    return v;
  };
  const fixed = records[record].fields.some((f) => f.name === "fixed") ? b.readUInt32LE(16) : b.length;
  return get(record, 0, fixed);
}

// A failure of a plugin: a code of its own, or a trap.
export class Failure extends Error {}

// load starts a plugin with a configuration and secrets. fetch answers http_fetch:
// it gets a FetchRequest and returns a FetchResponse, or a code below zero.
export async function load(wasm, { config = {}, secrets = {}, fetch = () => code.refused, imports = {} } = {}) {
  const kv = new Map();
  const logged = [];
  const metrics = new Map();
  let exports;
  const view = (at, n) => Buffer.from(exports.memory.buffer, at >>> 0, n >>> 0);
  const key = (at, n) => view(at, n).toString("latin1");
  const refused = (n, value = 0) => n === 0 || n > bounds.maxKvKey || value > bounds.maxKvValue;
  const fill = (out, capacity, b) => (b.length > capacity >>> 0 ? code.doesNotFit : b.copy(view(out, b.length)));
  const digest = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
  const hash = (at, n) => Buffer.from("test$" + digest(view(at, n)).toString("hex"));
  const put = (k, kn, v, vn) => {
    if (refused(kn, vn)) return code.refused;
    kv.set(key(k, kn), Buffer.from(view(v, vn)));
    return 0;
  };
  const souk = {
    bucket: (k, kn, s, sn) => Number(digest(view(s, sn), Buffer.alloc(1), view(k, kn)).readBigUInt64BE(0) % BigInt(bounds.buckets)),
    log: (level, at, n) => logged.push(`${level} ${view(at, n)}`),
    kv_get: (k, kn, out, capacity) => {
      if (refused(kn)) return code.refused;
      return kv.has(key(k, kn)) ? fill(out, capacity, kv.get(key(k, kn))) : code.notFound;
    },
    kv_put: put,
    kv_delete: (k, kn) => (refused(kn) ? code.refused : (kv.delete(key(k, kn)), 0)),
    kv_swap: (k, kn, o, on, v, vn) => {
      const present = kv.get(key(k, kn));
      const same = present === undefined ? on === 0 : on > 0 && present.equals(view(o, on));
      return same ? put(k, kn, v, vn) : code.conflict;
    },
    kv_add: (k, kn, delta, out) => {
      if (refused(kn)) return code.refused;
      const b = Buffer.from(kv.get(key(k, kn)) ?? Buffer.alloc(8));
      if (b.length !== 8) return code.refused;
      b.writeBigInt64LE(BigInt.asIntN(64, b.readBigInt64LE(0) + delta));
      kv.set(key(k, kn), b);
      b.copy(view(out, 8));
      return 0;
    },
    password_hash: (p, pn, out, capacity) => (pn > bounds.maxPassword ? code.refused : fill(out, capacity, hash(p, pn))),
    password_verify: (p, pn, h, hn) => (pn > bounds.maxPassword ? code.refused : Number(hash(p, pn).equals(view(h, hn)))),
    hmac_sha256: (k, kn, d, dn, out, capacity) => {
      if (kn > bounds.maxCrypto || dn > bounds.maxCrypto) return code.refused;
      return fill(out, capacity, createHmac("sha256", view(k, kn)).update(view(d, dn)).digest());
    },
    equal_ct: (a, an, b, bn) => (an > bounds.maxCrypto || bn > bounds.maxCrypto ? code.refused : Number(view(a, an).equals(view(b, bn)))),
    secret_get: (n, nn, out, capacity) => {
      const name = view(n, nn).toString();
      return Object.hasOwn(secrets, name) ? fill(out, capacity, Buffer.from(secrets[name])) : code.notFound;
    },
    http_fetch: (q, qn, out, capacity) => {
      if (qn > bounds.maxFetchRequest) return code.refused;
      const answer = fetch(decode("FetchRequest", view(q, qn)));
      if (typeof answer === "number") return answer;
      const b = encode("FetchResponse", answer);
      return b.length > bounds.maxFetchResponse ? code.failed : fill(out, capacity, b);
    },
    metric_add: (n, nn, value) => {
      const name = view(n, nn).toString();
      const full = !metrics.has(name) && metrics.size >= bounds.maxMetrics;
      if (value < 0n || nn > bounds.maxMetricName || !/^[a-z][a-z0-9_]*$/.test(name) || full) return code.refused;
      metrics.set(name, (metrics.get(name) ?? 0n) + value);
      return 0;
    },
  };
  ({ exports } = (await WebAssembly.instantiate(wasm, { souk, ...imports })).instance);

  const give = (b) => {
    const at = exports.souk_buffer(Math.max(b.length, bounds.bufferSize)) >>> 0;
    if (at === 0) throw new Failure("souk_buffer refuses");
    Buffer.from(b).copy(view(at, b.length));
    return b.length;
  };
  const result = (n) => {
    const at = Number(BigInt.asUintN(64, n) >> 32n);
    return { at, n: Number(BigInt.asUintN(32, n)) };
  };
  exports._initialize?.();
  const text = Buffer.from(JSON.stringify(config));
  if (exports.configure) {
    const { at, n } = result(exports.configure(give(text)));
    if (n !== 0) throw new Failure(at === 0 ? `configure answers code ${n}` : view(at, n).toString());
  }

  return {
    exports,
    kv,
    logged,
    metrics,
    // ask asks a question; null is an abstention.
    ask(hook, request) {
      const { at, n } = result(exports[hook](give(encode(hooks[hook].request, request))));
      if (at === 0 && n === 0) return null;
      if (at === 0) throw new Failure(`code ${n}`);
      return decode(hooks[hook].verdict, view(at, n));
    },
  };
}
