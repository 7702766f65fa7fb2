// The tests that the policy has beside its language: node --test, over the module.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Failure, load } from "../../sdk/assemblyscript/native.js";

const wasm = readFileSync(new URL("region.wasm", import.meta.url));
const device = { purpose: 2, platform: 1, os: (18 << 16) | (4 << 8), territory: "AUT", account: "alice", bucket_key: "alice" };
const rules = [
  { items: ["1000003", "com.example.plus"], allow_territories: ["AUT", "DEU"] },
  { versions: ["31"], max_os: "18" },
];
const region = await load(wasm, { config: { unknown_territory: "deny", exempt_grants: ["role:tester"], rules } });

test("apps", () => {
  const ask = (who) => region.ask("entitle", { ...device, ...who, apps: [{ item: "1000003" }, { item: "7" }, { bundle_id: "com.example.plus" }] }).items;
  const passes = { decision: 2, code: 1, reason: "no rule refuses it" };
  const refused = (code, reason) => ({ decision: 1, code, reason });
  assert.deepEqual(ask({}), [passes, passes, passes]);
  for (const [who, no] of [
    [{ territory: "USA" }, refused(20, "rule 1: the territory USA is not on the list")],
    [{ territory: "" }, refused(21, "rule 1: the territory is not known")],
    [{ territory: "USA", grants: ["role:tester"] }, { decision: 2, code: 2, reason: "holds role:tester" }],
  ]) {
    assert.deepEqual(ask(who), [no, passes, no]);
  }
});

test("versions", () => {
  const candidates = [{ version: "31", rollout: 10000 }, { version: "30", rollout: 10000 }];
  const ask = (who, list) => region.ask("select_version", { ...device, ...who, apps: [{ item: "1000003", candidates: list ?? candidates }] }).items[0];
  const fresh = { os: 26 << 16 };
  assert.deepEqual(ask({}), { choice: -2, code: 1, reason: "no rule refuses a version" });
  assert.deepEqual(ask(fresh), { choice: 1, code: 3, reason: "another version; rule 2: the system 26.0 is newer than 18" });
  assert.deepEqual(ask({ ...fresh, purpose: 1 }, candidates.slice(0, 1)), { choice: -1, code: 24, reason: "rule 2: the system 26.0 is newer than 18" });
  assert.deepEqual(ask(fresh, candidates.slice(0, 1)), { choice: -3, code: 24, reason: "rule 2: the system 26.0 is newer than 18" });
  assert.deepEqual(ask({ ...fresh, grants: ["role:tester"] }), { choice: -2, code: 2, reason: "holds role:tester" });
});

test("a configuration that is refused", async () => {
  for (const [config, wrong] of [
    [{}, "rules: there are none: write at least one, or leave the plugin out"],
    [{ rules: [{ allow_territories: ["AUT"] }] }, 'rules[0].unknown_territory: say what happens where the territory is not known: "deny" or "allow", here or for all rules'],
    [[], "want a table"],
    ["\ud800", "want a table"],
  ]) {
    await assert.rejects(load(wasm, { config }), new Failure(wrong));
  }
});

test("memory does not grow with the number of calls", () => {
  const apps = Array.from({ length: 50 }, (_, i) => ({ item: String(1000000 + i), bundle_id: "com.example.app" + i }));
  const ask = () => region.ask("entitle", { ...device, territory: "USA", apps });
  for (let i = 0; i < 500; i++) ask();
  const before = region.exports.memory.buffer.byteLength;
  for (let i = 0; i < 5000; i++) ask();
  assert.equal(region.exports.memory.buffer.byteLength, before);
});
