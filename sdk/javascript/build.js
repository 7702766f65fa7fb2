#!/usr/bin/env node
// Makes a WebAssembly module of a plugin in JavaScript or TypeScript:
//
//   node build.js plugin.js -o plugin.wasm [--source bundle.js]
//
// It bundles the plugin and what it imports, writes the source and the layout of the
// records into engine.wat, merges that with the build of QuickJS in the package
// quickjs-wasi, and leaves away what is not reached. The same source gives the same
// bytes. The lines that the log names are those of the bundle, which --source writes.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as esbuild from "esbuild";
import * as abi from "./abi.js";

const sdk = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const packages = Object.keys(JSON.parse(readFileSync(join(sdk, "package.json"))).dependencies);

// The error codes of the SDK itself, the same in all languages.
const notARecord = 0x50000001;
const noSpace = 0x50000002;

// Bytes that a host function may write; those of a hash are more than any has.
const capacity = {
  kv_get: abi.MAX_KV_VALUE,
  password_hash: 512,
  hmac_sha256: 32,
  secret_get: abi.MAX_SECRET,
  http_fetch: abi.MAX_FETCH_RESPONSE,
};

// Names of the module's own, which are no host functions.
const own = { random: ["$random", 0], stderr: ["$stderr", 1], utf8: ["$utf8_text", 1] };

class Wrong extends Error {}

