// The tests of the JavaScript SDK: node --test. guest.js runs as a module, and as it is.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { build } from "../build.js";
import { records, hooks, Level } from "../abi.js";
import * as sdk from "../index.js";
import * as native from "../native.js";
import * as plugin from "./guest.js";
import { load, now } from "./module.js";

const here = new URL(".", import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), "souk-js-"));
process.on("exit", () => rmSync(dir, { recursive: true }));
const read = (name) => JSON.parse(readFileSync(join(here, "../../abi/testdata", name)));

const { wasm, source } = await build(join(here, "guest.js"));
let asked; // what http_fetch was given
let response = Buffer.alloc(0); // what it answers
const open = () => load(wasm, { fetch: (b) => ((asked = b), response) });
const module = await open();

// encode writes a message of a request, for the module.
function encode(record, value) {
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
      else if (f.kind === "u64") b.writeBigUInt64LE(BigInt(x), at);
      else if (f.kind === "text") text(at, x);
      else if (x.length > 0) {
        const stride = f.kind === "texts" ? 8 : records[f.of].size;
        const off = reserve(x.length * stride);
        [off, x.length, stride].forEach((n, i) => b.writeUInt32LE(n, at + 4 * i));
        x.forEach((e, i) => (f.kind === "texts" ? text(off + i * stride, e) : put(f.of, off + i * stride, e)));
      }
    }
  };
  put(record, 0, value);
  b.writeUInt32LE(b.length, 0);
  b.writeUInt32LE(records[record].size, 16);
  return b;
}

const camel = (name) => name.replace(/_(\w)/g, (_, c) => c.toUpperCase());

// plain is a value of the vectors as a plugin sees it, with zeros for what is left out.
function plain(record, value) {
  const all = {};
  for (const f of records[record].fields) {
    const v = Object.entries(value).find(([name]) => camel(name) === f.name)?.[1];
    if (f.kind === "list") all[f.name] = (v ?? []).map((e) => plain(f.of, e));
    else all[f.name] = v ?? { u64: "0", text: "", texts: [] }[f.kind] ?? 0;
  }
  return all;
}

const seen = () => JSON.parse(native.logged.pop()[1]);
const answered = { EntitleVerdict: "entitle", SelectVersionVerdict: "selectVersion", SignInVerdict: "signIn", ExchangeVerdict: "exchange" };

for (const v of read("vectors.json").vectors) {
  const b = Buffer.from(v.hex, "hex");
  const hook = Object.keys(hooks).find((k) => hooks[k].request === v.record);
  const reads = hook || v.record === "FetchResponse";
  const abstains = v.record.endsWith("Verdict") && !v.value?.items;
  if (!reads && (v.read_only || v.wrong || abstains)) continue; // no plugin reads or writes it
  test(`golden vector: ${v.name}`, () => {
    native.reset();
    if (hook) {
      const got = module.call(hooks[hook].name, b);
      if (v.wrong) return assert.equal(got, 0x50000001);
      assert.equal(got, 0, module.printed.at(-1));
      return assert.deepEqual(seen(), plain(v.record, v.value));
    }
    if (v.record === "FetchResponse") {
      response = b;
      native.kv.set("request", "{}");
      const got = module.call("exchange", encode("ExchangeRequest", { subjectToken: "fetch" }));
      if (v.wrong) return assert.notEqual(got, 0);
      assert.equal(got, 0, module.printed.at(-1));
      return assert.deepEqual(seen(), plain(v.record, v.value));
    }
    b.fill(0, 6, 16); // a plugin sets no flags, and what has to be zero is it
    if (v.record === "FetchRequest") {
      native.kv.set("request", JSON.stringify(plain(v.record, v.value)));
      module.call("exchange", encode("ExchangeRequest", { subjectToken: "fetch" }));
      return assert.equal(asked.toString("hex"), b.toString("hex"));
    }
    const name = answered[v.record];
    const { items } = plain(v.record, v.value);
    if (!hooks[name].apps) b.writeUInt32LE(0, 32 + 4);
    native.kv.set("answer", JSON.stringify(items));
    const apps = items.map(() => ({}));
    const got = module.call(hooks[name].name, encode(hooks[name].request, { apps, account: "told", loginHint: "told", subjectToken: "told" }));
    assert.equal(got.toString("hex"), b.toString("hex"), module.printed.at(-1));
  });
}

test("buckets", () => {
  for (const { key, salt, bucket } of read("bucket.json").vectors) assert.equal(native.bucket(key, salt), bucket, `${key} ${salt}`);
});

// entitle asks the module about two apps: the reason of both, a code, or "abstains".
function entitle(m, account, more = {}) {
  const got = m.call("entitle", encode("EntitleRequest", { account, apps: [{}, {}], ...more }));
  if (typeof got === "number") return got === 0 ? "abstains" : got;
  const [at, n] = [got.readUInt32LE(32 + 8), got.readUInt32LE(32 + 12)];
  return got.toString("utf8", at, at + n);
}

