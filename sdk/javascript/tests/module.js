// A built module in Node, with the bytes of a question in and those of the answer out.
// Its host functions are native.js's, and its clock stands still.
import { functions } from "../abi.js";
import * as host from "../native.js";

export const now = 1_790_000_000_123;

export async function load(wasm, { fetch } = {}) {
  const module = await WebAssembly.compile(wasm);
  const printed = [];
  let memory;
  const view = (at, n) => Buffer.from(memory.buffer, at >>> 0, n >>> 0);
  const fill = (at, space, v) => {
    if (v.length > space >>> 0) return -2;
    view(at, v.length).set(v);
    return v.length;
  };
  const wasi = {
    clock_time_get: (id, precision, at) => (view(at, 8).writeBigUInt64LE(BigInt(now) * 1_000_000n), 0),
    random_get: (at, n) => (view(at, n).fill(0), 0),
    fd_write: (fd, at, count, written) => {
      const line = view(view(at, 8).readUInt32LE(0), view(at, 8).readUInt32LE(4)).toString();
      printed.push(line);
      view(written, 4).writeUInt32LE(line.length);
      return 0;
    },
    fd_close: () => 8, fd_seek: () => 8, fd_fdstat_get: () => 8,
  };
  // A function of the module souk, from its addresses to those of native.js.
  const souk = Object.fromEntries(Object.entries(functions).map(([name, { takes }]) => [name, (...raw) => {
    let i = 0;
    let out;
    const given = [];
    for (const kind of takes) {
      if (kind === "bytes") given.push(new Uint8Array(view(raw[i++], raw[i++])));
      else if (kind === "out") out = [raw[i++], raw[i++]];
      else if (kind === "sum") out = [raw[i++], 8];
      else given.push(raw[i++]);
    }
    if (name === "http_fetch") return fill(...out, fetch(Buffer.from(given[0])));
    if (name === "log") given[1] = host.utf8(given[1]);
    if (name === "secret_get") given[0] = host.utf8(given[0]);
    let v = host[name](...given);
    if (typeof v === "number" || v === undefined) return v;
    if (typeof v !== "bigint") return fill(...out, v);
    view(...out).writeBigInt64LE(v);
    return 0;
  }]));
  const { exports } = await WebAssembly.instantiate(module, { souk, wasi_snapshot_preview1: wasi });
  memory = exports.memory;
  exports._initialize();

  // call gives bytes to an export: bytes are a verdict, a number is a code, 0 = an abstention.
  const call = (name, b) => {
    const at = exports.souk_buffer(Math.max(b.length, 65536)) >>> 0;
    view(at, b.length).set(b);
    const n = BigInt.asUintN(64, exports[name](b.length));
    return n >> 32n === 0n ? Number(n) : Buffer.from(view(Number(n >> 32n), Number(n & 0xffffffffn)));
  };
  return {
    exports, printed, call,
    imports: WebAssembly.Module.imports(module).filter((i) => i.module === "souk").map((i) => i.name).sort(),
    names: WebAssembly.Module.exports(module).map((e) => e.name).sort(),
  };
}
