// Reads a plugin's configuration, which is JSON text (RFC 8259). Whatever the text
// is, reading it ends with a value or with a sentence that says what is wrong.
// Whether a key is known and a value makes sense is the plugin's to say.
//
//   import { parse, Kind } from "souk/assembly/value";
//
//   const table = parse(json);
//   if (table.wrong != "") return table.wrong;
//   for (let i = 0; i < table.keys.length; i++) … table.keys[i], table.values[i]

export enum Kind {
  Null,
  Bool,
  Number,
  Text,
  List,
  Table,
}

// The bounds of a configuration: an instance has little memory, and running out of
// it would be a trap.
export const MAX_DEPTH = 64; // lists and tables within each other
export const MAX_VALUES = 16384;

export class Value {
  kind: Kind = Kind.Null;
  text: string = ""; // what a text means; how a number, true, false or null is spelled
  keys: string[] = noKeys; // of a table, in the order of the file; one that stands there twice comes twice
  values: Value[] = noValues; // of a list or a table
  wrong: string = ""; // of what parse returns: why the text is no configuration

  // A number from 0 to 2^63-1 without sign, fraction and exponent; another value is -1.
  get whole(): i64 {
    return this.kind == Kind.Number ? whole(this.text) : -1;
  }

  get isTrue(): bool {
    return this.kind == Kind.Bool && this.text == "true";
  }
}

const noKeys: string[] = [];
const noValues: Value[] = [];

// whole reads such a number from a text, for what is a key. A number has one
// spelling: no zeros stand in front.
export function whole(digits: string): i64 {
  let n: i64 = 0;
  if (digits.length == 0 || (digits.length > 1 && digits.charCodeAt(0) == 0x30)) return -1;
  for (let i = 0; i < digits.length; i++) {
    const d = <i64>digits.charCodeAt(i) - 0x30;
    if (d < 0 || d > 9 || n > (i64.MAX_VALUE - d) / 10) return -1;
    n = n * 10 + d;
  }
  return n;
}

// parse reads one value, which is all of the text.
export function parse(json: string): Value {
  const p = new Parser(json);
  p.space();
  const v = p.value(0);
  p.space();
  if (p.wrong == "" && p.at < json.length) p.fail("want the end");
  if (p.wrong == "") return v;
  const none = new Value();
  none.wrong = "character " + p.at.toString() + " of the JSON text: " + p.wrong;
  return none;
}

class Parser {
  at: i32 = 0;
  count: i32 = 0; // values so far
  wrong: string = ""; // from here on nothing is read

  constructor(public s: string) {}

  fail(why: string): void {
    if (this.wrong == "") this.wrong = why;
  }

  // The next character; 0, which JSON has nowhere, at the end.
  peek(): i32 {
    return this.at < this.s.length ? this.s.charCodeAt(this.at) : 0;
  }

  space(): void {
    if (this.wrong != "") return; // at stays where it went wrong
    for (let c = this.peek(); c == 0x20 || c == 0x09 || c == 0x0a || c == 0x0d; c = this.peek()) this.at++;
  }

  is(c: i32): bool {
    if (this.wrong != "" || this.peek() != c) return false;
    this.at++;
    return true;
  }

  take(c: i32): void {
    if (!this.is(c)) this.fail("want " + String.fromCharCode(c));
  }

  value(depth: i32): Value {
    const v = new Value();
    if (depth > MAX_DEPTH) this.fail("more than " + MAX_DEPTH.toString() + " lists and tables are within each other");
    if (++this.count > MAX_VALUES) this.fail("there are more than " + MAX_VALUES.toString() + " values");
    if (this.wrong != "") return v;
    const from = this.at;
    const c = this.peek();
    if (c == 0x7b) {
      v.kind = Kind.Table;
      this.parts(v, 0x7d, depth);
    } else if (c == 0x5b) {
      v.kind = Kind.List;
      this.parts(v, 0x5d, depth);
    } else if (c == 0x22) {
      v.kind = Kind.Text;
      v.text = this.string();
    } else {
      if (c == 0x74) this.word(v, Kind.Bool, "true");
      else if (c == 0x66) this.word(v, Kind.Bool, "false");
      else if (c == 0x6e) this.word(v, Kind.Null, "null");
      else if (c == 0x2d || digit(c)) this.number(v);
      else this.fail("want a value");
      v.text = this.s.substring(from, this.at);
    }
    return v;
  }

