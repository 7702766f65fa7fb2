// The plugin of the SDK's own tests, as a module and in Node: what to do is the account
// of a question, or the hint of a sign-in.
import * as souk from "../index.js";

const bigints = (key, v) => (typeof v === "bigint" ? String(v) : v);
const seen = (v) => souk.log(souk.Level.Debug, JSON.stringify(v, bigints));
const told = () => JSON.parse(souk.kvGet("answer"));

export function configure(table) {
  if (table.refuse) throw new Error(`no: ${JSON.stringify(table)}`);
  if (table.returns) return table.returns;
}

const bad = {
  nothing: (r) => r.apps.map(() => ({})),
  misspelt: (r) => r.apps.map(() => ({ decision: 0, reson: "x" })),
  words: (r) => r.apps.map(() => ({ decision: "deny" })),
  half: (r) => r.apps.map(() => ({ decision: 0.5 })),
  nan: (r) => r.apps.map(() => ({ decision: NaN })),
  negative: (r) => r.apps.map(() => ({ decision: -1 })),
  large: (r) => r.apps.map(() => ({ decision: 2 ** 32 })),
  yes: (r) => r.apps.map(() => ({ decision: true })),
  bigint: (r) => r.apps.map(() => ({ decision: 1n })),
  number: (r) => r.apps.map(() => ({ decision: 1, reason: 5 })),
  null: (r) => r.apps.map(() => ({ decision: null })),
  decisions: (r) => r.apps.map(() => souk.Decision.Allow),
  hole: (r) => new Array(r.apps.length),
  one: () => ({ decision: 0 }),
  few: () => [],
  promise: async () => [],
  throws: () => { throw new RangeError("told to"); },
  text: () => { throw "a text"; },
  code: () => { throw Object.assign(new Error("told to"), { code: 77 }); },
  later: () => void Promise.reject(new Error("nobody hears this")),
  recursion: function deep() { return deep() + 1; },
  long: (r) => r.apps.map(() => ({ decision: 1, reason: "x".repeat(70_000) })),
};

const good = {
  fine: (r) => r.apps.map(() => ({ decision: souk.Decision.Deny, code: 0xffffffff, reason: "größe \ud83d\udeab" })),
  halves: (r) => r.apps.map(() => ({ decision: 1.0, code: undefined, reason: "a\ud83db\udeabc\ud83d" })),
  getter: (r) => r.apps.map(() => ({ decision: 1, get reason() { return souk.fetch({ url: "https://a/", body: "x".repeat(500) }).body; } })),
  abstain: () => undefined,
  random: (r) => r.apps.map(() => ({ decision: 1, reason: `${Math.random()} ${Math.random()}` })),
  clock: (r) => r.apps.map(() => ({ decision: 1, reason: `${Date.now()} ${new Date(0).getTimezoneOffset()} ${new Date(Date.now())}` })),
  language: (r) => r.apps.map(() => ({ decision: 1, reason: language() })),
  host: (r) => r.apps.map(() => ({ decision: 1, reason: hostFunctions() })),
};

export function entitle(r) {
  if (r.account === "told") return told();
  const f = bad[r.account] ?? good[r.account];
  if (f !== undefined) return f(r);
  seen(r);
}

export function selectVersion(r) {
  if (r.account === "told") return told();
  seen(r);
}

export function signIn(r) {
  if (r.loginHint === "told") return told()[0];
  seen(r);
}

export function exchange(r) {
  if (r.subjectToken === "promise") return Promise.resolve({ outcome: 1 });
  if (r.subjectToken === "told") return told()[0];
  if (r.subjectToken === "fetch") seen(souk.fetch(JSON.parse(souk.kvGet("request"))));
  else seen(r);
}

// What of the language is there.
function language() {
  function* some() { yield* [1, 2]; }
  class Counter { #n = 1; static { this.ready = true; } next() { return ++this.#n; } }
  return [
    [...some()].length, new Counter().next(), Counter.ready, new Map([[1, 2]]).get(1), [..."größe🚫"].length,
    /(?<y>\d{4})-\p{L}+/u.exec("on 2026-März").groups.y, 2n ** 64n, btoa("a"), new Date(0).toISOString(), [3, 1, 2].toSorted(),
    Object.groupBy([1, 2, 3], (n) => (n % 2 ? "odd" : "even")).odd, typeof WeakRef, typeof FinalizationRegistry, typeof performance,
    new Function("return 7")(), "ẞ".normalize("NFC").toLowerCase(), encodeURIComponent("ä"), structured(),
  ].join(" ");
}

function structured() {
  const { a: { b = 5, ...rest }, ...others } = { a: { c: 1 }, d: 2 };
  return JSON.stringify({ b, rest, others, x: others?.e?.f ?? null });
}

// The host functions, one after the other.
function hostFunctions() {
  const all = [];
  const tries = (f) => {
    try {
      const v = f();
      all.push(v instanceof Uint8Array ? `[${v.length}: ${v[0]}…${v.at(-1)}]` : String(v));
    } catch (e) {
      all.push(e instanceof souk.HostError ? `${e.name} ${e.code} ${e.message}` : `${e.name} ${e.message}`);
    }
  };
  tries(() => souk.bucket("key", "salt"));
  tries(() => souk.bucket("größe🚫", new Uint8Array([0xff, 0])));
  tries(() => souk.kvGet("k"));
  tries(() => souk.kvPut("k", "größe", 60));
  tries(() => souk.kvGet("k"));
  tries(() => souk.kvGetBytes("k"));
  tries(() => souk.kvSwap("k", "", "x"));
  tries(() => souk.kvSwap("k", "größe", new Uint8Array([0xff, 1])));
  tries(() => souk.kvGet("k"));
  tries(() => souk.kvGetBytes("k"));
  tries(() => souk.kvPut("k", new Uint8Array()));
  tries(() => souk.kvGet("k"));
  tries(() => souk.kvAdd("k", 1));
  tries(() => souk.kvDelete("k"));
  tries(() => souk.kvDelete("k"));
  tries(() => souk.kvGetBytes("k"));
  tries(() => souk.kvDelete(""));
  tries(() => souk.kvAdd("n", 5));
  tries(() => souk.kvAdd("n", -7n));
  tries(() => souk.kvAdd("n", 2n ** 63n));
  tries(() => souk.kvAdd("n", 1.5));
  tries(() => souk.kvAdd("n", -(2n ** 63n)));
  tries(() => souk.kvPut("k", "v", -1));
  tries(() => souk.kvPut("k", 5));
  tries(() => souk.kvPut("k", "x".repeat(65_537)));
  tries(() => souk.kvPut("k\ud83d", "a half"));
  tries(() => souk.kvGet("k\ufffd"));
  tries(() => souk.passwordVerify("wonderland", souk.passwordHash("wonderland")));
  tries(() => souk.passwordVerify("Wonderland", souk.passwordHash("wonderland")));
  tries(() => souk.passwordVerify("", ""));
  tries(() => souk.passwordHash("x".repeat(1025)));
  tries(() => souk.hmacSha256("key", "data"));
  tries(() => souk.equalCt("a", new Uint8Array([97])));
  tries(() => souk.equalCt("a", "b"));
  tries(() => souk.secret("none"));
  tries(() => souk.secret("one"));
  tries(() => souk.metricAdd("seen"));
  tries(() => souk.metricAdd("Seen", 2));
  tries(() => souk.log(souk.Level.Warn, "größe"));
  tries(() => souk.fetch({ url: 5 }));
  tries(() => souk.fetch({ uri: "" }));
  return all.join("\n");
}
