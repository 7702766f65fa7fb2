// What stands between engine.wat and a plugin's functions. build.js puts it in front
// of the plugin.

const kinds = [
  "a number from 0 to 65535",
  "a number from 0 to 4294967295",
  "",
  "a number from -2147483648 to 2147483647",
  "a string",
  "an array",
  "an object",
];

// show says what a value is; a text in the wrong place may be a password.
function show(value) {
  if (typeof value === "string") return "a string";
  if (value === null || typeof value !== "object") return String(value);
  if (typeof value.then === "function") return "a promise";
  return Array.isArray(value) ? "an array" : "an object";
}

// complain says what is wrong with a value of an answer, or with its name.
export function complain(name, kind, value) {
  if (kind === 7) throw new TypeError(`an answer has no ${name}`);
  throw new TypeError(`${name} is ${show(value)}, not ${kinds[kind]}`);
}

function message(e) {
  return e instanceof Error ? `${e.name}: ${e.message}` : `thrown: ${typeof e === "string" ? e : show(e)}`;
}

// answers asks a plugin's function: all its answers, or undefined.
export function answers(name, handler, apps, request) {
  const n = apps ? request.apps.length : 1;
  const v = handler(request);
  if (v === undefined) return undefined;
  if (!apps) {
    if (typeof v?.then === "function") throw new TypeError(`${name} returns a promise: a hook is not async`);
    return [v];
  }
  if (!Array.isArray(v) || v.length !== n) {
    throw new TypeError(`${name} returns ${show(v)}${Array.isArray(v) ? ` of ${v.length}` : ""}, not an array of ${n} answers`);
  }
  return v;
}

// start puts the determined in place of what isn't, and gives engine.wat its
// functions.
export function start(host, configure, hooks) {
  Math.random = host("random");
  const stderr = host("stderr");
  const failed = (e) => {
    const stack = e instanceof Error && typeof e.stack === "string" ? e.stack : "";
    stderr([message(e), ...stack.split("\n").map((line) => line.trim())].filter((line) => line !== "").join(" "));
    return Number.isInteger(e?.code) && e.code > 0 && e.code < 0x80000000 ? e.code : 1;
  };
  const configured = (json) => {
    let wrong;
    try {
      wrong = configure(JSON.parse(json));
    } catch (e) {
      return (e instanceof Error && e.message !== "" ? e.message : message(e)).slice(0, 4096);
    }
    return wrong === undefined ? "" : `configure returns ${show(wrong)}, not undefined`;
  };
  const handlers = hooks.map(([name, handler, apps]) => (request) => answers(name, handler, apps, request));
  return [failed, complain, ...(configure ? [configured] : []), ...handlers];
}