  word(v: Value, kind: Kind, word: string): void {
    v.kind = kind;
    for (let i = 0; i < word.length && this.wrong == ""; i++) {
      if (!this.is(word.charCodeAt(i))) this.fail("want " + word);
    }
  }

  parts(v: Value, end: i32, depth: i32): void {
    this.at++;
    this.space();
    if (this.is(end)) return;
    v.values = [];
    if (end == 0x7d) v.keys = [];
    while (this.wrong == "") {
      this.space();
      if (end == 0x7d) {
        v.keys.push(this.string());
        this.space();
        this.take(0x3a);
        this.space();
      }
      v.values.push(this.value(depth + 1));
      this.space();
      if (!this.is(0x2c)) {
        if (!this.is(end)) this.fail("want , or " + String.fromCharCode(end));
        return;
      }
    }
  }

  digits(): void {
    if (!digit(this.peek())) this.fail("want a digit");
    while (digit(this.peek())) this.at++;
  }

  // RFC 8259 §6.
  number(v: Value): void {
    v.kind = Kind.Number;
    this.is(0x2d);
    if (!this.is(0x30)) this.digits(); // a leading zero stands alone
    if (this.is(0x2e)) this.digits();
    if (this.is(0x65) || this.is(0x45)) {
      if (!this.is(0x2b)) this.is(0x2d);
      this.digits();
    }
  }

  // RFC 8259 §7.
  string(): string {
    this.take(0x22);
    const from = this.at;
    for (let c = this.peek(); this.wrong == ""; c = this.peek()) {
      if (c == 0x22) return this.s.substring(from, this.at++);
      if (c == 0x5c) return this.escaped(from);
      this.plain(c);
    }
    return "";
  }

  plain(c: i32): void {
    if (this.at >= this.s.length) this.fail('want "');
    else if (c < 0x20) this.fail("a control character has to be escaped");
    else this.at++;
  }

  // A string with escapes means no more characters than it is written with, so one
  // piece of space will do.
  escaped(from: i32): string {
    let end = this.at;
    while (end < this.s.length && this.s.charCodeAt(end) != 0x22) end += this.s.charCodeAt(end) == 0x5c ? 2 : 1;
    const units = new StaticArray<u16>(end - from);
    let n = 0;
    this.at = from;
    for (let c = this.peek(); this.wrong == ""; c = this.peek()) {
      if (c == 0x22) {
        this.at++;
        return String.UTF16.decodeUnsafe(changetype<usize>(units), <usize>n << 1);
      }
      if (c == 0x5c) {
        this.at++;
        c = this.escape();
      } else this.plain(c);
      if (this.wrong == "") units[n++] = <u16>c;
    }
    return "";
  }

  escape(): i32 {
    const c = this.peek();
    if (c == 0x75) {
      let unit = 0;
      for (let i = 0; i < 4; i++) {
        this.at++;
        const d = this.peek();
        const letter = d | 0x20;
        if (digit(d)) unit = (unit << 4) | (d - 0x30);
        else if (letter >= 0x61 && letter <= 0x66) unit = (unit << 4) | (letter - 0x57);
        else {
          this.fail("want four hexadecimal digits");
          return 0;
        }
      }
      this.at++;
      return unit;
    }
    const i = c == 0 ? -1 : '"\\/bfnrt'.indexOf(String.fromCharCode(c));
    if (i < 0) {
      this.fail("there is no such escape");
      return 0;
    }
    this.at++;
    return '"\\/\b\f\n\r\t'.charCodeAt(i);
  }
}

function digit(c: i32): bool {
  return c >= 0x30 && c <= 0x39;
}
