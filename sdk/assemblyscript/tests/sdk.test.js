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
