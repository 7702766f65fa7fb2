// The guest of the SDK's own tests.
import * as souk from "../assembly/index";
import { Kind, Value, parse, whole } from "../assembly/value";
import { copy, dump } from "./dump_gen";
import { quote } from "./quote";
export { souk_abi_1, souk_buffer } from "../assembly/index";

const space = heap.alloc(1 << 20);

function place(s: string): u64 {
  const n = String.UTF8.byteLength(s);
  String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, space, false, String.UTF8.ErrorMode.REPLACE);
  return ((<u64>space) << 32) | n;
}

// In the buffer: a line with the name of a record, and a message.
function split(length: u32): u32 {
  const at = souk.souk_buffer(0);
  let n: u32 = 0;
  while (n < length && load<u8>(at + n) != 10) n++;
  return n;
}

export function test_dump(length: u32): u64 {
  const n = split(length);
  const at = souk.souk_buffer(0);
  return place(dump(String.UTF8.decodeUnsafe(at, n), at + n + 1, length - n - 1));
}

export function test_copy(length: u32): u64 {
  const n = split(length);
  const at = souk.souk_buffer(0);
  const size = copy(String.UTF8.decodeUnsafe(at, n), at + n + 1, length - n - 1, space, 1 << 20);
  return ((<u64>space) << 32) | size;
}

// In the buffer: a key, a zero byte, a salt.
export function test_bucket(length: u32): u32 {
  const parts = String.UTF8.decodeUnsafe(souk.souk_buffer(0), length).split("|");
  return souk.bucket(parts[0], parts[1]);
}

// spell writes a value as JSON again; a number that is not whole as a list.
function spell(v: Value): string {
  if (v.kind == Kind.Text) return quote(v.text);
  if (v.kind == Kind.Number) return v.whole >= 0 ? v.whole.toString() : "[" + quote(v.text) + "]";
  if (v.kind == Kind.Bool) return v.isTrue ? "true" : "false";
  if (v.kind == Kind.Null) return v.text;
  const all: string[] = [];
  for (let i = 0; i < v.values.length; i++) {
    all.push((v.kind == Kind.Table ? quote(v.keys[i]) + ":" : "") + spell(v.values[i]));
  }
  return v.kind == Kind.Table ? "{" + all.join(",") + "}" : "[" + all.join(",") + "]";
}

export function test_value(length: u32): u64 {
  const v = parse(String.UTF8.decodeUnsafe(souk.souk_buffer(0), length));
  return place(v.wrong == "" ? spell(v) : v.wrong);
}

// parse alone, of what is too large to be spelled here: 1 = good.
export function test_parses(length: u32): u32 {
  return parse(String.UTF8.decodeUnsafe(souk.souk_buffer(0), length)).wrong == "" ? 1 : 0;
}

export function test_whole(length: u32): u64 {
  return place(whole(String.UTF8.decodeUnsafe(souk.souk_buffer(0), length)).toString());
}

export function configure(length: u32): u64 {
  return souk.configured(length, (json) => (json == "{}" ? "" : "no: " + json));
}

let kept: souk.Head | null = null;

export function select_version(length: u32): u64 {
  return souk.selectVersion(length, (request, out) => {
    const account = request.head.account;
    const before = kept;
    if (account == "before" && before) {
      for (let i = 0; i < request.apps.length; i++) {
        const choice = new souk.VersionChoice();
        choice.reason = i == 0 ? before.account : before.territory; // this one nobody has looked at
        out.push(choice);
      }
      return;
    }
    kept = request.head;
    if (account == "error") out.fail(7);
    if (account == "abstain") return;
    if (account == "trap") unreachable();
    for (let i = 0; i < request.apps.length; i++) {
      const candidates = request.apps[i].candidates;
      const choice = new souk.VersionChoice();
      choice.choice = candidates.length - 1;
      choice.reason = (<i64>candidates[candidates.length - 1].version - 9).toString();
      out.push(choice);
    }
    if (account == "many") out.push(new souk.VersionChoice());
  });
}

// The host functions, one after the other.
export function entitle(length: u32): u64 {
  return souk.entitle(length, (request, out) => {
    const value = String.UTF8.encode("value");
    const empty = new ArrayBuffer(0);
    const all: i64[] = [];
    all.push(souk.kvGet("k").code);
    all.push(souk.kvPut("k", value, 60));
    all.push(souk.kvGet("k").text == "value" ? 1 : 0);
    all.push(souk.kvSwap("k", empty, value));
    all.push(souk.kvSwap("k", value, new ArrayBuffer(600)));
    all.push(souk.kvGet("k").code);
    all.push(souk.kvAdd("k", 1).code);
    all.push(souk.kvDelete("k"));
    all.push(souk.kvDelete(""));
    all.push(souk.kvAdd("k", 5).sum);
    all.push(souk.kvAdd("k", -7).sum);
    const hash = souk.passwordHash("wonderland");
    all.push(souk.passwordVerify("wonderland", hash.value));
    all.push(souk.passwordVerify("Wonderland", hash.value));
    all.push(souk.passwordVerify("", empty));
    souk.log(souk.Level.Warn, "größe");
    const decision = new souk.EntitleDecision();
    decision.reason = all.join(" ");
    out.push(decision);
  });
}

function hex(b: ArrayBuffer): string {
  let all = "";
  const list = Uint8Array.wrap(b);
  for (let i = 0; i < list.length; i++) all += (list[i] < 16 ? "0" : "") + list[i].toString(16);
  return all;
}

// The host functions for a sign-in or an exchange; the subject token says which.
export function exchange(length: u32): u64 {
  return souk.exchange(length, (r, out) => {
    const a = new souk.ExchangeAnswer();
    a.outcome = souk.ExchangeOutcome.Refused;
    const key = String.UTF8.encode(r.subjectTokenType);
    const data = String.UTF8.encode(r.head.client);
    if (r.subjectToken == "hmac") {
      a.reason = hex(souk.hmacSha256(key, data).value);
    } else if (r.subjectToken == "equal") {
      a.reason = souk.equalCt(key, data).toString();
    } else if (r.subjectToken == "secret") {
      const got = souk.secret(r.subjectTokenType);
      a.reason = got.good ? got.text : got.code.toString();
    } else if (r.subjectToken == "metric") {
      a.reason = "code " + souk.metricAdd(r.subjectTokenType, 2).toString();
    } else {
      const q = new souk.FetchRequest();
      q.method = "POST";
      q.url = r.subjectTokenType;
      q.body = r.head.client;
      const got = souk.fetch(q);
      const response = got.response;
      a.reason = response ? response.status.toString() + " " + response.body : got.code.toString();
    }
    out.push(a);
  });
}
