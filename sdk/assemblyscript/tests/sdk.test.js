// The tests of the AssemblyScript SDK: node --test, after guest.ts was built.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { Failure, decode, encode, load } from "../native.js";

const here = new URL(".", import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), "souk-as-"));
process.on("exit", () => rmSync(dir, { recursive: true }));
const file = join(dir, "guest.wasm");
execFileSync(process.execPath, [
  join(here, "../node_modules/assemblyscript/bin/asc.js"), join(here, "guest.ts"), "-O3", "--noAssert",
  "--use", "abort=assembly/index/abort", "-o", file,
], { cwd: join(here, "..") });
const wasm = readFileSync(file);
const read = (name) => JSON.parse(readFileSync(join(here, "../../abi/testdata", name)));

const plugin = await load(wasm);
const call = (name, b) => {
  const at = plugin.exports.souk_buffer(Math.max(b.length, 65536)) >>> 0;
  b.copy(Buffer.from(plugin.exports.memory.buffer, at, b.length));
  const n = BigInt.asUintN(64, BigInt(plugin.exports[name](b.length)));
  return Buffer.from(Buffer.from(plugin.exports.memory.buffer, Number(n >> 32n), Number(n & 0xffffffffn)));
};

for (const v of read("vectors.json").vectors) {
  test(`golden vector: ${v.name}`, () => {
    const b = Buffer.from(v.hex, "hex");
    const line = Buffer.concat([Buffer.from(v.record + "\n"), b]);
    const got = call("test_dump", line).toString();
    if (v.wrong) return assert.equal(got, "wrong");
    assert.deepEqual(JSON.parse(got), v.value);
    assert.deepEqual(decode(v.record, b), v.value);
    if (v.read_only) return;
    assert.equal(call("test_copy", line).toString("hex"), v.hex);
    assert.equal(encode(v.record, v.value).toString("hex"), v.hex);
  });
}

test("buckets", () => {
  for (const v of read("bucket.json").vectors) {
    const b = Buffer.from(`${v.key}|${v.salt}`);
    const at = plugin.exports.souk_buffer(b.length) >>> 0;
    b.copy(Buffer.from(plugin.exports.memory.buffer, at, b.length));
    assert.equal(plugin.exports.test_bucket(b.length), v.bucket, JSON.stringify(v));
  }
});

const value = (json) => call("test_value", Buffer.from(json)).toString();

test("values", () => {
  const json = ' {"a": [1, 20 , 3.5e1,true,null,-1,9223372036854775808], "\\u0062\\n": {"c" : "\\ud83d\\udE80 \\u00df\\/"}, "d":{}, "e":[ ],"f":false} ';
  const want = { a: [1, 20, ["3.5e1"], true, null, ["-1"], ["9223372036854775808"]], "b\n": { c: "🚀 ß/" }, d: {}, e: [], f: false };
  assert.deepEqual(JSON.parse(value(json)), want);
  assert.equal(value("9223372036854775807"), "9223372036854775807");
  assert.equal(value('{"a":1,"a":2}'), '{"a":1,"a":2}');
  assert.equal(value('"\\ud800"'), '"\ufffd"'); // half a character
  for (const [digits, n] of [["0", "0"], ["7", "7"], ["07", "-1"], ["", "-1"], ["-1", "-1"], ["7x", "-1"], ["9223372036854775807", "9223372036854775807"], ["9223372036854775808", "-1"]]) {
    assert.equal(call("test_whole", Buffer.from(digits)).toString(), n, digits);
  }
});

test("what is no configuration", () => {
  for (const [json, at, why] of [
    ["", 0, "want a value"], [" ", 1, "want a value"], ["{", 1, 'want "'], ["[1,]", 3, "want a value"], ['{"a":1,}', 7, 'want "'],
    ['{"a" 1}', 5, "want :"], ["{a:1}", 1, 'want "'], ["01", 1, "want the end"], ["1.", 2, "want a digit"], ["-", 1, "want a digit"],
    ["+1", 0, "want a value"], ["1e", 2, "want a digit"], ["tru", 3, "want true"], ["nul1", 3, "want null"], ['"a', 2, 'want "'], ['"', 1, 'want "'],
    ['"\\x"', 2, "there is no such escape"], ['"\\', 2, "there is no such escape"], ['"\\u12g4"', 5, "want four hexadecimal digits"], ['"\\n\\u12', 7, "want four hexadecimal digits"],
    ['"\n"', 1, "a control character has to be escaped"], ['"\\t\u0001"', 3, "a control character has to be escaped"], ["\0", 0, "want a value"],
    ["1 1", 2, "want the end"], ["[1}", 2, "want , or ]"], ['{"a":1]', 6, "want , or }"], ["ß", 0, "want a value"], ["\ufeff{}", 0, "want a value"], ["'a'", 0, "want a value"],
  ]) {
    assert.equal(value(json), `character ${at} of the JSON text: ${why}`, json);
  }
});

// Bad input is an answer and no trap, however large it is.
test("the bounds of a configuration", () => {
  const deep = (n) => "[".repeat(n) + "]".repeat(n);
  const list = (n) => "[" + "0,".repeat(n - 2) + "0]";
  assert.equal(value(deep(65)), deep(65));
  assert.equal(value(deep(66)), "character 65 of the JSON text: more than 64 lists and tables are within each other");
  assert.match(value("[".repeat(60000)), /^character 65 of/);
  assert.equal(value(list(16384)), list(16384));
  assert.equal(value(list(16385)), "character 32767 of the JSON text: there are more than 16384 values");
  const fits = (1 << 20) - 64;
  const parses = (json) => {
    const b = Buffer.from(json);
    const at = plugin.exports.souk_buffer(b.length) >>> 0;
    b.copy(Buffer.from(plugin.exports.memory.buffer, at, b.length));
    return plugin.exports.test_parses(b.length);
  };
  assert.equal(parses('"' + "\\n".repeat(fits / 2 - 1) + '"'), 1);
  assert.equal(parses('"' + "ß".repeat(fits / 2 - 1) + '"'), 1);
  assert.equal(parses("[" + '{"a":[]},'.repeat(fits / 9 - 1) + "0]"), 0);
  assert.equal(parses('"' + "\\".repeat(fits / 2)), 0);
});