const refused = {
  nothing: "TypeError: decision is undefined, not a number from 0 to 4294967295",
  misspelt: "TypeError: an answer has no reson",
  words: "TypeError: decision is a string, not a number from 0 to 4294967295",
  half: "TypeError: decision is 0.5, not a number from 0 to 4294967295",
  nan: "TypeError: decision is NaN, not a number from 0 to 4294967295",
  negative: "TypeError: decision is -1, not a number from 0 to 4294967295",
  large: "TypeError: decision is 4294967296, not a number from 0 to 4294967295",
  yes: "TypeError: decision is true, not a number from 0 to 4294967295",
  bigint: "TypeError: decision is 1, not a number from 0 to 4294967295",
  number: "TypeError: reason is 5, not a string",
  null: "TypeError: decision is null, not a number from 0 to 4294967295",
  decisions: "TypeError: an answer is 0, not an object",
  hole: "TypeError: an answer is undefined, not an object",
  one: "TypeError: entitle returns an object, not an array of 2 answers",
  few: "TypeError: entitle returns an array of 0, not an array of 2 answers",
  promise: "TypeError: entitle returns a promise, not an array of 2 answers",
  throws: "RangeError: told to",
};

test("an answer of another form is a failure, with a sentence", () => {
  for (const [account, sentence] of Object.entries(refused)) {
    assert.equal(entitle(module, account), 1, account);
    assert.equal(module.printed.at(-1).slice(0, sentence.length), sentence);
    assert.throws(() => native.ask(plugin, "entitle", { account, apps: [{}, {}] }), (e) => `${e.name}: ${e.message}` === sentence, account);
  }
});

test("failures", () => {
  assert.equal(entitle(module, "text"), 1);
  assert.equal(module.printed.at(-1), "thrown: a text");
  assert.equal(module.call("exchange", encode("ExchangeRequest", { subjectToken: "promise" })), 1);
  assert.match(module.printed.at(-1), /^TypeError: exchange returns a promise: a hook is not async/);
  assert.equal(entitle(module, "code"), 77);
  const [, line] = module.printed.at(-1).match(/^Error: told to at code \(plugin\.js:(\d+):\d+\) at entitle /);
  assert.match(source.split("\n").slice(line - 2, line + 1).join("\n"), /code: 77/);
  assert.equal(entitle(module, "later"), "abstains");
  assert.equal(entitle(module, "recursion"), 1);
  assert.match(module.printed.at(-1), /^RangeError: Maximum call stack size exceeded/);
  assert.equal(entitle(module, "long"), 0x50000002);
  assert.equal(module.call("entitle", Buffer.alloc(3)), 0x50000001);
  assert.equal(module.exports.souk_buffer((1 << 20) + 1), 0);
  assert.equal(entitle(module, "fine"), "größe 🚫");
});

test("answers", () => {
  assert.equal(entitle(module, "halves"), "a\ufffdb\ufffdc\ufffd");
  assert.equal(entitle(module, "abstain"), "abstains");
  response = Buffer.alloc(112, "a"); // 64 bytes of text behind the fixed part
  [112, 0, 0, 0, 200, 0, 0, 0, 0, 0, 48, 64].forEach((n, i) => response.writeUInt32LE(n, 4 * i));
  assert.equal(entitle(module, "getter"), "a".repeat(64)); // a message within the writing of another
  assert.deepEqual(native.ask(plugin, "entitle", { account: "fine", apps: [{}] }), [{ decision: 1, code: 0xffffffff, reason: "größe 🚫" }]);
  assert.equal(native.ask(plugin, "entitle", { account: "abstain" }), undefined);
  assert.throws(() => native.ask(plugin, "entitle", { acount: "" }), /EntitleRequest has no acount/);
});

test("the same question has the same answer in every instance", async () => {
  const other = await open();
  entitle(other, "random");
  const [a, b] = [module, other].map((m) => entitle(m, "random", { seed: "18364758544493064720" }));
  assert.equal(a, b);
  const [x, y] = a.split(" ").map(Number);
  assert.ok(x >= 0 && x < 1 && y >= 0 && y < 1 && x !== y, a);
  assert.notEqual(entitle(module, "random", { seed: "2" }), a);
  assert.equal(entitle(module, "clock"), `${now} 0 ${new Date(now).toUTCString().replace(/^(\w+), (\d+) (\w+) (\d+) ([\d:]+) GMT$/, "$1 $3 $2 $4 $5 GMT+0000")}`);
});

test("the language", () => {
  const want = 'true 2 6 2026 18446744073709551616 YQ== 1970-01-01T00:00:00.000Z 1,2,3 1,3 undefined undefined undefined 7 ß %C3%A4 {"b":5,"rest":{"c":1},"others":{"d":2},"x":null}';
  assert.equal(entitle(module, "language"), "2 2 " + want);
});

