// Scripts that would take more than their question is worth, by the account.
const does = {
  loop: () => { while (true); },
  recursion: function deep() { return [deep()]; },
  getters: () => { const o = { get a() { return o.a; } }; return o.a; },
  regexp: () => /^(a+)+$/.test("a".repeat(40) + "b"),
  memory: () => { const all = []; while (true) all.push(new Array(1000).fill(all.length)); },
  strings: () => { let s = "x"; while (true) s += s; },
  buffer: () => new Uint8Array(1 << 30),
  nested: () => JSON.parse("[".repeat(200_000)),
  written: () => { let o = {}; for (let i = 0; i < 20_000; i++) o = { o }; return JSON.stringify(o); },
  jobs: () => { const again = () => Promise.resolve().then(again); again(); },
  bigints: () => { let n = 3n; while (true) n *= n; },
  sort: () => new Array(1 << 20).fill(0).map((_, i) => -i).sort(),
  proxy: (r) => new Proxy(r.apps, { get: (apps, name) => (name === "length" ? 2 ** 40 : apps[name]) }),
  answers: (r) => r.apps.map(() => ({ decision: 0, reason: { toString: () => "x" } })),
  eval: () => new Function("while (true);")(),
  fine: (r) => r.apps.map(() => ({ decision: 0 })),
};

export function entitle(r) {
  return does[r.account](r);
}