// Whatever JSON.parse takes is taken, and nothing else.
test("values, against JSON.parse", () => {
  let state = 7;
  const random = (n) => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 16) % n;
  const seeds = ['{"a":[1,-2.5e+3,true,null],"b":{"c":"d\\u00e4\\n"}}', '[{"items":["1000001"],"n":0},"\\ud83d\\ude80",[[]]]', ' "x" ', "-0.1E2"];
  const alphabet = '{}[]",:\\/bfnrtu0123456789+-.eEatlsxß \n\t\0';
  // Numbers are compared as such: what is not whole comes back as a list of its text.
  const like = (v) => {
    if (typeof v === "number" || (Array.isArray(v) && v.length === 1 && /^-?\d[\d.eE+-]*$/.test(v[0]))) return 0;
    if (typeof v === "string") return v.toWellFormed();
    if (Array.isArray(v)) return v.map(like);
    return v === null || typeof v !== "object" ? v : Object.fromEntries(Object.entries(v).map(([k, x]) => [k.toWellFormed(), like(x)]));
  };
  let good = 0;
  for (let i = 0; i < 20000; i++) {
    let json = seeds[random(seeds.length)];
    for (let n = random(4); n > 0; n--) {
      const at = random(json.length + 1);
      json = json.slice(0, at) + alphabet[random(alphabet.length)].repeat(random(2)) + json.slice(at + random(3));
    }
    let want;
    try {
      want = JSON.parse(json);
    } catch {}
    const got = value(json);
    assert.equal(got.startsWith("character "), want === undefined, JSON.stringify(json) + " " + got);
    if (want === undefined) continue;
    assert.deepEqual(like(JSON.parse(got)), like(want), json);
    good++;
  }
  assert.ok(good > 1000 && good < 19000, `${good} of 20000 are JSON`);
});

const candidates = [{ version: "4" }, { version: "3" }];
const ask = (account) => plugin.ask("select_version", { account, apps: [{ item: "1", candidates }, { candidates: [candidates[0]] }] });

test("a hook", () => {
  assert.deepEqual(ask("alice").items, [{ choice: 1, reason: "-6" }, { reason: "-5" }]);
  assert.equal(ask("abstain"), null);
  assert.throws(() => ask("error"), new Failure("code 7"));
  assert.throws(() => ask("many"), new Failure(`code ${0x50000002}`));
  assert.throws(() => ask("trap"), WebAssembly.RuntimeError);
  assert.equal(BigInt(plugin.exports.select_version(3)), 0x50000001n);
  assert.equal(plugin.exports.souk_buffer((1 << 20) + 1), 0);
});

test("texts of the question before", () => {
  const one = (account) => plugin.ask("select_version", { account, territory: "AUT", apps: [{ candidates }] });
  const larger = { account: "before", apps: [{ candidates }, { candidates }] };
  one("größe");
  assert.equal(one("before").items[0].reason, "größe"); // it was looked at, so it stays
  assert.throws(() => plugin.ask("select_version", larger), WebAssembly.RuntimeError);
  assert.deepEqual(ask("alice").items, [{ choice: 1, reason: "-6" }, { reason: "-5" }]);
});

test("memory does not grow with the number of calls", () => {
  for (let i = 0; i < 2000; i++) ask("alice");
  const before = plugin.exports.memory.buffer.byteLength;
  for (let i = 0; i < 20000; i++) ask("alice");
  assert.equal(plugin.exports.memory.buffer.byteLength, before);
});

test("host functions", () => {
  const { items } = plugin.ask("entitle", { apps: [{}] });
  assert.equal(items[0].reason, "-1 0 1 -4 0 600 -3 0 -3 5 -2 1 0 0");
  assert.deepEqual(plugin.logged, ["2 größe"]);
});

test("a configuration that is refused", async () => {
  await assert.rejects(load(wasm, { config: { ä: 1 } }), new Failure('no: {"ä":1}'));
});

test("host functions of an exchange", async () => {
  const seen = [];
  const other = await load(wasm, {
    secrets: { key: "größe" },
    fetch: (q) => (seen.push(q), q.url === "https://id.example.com/" ? { status: 201, body: "good" } : -3),
  });
  const ask = (subject_token, subject_token_type, client = "") => other.ask("exchange", { subject_token, subject_token_type, client }).items[0].reason;
  const sum = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"; // RFC 4231, test case 2
  assert.equal(ask("hmac", "Jefe", "what do ya want for nothing?"), sum);
  assert.equal(ask("equal", "a", "a") + ask("equal", "a", "b") + ask("equal", "", ""), "truefalsetrue");
  assert.equal(ask("secret", "key"), "größe");
  assert.equal(ask("secret", "other"), "-1");
  assert.deepEqual(["asked", "asked", "Asked"].map((name) => ask("metric", name)), ["code 0", "code 0", "code -3"]);
  assert.deepEqual([...other.metrics], [["asked", 4n]]);
  assert.equal(ask("fetch", "https://id.example.com/", "a body"), "201 good");
  const [{ method, url, body }] = seen;
  assert.deepEqual({ method, url, body }, { method: "POST", url: "https://id.example.com/", body: "a body" });
  assert.equal(ask("fetch", "https://elsewhere.example.com/"), "-3");
});