test("host functions, in the module and in Node", () => {
  const run = (ask) => {
    native.reset();
    native.secrets.set("one", "hush");
    const reason = ask();
    assert.deepEqual(native.logged, [[Level.Warn, "größe"]]);
    assert.deepEqual([...native.metrics.values()], [1n]);
    return reason;
  };
  const got = run(() => native.ask(plugin, "entitle", { account: "host", apps: [{}] })[0].reason);
  assert.equal(run(() => {
    const b = module.call("entitle", encode("EntitleRequest", { account: "host", apps: [{}] }));
    return typeof b === "number" ? module.printed.at(-1) : b.toString("utf8", b.readUInt32LE(40), b.readUInt32LE(40) + b.readUInt32LE(44));
  }), got);
  assert.deepEqual(got.split("\n"), [
    String(native.bucket("key", "salt")), String(native.bucket("größe🚫", new Uint8Array([0xff, 0]))),
    "undefined", "undefined", "größe", "[7: 103…101]", "false", "true", "HostError -5 kvGet: failed", "[2: 255…1]",
    "undefined", "", "HostError -3 kvAdd: refused", "undefined", "undefined", "undefined", "HostError -3 kvDelete: refused",
    "5", "-2", "RangeError kvAdd: 9223372036854775808 has more than 64 bits", "RangeError kvAdd: 1.5 is no whole number", "9223372036854775806",
    "RangeError kvPut: -1 is no number of seconds", "TypeError kvPut takes a string or a Uint8Array", "HostError -3 kvPut: refused",
    "undefined", "a half", "true", "false", "false", "HostError -3 passwordHash: refused", "[32: 80…208]", "true", "false",
    "undefined", "hush", "undefined", "HostError -3 metricAdd: refused", "undefined",
    "TypeError url is 5, not a string", "TypeError an answer has no uri",
  ]);
});

test("configurations", async () => {
  const configure = (table) => {
    const got = module.call("configure", Buffer.from(JSON.stringify(table)));
    return typeof got === "number" ? got : got.toString();
  };
  assert.equal(configure({}), 0);
  assert.equal(configure({ refuse: "ä" }), 'no: {"refuse":"ä"}');
  assert.equal(configure({ returns: "bad" }), "configure returns a string, not undefined");
  assert.match(module.call("configure", Buffer.from("{")).toString(), /JSON/);
});

test("memory does not grow with the number of calls", async () => {
  const accounts = ["fine", "throws", "misspelt", "abstain", "host", "long"];
  const m = await open();
  const some = (n) => { for (let i = 0; i < n; i++) entitle(m, accounts[i % accounts.length]); };
  some(600);
  const before = m.exports.memory.buffer.byteLength;
  some(3000);
  assert.equal(m.exports.memory.buffer.byteLength, before);
});

test("a module has the hooks that the plugin exports and the functions that it calls", async () => {
  const text = `import { kvGet, type ExchangeRequest } from "souk";
    import { yes } from "./part";
    if (kvGet("start") === "no") throw new Error("told to");
    export const help = 1;
    export const exchange = (r: ExchangeRequest) => ({ outcome: yes });`;
  writeFileSync(join(dir, "part.ts"), "export const yes: number = 1;\n");
  writeFileSync(join(dir, "small.ts"), text);
  const { wasm: built } = await build(join(dir, "small.ts"));
  native.reset();
  const small = await load(built);
  assert.deepEqual(small.imports, ["kv_get"]);
  assert.deepEqual(small.names, ["_initialize", "exchange", "memory", "souk_abi_1", "souk_buffer"]);
  assert.equal(small.call("exchange", encode("ExchangeRequest", {})).readUInt32LE(32), 1);
  assert.deepEqual(module.names, ["_initialize", "configure", "entitle", "exchange", "memory", "select_version", "sign_in", "souk_abi_1", "souk_buffer"]);
  assert.equal(module.imports.length, 14);
  native.kv.set("start", "no"); // a plugin that throws at its start does not start
  await assert.rejects(load(built), WebAssembly.RuntimeError);
});

test("the types name what there is", () => {
  const declared = ["abi.d.ts", "index.d.ts"].flatMap((name) =>
    Array.from(readFileSync(join(here, "..", name), "utf8").matchAll(/^export declare (?:const|function|class) (\w+)/gm), (m) => m[1]));
  assert.deepEqual(declared.sort(), Object.keys(sdk).sort());
});

test("what is no plugin is not built", async () => {
  for (const [text, sentence] of [
    ["export const x = 1;", /exports none of the hooks, which are entitle, selectVersion, signIn, exchange/],
    ["export const select_version = () => {};", /it exports select_version, which should be selectVersion/],
    ["export const entitle = () => {", /small\.js:1: /],
    ['import { nothing } from "souk";\nexport const entitle = () => nothing();', /No matching export.*"nothing"/],
    ['import fs from "node:fs";\nexport const entitle = () => fs.existsSync("x");', /Could not resolve "node:fs"/],
    ["await 1;\nexport const entitle = () => {};", /[Tt]op-level await/],
  ]) {
    writeFileSync(join(dir, "small.js"), text);
    await assert.rejects(build(join(dir, "small.js")), sentence);
  }
});