// bundle runs esbuild; entry is a file, or code that imports some.
async function bundle(options) {
  const host = {
    name: "souk",
    setup(build) {
      build.onResolve({ filter: /^souk$/ }, () => ({ path: join(sdk, "index.js"), sideEffects: false }));
      build.onResolve({ filter: /^#host$/ }, () => ({ path: "#host", namespace: "souk", sideEffects: false }));
      build.onLoad({ filter: /.*/, namespace: "souk" }, () => ({
        contents: [...Object.keys(abi.functions), "utf8"].map((f) => `export const ${f} = /* @__PURE__ */ souk_host("${f}");`).join("\n"),
      }));
    },
  };
  try {
    return await esbuild.build({
      ...options, plugins: [host], bundle: true, write: false, metafile: true, treeShaking: true,
      platform: "neutral", mainFields: ["module", "main"], target: "es2023", charset: "utf8", legalComments: "inline", logLevel: "silent",
    });
  } catch (e) {
    if (!e.errors) throw e;
    throw new Wrong(e.errors.map((x) => (x.location ? `${x.location.file}:${x.location.line}: ` : "") + x.text).join("\n"));
  }
}

// exported lists the hooks that a plugin answers, and configure.
async function exported(file) {
  const { metafile } = await bundle({ entryPoints: [file], format: "esm" });
  const names = Object.values(metafile.outputs)[0].exports;
  const known = [...Object.keys(abi.hooks), "configure"];
  const plain = (name) => name.toLowerCase().replaceAll("_", "");
  for (const name of names) {
    const meant = known.find((k) => k !== name && plain(k) === plain(name));
    if (meant) throw new Wrong(`${file}: it exports ${name}, which should be ${meant}`);
  }
  const hooks = Object.keys(abi.hooks).filter((k) => names.includes(k));
  if (hooks.length === 0) throw new Wrong(`${file}: it exports none of the hooks, which are ${Object.keys(abi.hooks).join(", ")}`);
  return { hooks, configure: names.includes("configure") };
}

// program is the source that QuickJS runs: a function that takes the natives.
async function program(file, { hooks, configure }) {
  const names = [...hooks, ...(configure ? ["configure"] : [])];
  const list = hooks.map((k) => `["${k}", ${k}, ${abi.hooks[k].apps}]`).join(", ");
  const { outputFiles, metafile } = await bundle({
    stdin: {
      contents: `import { start } from ${JSON.stringify(join(sdk, "guest.js"))};
        import { ${names.join(", ")} } from ${JSON.stringify(file)};
        souk_answers = start(souk_host, ${configure ? "configure" : "undefined"}, [${list}]);`,
      resolveDir: dirname(file), sourcefile: "entry",
    },
    format: "iife",
  });
  // Comments say where each file lay, which is nobody's business and not the same everywhere.
  const paths = new Set(Object.keys(metafile.inputs).map((p) => `// ${p}`));
  const code = outputFiles[0].text.split("\n").filter((line) => !paths.has(line.trim())).join("\n");
  return `(function (souk_natives) {\nconst souk_host = (name) => souk_natives[name];\nlet souk_answers;\n${code}return souk_answers;\n})`;
}

// layout writes the schema as engine.wat reads it, and the names that it points to.
class Layout {
  names = Buffer.alloc(0);
  schema = Buffer.alloc(8); // 0 is no record
  places = new Map();

  name(text) {
    const raw = Buffer.from(text + "\0");
    const at = this.names.indexOf(raw);
    if (at >= 0 && (at === 0 || this.names[at - 1] === 0)) return at;
    this.names = Buffer.concat([this.names, raw]);
    return this.names.length - raw.length;
  }

  record(name) {
    if (this.places.has(name)) return this.places.get(name);
    const { size, fields } = abi.records[name];
    const elements = fields.map((f) => (f.of ? this.record(f.of) : 0));
    const at = this.schema.length;
    const b = Buffer.alloc((8 + 20 * fields.length + 7) & ~7);
    b.writeUInt32LE(size, 0);
    b.writeUInt32LE(fields.length, 4);
    fields.forEach((f, i) => {
      const kind = { u16: 0, u32: 1, u64: 2, i32: 3, text: 4, texts: 5, list: 5 }[f.kind];
      const place = this.name(f.name);
      [kind, f.at, elements[i], (place | (f.name.length << 16) | (f.said ? 1 << 24 : 0)) >>> 0].forEach((v, j) => b.writeUInt32LE(v, 8 + 16 * i + 4 * j));
    });
    this.schema = Buffer.concat([this.schema, b]);
    this.places.set(name, at);
    return at;
  }
}

// native writes the function that JavaScript calls for a host function, and what it
// imports.
function native(name, layout) {
  const { takes, answers } = abi.functions[name];
  const fetch = name === "http_fetch"; // a record in, a record out
  const params = [];
  const before = [];
  const given = [];
  const after = [];
  const locals = ["(local $n i32)", "(local $v i64)", "(local $out i32)"];
  takes.forEach((kind, i) => {
    const value = `(i64.load offset=${8 * i} (local.get $argv))`;
    if (fetch && kind === "bytes") {
      params.push("i32", "i32");
      locals.push("(local $message i32)");
      before.push(
        `(local.set $message (call $malloc (i32.const ${abi.MAX_FETCH_REQUEST})))`,
        "(br_if $failed (i32.eqz (local.get $message)))",
        `(br_if $failed (call $write_message (i32.const ${layout.record("FetchRequest")}) ${value} (local.get $message) (i32.const ${abi.MAX_FETCH_REQUEST})))`,
        `(if (i32.eqz (global.get $written)) (then (local.set $n (i32.const ${abi.Code.DoesNotFit})) (br $answered)))`,
      );
      given.push("(local.get $message)", "(global.get $written)");
      after.push("(call $free (local.get $message))");
    } else if (kind === "bytes") {
      params.push("i32", "i32");
      locals.push(`(local $p${i} i32) (local $n${i} i32) (local $b${i} i32)`);
      before.push(
        `(local.set $p${i} (call $take ${value}))`,
        `(local.set $n${i} (global.get $taken))`,
        `(local.set $b${i} (global.get $borrowed))`,
        `(br_if $failed (i32.eqz (local.get $p${i})))`,
      );
      given.push(`(local.get $p${i})`, `(local.get $n${i})`);
      after.push(`(if (local.get $b${i}) (then (call $JS_FreeCString (global.get $context) (local.get $b${i}))))`);
    } else if (kind === "out" || kind === "sum") {
      const space = kind === "sum" ? 8 : capacity[name];
      params.push("i32", ...(kind === "out" ? ["i32"] : []));
      before.push(`(local.set $out (call $malloc (i32.const ${space})))`, "(br_if $failed (i32.eqz (local.get $out)))");
      given.push("(local.get $out)", ...(kind === "out" ? [`(i32.const ${space})`] : []));
      after.push("(call $free (local.get $out))");
    } else if (kind === "u32") {
      params.push("i32");
      given.push(`(i32.wrap_i64 (call $number ${value}))`);
    } else {
      params.push("i64");
      given.push(`(call $bigint ${value})`);
    }
  });
  let made = "(i64.extend_i32_u (local.get $n))"; // a number
  if (fetch) made = `(call $open (i32.const ${layout.record("FetchResponse")}) (local.get $out) (local.get $n) (i32.const 0))`;
  else if (takes.includes("out")) made = "(call $JS_NewUint8ArrayCopy (global.get $context) (local.get $out) (local.get $n))";
  else if (takes.includes("sum")) made = "(call $JS_NewBigInt64 (global.get $context) (i64.load (local.get $out)))";
  const call = `(call $souk_${name} ${given.join(" ")})`;
  return {
    imports: `(import "souk" "${name}" (func $souk_${name} (param ${params.join(" ")})${answers ? " (result i32)" : ""}))`,
    code: `(func $host_${name} (param $c i32) (param $this i64) (param $argc i32) (param $argv i32) (result i64)
    ${locals.join(" ")}
    (local.set $v (global.get $exception))
    (block $failed
      (block $answered
        ${before.join("\n        ")}
        ${answers ? `(local.set $n ${call})` : call}
        (if (i32.ge_s (local.get $n) (i32.const 0))
          (then
            (local.set $v ${answers ? made : "(global.get $undefined)"})
            (br $failed))))
      (local.set $v (i64.extend_i32_u (local.get $n)))) ;; a code
    ${after.join("\n    ")}
    (local.get $v))`,
    arguments: takes.filter((k) => k !== "out" && k !== "sum").length,
  };
}

function quoted(b) {
  return Array.from(b, (c) => (c > 31 && c < 127 && c !== 34 && c !== 92 ? String.fromCharCode(c) : "\\" + c.toString(16).padStart(2, "0"))).join("");
}

// engine fills in engine.wat.
function engine(source, { hooks, configure }) {
  const layout = new Layout();
  const used = [...new Set(Array.from(source.matchAll(/souk_host\("(\w+)"\)/g), (m) => m[1]))].filter((n) => n in abi.functions).sort();
  const natives = used.map((name) => native(name, layout));
  const define = (name, n, f) => `(call $define (local.get $object) (i32.const ${layout.name(name)}) (i32.const ${n}) (ref.func ${f}))`;
  const defined = [
    ...Object.entries(own).map(([name, [f, n]]) => define(name, n, f)),
    ...used.map((name, i) => define(name, natives[i].arguments, `$host_${name}`)),
  ];
  const answered = [...(configure ? ["configure"] : []), ...hooks];
  const space = hooks.includes("signIn") ? abi.MAX_SIGN_IN_VERDICT : abi.MAX_VERDICT;
  const exports = hooks.map((k) => {
    const { name, request, answer } = abi.hooks[k];
    return `(func (export "${name}") (param $length i32) (result i64)
    (call $hook (i32.const ${layout.record(request)}) (i32.const ${layout.record(answer)}) (i32.const ${k === "signIn" ? space : abi.MAX_VERDICT}) (global.get $${k}) (local.get $length)))`;
  });
  if (configure) exports.unshift("(func (export \"configure\") (param $length i32) (result i64)\n    (call $configured (global.get $configure) (local.get $length)))");
  const text = Buffer.from(source);
  const values = {
    imports: natives.map((n) => n.imports).join("\n  "),
    natives: natives.map((n) => n.code).join("\n\n  "),
    functions: used.map((name) => `$host_${name}`).join(" "),
    globals: answered.map((k) => `(global $${k} (mut i64) (i64.const 0))`).join("\n  "),
    handlers: answered.map((k, i) => `(global.set $${k} (call $JS_GetPropertyUint32 (global.get $context) (local.get $v) (i32.const ${i + 2})))`).join("\n    "),
    hooks: exports.join("\n\n  "),
    definitions: defined.join("\n    "),
    fileName: layout.name("plugin.js"),
    answerName: layout.name("an answer"),
    source: quoted(text),
    sourceSize: text.length,
    sourceSpace: text.length + 1,
    schema: quoted(layout.schema),
    schemaSize: layout.schema.length,
    names: quoted(layout.names),
    namesSize: layout.names.length,
    verdictSpace: space,
    maxVerdict: abi.MAX_VERDICT,
    maxRequest: abi.MAX_REQUEST,
    maxStrings: abi.MAX_STRINGS,
    minor: abi.MINOR,
    notARecord,
    noSpace,
  };
  return readFileSync(join(sdk, "engine.wat"), "utf8").replace(/@(\w+)/g, (all, name) => (name in values ? values[name] : all));
}

// The features that wazero and the meter of the host know.
const features = ["bulk-memory", "bulk-memory-opt", "reference-types", "sign-ext", "nontrapping-float-to-int", "mutable-globals", "multivalue"].map((f) => `--enable-${f}`);

function binaryen(tool, ...args) {
  execFileSync(process.execPath, [join(dirname(require.resolve("binaryen")), "bin", tool), ...features, ...args], { stdio: ["ignore", "ignore", "inherit"] });
}

// build returns the module of the plugin in a file, and the source in it.
export async function build(file) {
  if (!existsSync(file)) throw new Wrong(`${file}: there is no such file`);
  file = realpathSync(resolve(file));
  const answered = await exported(file);
  const source = await program(file, answered);
  const wat = engine(source, answered);
  const tmp = mkdtempSync(join(tmpdir(), "souk-build-"));
  try {
    const at = (name) => join(tmp, name);
    writeFileSync(at("engine.wat"), wat);
    binaryen("wasm-as", at("engine.wat"), "-o", at("engine.wasm"));
    binaryen("wasm-merge", at("engine.wasm"), "env", require.resolve("quickjs-wasi/quickjs.wasm"), "quickjs", "--rename-export-conflicts", "-o", at("merged.wasm"));
    const kept = ["memory", "souk_abi_1", "souk_buffer", "_initialize", ...(answered.configure ? ["configure"] : []), ...answered.hooks.map((k) => abi.hooks[k].name)];
    writeFileSync(at("kept.json"), JSON.stringify(kept.map((name) => ({ name, root: true, export: name }))));
    binaryen("wasm-metadce", at("merged.wasm"), "--graph-file", at("kept.json"), "-o", at("plugin.wasm"));
    return { wasm: readFileSync(at("plugin.wasm")), source };
  } finally {
    rmSync(tmp, { recursive: true });
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { output: { type: "string", short: "o", default: "plugin.wasm" }, source: { type: "string" }, version: { type: "boolean" } },
  });
  if (values.version) {
    const installed = (p) => JSON.parse(readFileSync(require.resolve(`${p}/package.json`))).version;
    console.log(packages.map((p) => `${p} ${installed(p)}`).join(", "));
    return;
  }
  if (positionals.length !== 1) throw new Wrong("usage: node build.js plugin.js [-o plugin.wasm] [--source bundle.js]");
  const { wasm, source } = await build(positionals[0]);
  writeFileSync(values.output, wasm);
  if (values.source) writeFileSync(values.source, source);
}

if (process.argv[1] && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  main().catch((e) => {
    console.error(e instanceof Wrong ? e.message : e);
    process.exit(1);
  });
}
