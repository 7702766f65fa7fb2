package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// assemblyscript writes the records, hooks and host functions of the
// AssemblyScript SDK, the table that its tests in JavaScript read messages by,
// and what those tests need inside of a module.
func assemblyscript(s *Schema) (map[string][]byte, error) {
	var w writer
	w.p(header + "// The contract of Souk's plugins, version 1: records, hooks, host functions.\n")
	for _, v := range s.Consts {
		asDoc(&w, "", v.Doc)
		t := "u32"
		if strings.HasPrefix(v.Value, `"`) {
			t = "string"
		}
		w.p("export const %s: %s = %s;", upper(v.Name), t, v.Value)
	}
	for _, e := range s.Enums {
		w.p("")
		asDoc(&w, "", e.Doc)
		w.p("export enum %s {", e.Name)
		for _, v := range e.Values {
			asDoc(&w, "  ", v.Doc)
			w.p("  %s = %s,", asMember(e, v), v.Value)
		}
		w.p("}")
	}
	w.WriteString(asReading)
	for _, r := range s.inOrder() {
		asRecord(&w, s, r)
	}
	for _, r := range s.Records {
		if r.Message && r.Request {
			asHook(&w, s, r)
		}
	}
	asHost(&w, s)
	table, err := asTable(s)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"sdk/assemblyscript/assembly/abi.ts":   w.Bytes(),
		"sdk/assemblyscript/schema_gen.js":     table,
		"sdk/assemblyscript/tests/dump_gen.ts": asDump(s),
	}, nil
}

func asDoc(w *writer, indent, doc string) {
	if doc == "" {
		return
	}
	for _, line := range sentences(doc) {
		w.p("%s", strings.TrimRight(indent+"// "+line, " "))
	}
}

// asMember is the name of a constant within its enum, as Go writes it.
func asMember(e *Enum, v Value) string {
	n := len(strings.ReplaceAll(e.within(v), "_", ""))
	return v.Name[len(v.Name)-n:]
}

func asInt(t string) string { return rustInt(t) }

func asType(s *Schema, f *Field) string {
	switch f.Kind {
	case Str:
		return "string"
	case Strs:
		return "string[]"
	case List:
		return f.Elem.Name + "[]"
	}
	return asInt(s.base(f))
}

// asReading is what all records share.
const asReading = `
// The message that is read, and what is left of its bounds. A module has one
// thread, and a message is read at once.
let message: usize = 0;
let size: u32 = 0;
let lists: u32 = 0; // bytes that lists may still take: they don't overlap
let texts: u32 = 0; // bytes that texts may still take: shared ones count each time
let wrong: bool = false;
let listAt: usize = 0;
let listStride: u32 = 0;

// The question that is being answered, and its number, which is another one as soon as
// the answer is there. While it is read, texts are only looked at: most plugins want
// few of them, and one that is wanted is decoded then.
let question: usize = 0;
let turn: u32 = 0;
let later: bool = false;

// open checks the size of a message and returns that of its fixed part, or 0. A
// verdict has no field for it.
function open(at: usize, length: u32, request: bool): u32 {
  message = at;
  size = length;
  lists = length;
  texts = MAX_STRINGS;
  wrong = false;
  if (length < 8 || load<u32>(at) != length) return 0;
  if (!request) return length;
  if (length < 20) return 0;
  const fixed = load<u32>(at, 16);
  return fixed < 20 || fixed > length ? 0 : fixed;
}

// part gives the n bytes of a record that has fewer or more of them: what an
// older partner doesn't know is zero.
function part(p: usize, have: u32, space: usize, n: u32): usize {
  if (have >= n) return p;
  memory.fill(space, 0, n);
  memory.copy(space, p, have);
  return space;
}

// ascii says whether n bytes, at least 1, are ASCII: eight at a time, the last ones
// again with those before them.
function ascii(p: usize, n: u32): bool {
  if (n < 8) {
    if (n < 4) return !((load<u8>(p) | load<u8>(p + (n >> 1)) | load<u8>(p + n - 1)) & 0x80);
    return !((load<u32>(p) | load<u32>(p + n - 4)) & 0x80808080);
  }
  let all = load<u64>(p + n - 8);
  for (let i: u32 = 0; i + 8 < n; i += 8) all |= load<u64>(p + i);
  return !(all & 0x8080808080808080);
}

// utf8 says whether n bytes are UTF-8: the shortest form, no surrogates.
function utf8(p: usize, n: u32): bool {
  const end = p + n;
  while (p < end) {
    if (end - p >= 8 && !(load<u64>(p) & 0x8080808080808080)) {
      p += 8;
      continue;
    }
    const c = <u32>load<u8>(p++);
    if (c < 0x80) continue;
    if (c < 0xc2 || c > 0xf4) return false;
    let more: u32 = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    let low: u32 = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    let high: u32 = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (<u32>(end - p) < more) return false;
    for (; more > 0; more--) {
      const next = <u32>load<u8>(p++);
      if (next < low || next > high) return false;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

// look says whether there is a text at p; one that is not in the message, or not
// UTF-8, makes the message wrong.
function look(p: usize): bool {
  const off = load<u32>(p);
  const n = load<u32>(p, 4);
  if (n == 0 || wrong) return false;
  if (<u64>off + n > size || n > texts || !(ascii(message + off, n) || utf8(message + off, n))) {
    wrong = true;
    return false;
  }
  texts -= n;
  return true;
}

function text(p: usize): string {
  if (load<u32>(p, 4) == 0) return "";
  return look(p) ? decode(message + load<u32>(p), load<u32>(p, 4)) : "";
}

// textOrLater is null for a text that is decoded when it is wanted.
function textOrLater(p: usize): string | null {
  if (load<u32>(p, 4) == 0 || !later) return text(p);
  return look(p) ? null : "";
}

// wanted decodes a text of the question number asked, for which p points to where the
// text is. When that question is answered, its bytes are gone.
function wanted(p: usize, asked: u32): string {
  if (asked != turn) abort("a text of a question that is over", "abi.ts", 0, 0);
  return decode(question + load<u32>(p), load<u32>(p, 4));
}

// decode makes a text of UTF-8, four bytes of ASCII at a time.
function decode(p: usize, n: u32): string {
  const s = changetype<string>(__new(<usize>n << 1, idof<string>()));
  const at = changetype<usize>(s);
  let i: u32 = 0;
  for (; i + 4 <= n; i += 4) {
    let c = <u64>load<u32>(p + i);
    if (c & 0x80808080) return String.UTF8.decodeUnsafe(p, n);
    c = (c | (c << 16)) & 0x0000ffff0000ffff;
    store<u64>(at + (<usize>i << 1), (c | (c << 8)) & 0x00ff00ff00ff00ff);
  }
  for (; i < n; i++) {
    const c = load<u8>(p + i);
    if (c & 0x80) return String.UTF8.decodeUnsafe(p, n);
    store<u16>(at + (<usize>i << 1), c);
  }
  return s;
}

// list returns the number of a list's elements; the first is at listAt, the next
// one listStride bytes behind it.
function list(p: usize): u32 {
  const off = load<u32>(p);
  const count = load<u32>(p, 4);
  const stride = load<u32>(p, 8);
  if (count == 0 || wrong) return 0;
  const bytes = <u64>count * stride;
  if (stride < 8 || bytes > lists || off + bytes > size) {
    wrong = true;
    return 0;
  }
  lists -= <u32>bytes;
  listAt = message + off;
  listStride = stride;
  return count;
}

function strings(p: usize): string[] {
  const count = list(p);
  const at = listAt;
  const stride = listStride;
  const all = new Array<string>(count);
  for (let i: u32 = 0; i < count; i++) unchecked((all[i] = text(at + <usize>i * stride)));
  return all;
}

// narrow writes a text that is ASCII, a byte a character, or says that it is not; then
// it has written something else.
export function narrow(s: string, to: usize): bool {
  const from = changetype<usize>(s);
  const n = <u32>s.length;
  let i: u32 = 0;
  for (; i + 4 <= n; i += 4) {
    let c = load<u64>(from + (<usize>i << 1));
    if (c & 0xff80ff80ff80ff80) return false;
    c = (c | (c >> 8)) & 0x0000ffff0000ffff;
    store<u32>(to + i, <u32>(c | (c >> 16)));
  }
  for (; i < n; i++) {
    const c = load<u16>(from + (<usize>i << 1));
    if (c & 0xff80) return false;
    store<u8>(to + i, <u8>c);
  }
  return true;
}

// Where a message is written. One that has no space left is full and stays it.
export class Writer {
  size: u32 = 0;
  full: bool = false;

  constructor(
    public at: usize,
    public space: u32,
  ) {}

  // reserve makes room for zeroed bytes, 8-aligned in the message.
  reserve(n: u64): u32 {
    const at = (this.size + 7) & ~7;
    if (this.full || at + n > this.space) {
      this.full = true;
      return 0;
    }
    memory.fill(this.at + this.size, 0, <usize>(at + n - this.size));
    this.size = at + <u32>n;
    return at;
  }

  put<T>(at: u32, v: T): void {
    if (!this.full) store<T>(this.at + at, v);
  }

  text(at: u32, s: string): void {
    let n = <u32>s.length;
    if (n == 0 || this.full) return;
    if (n > this.space - this.size || !narrow(s, this.at + this.size)) {
      n = <u32>String.UTF8.byteLength(s);
      if (n > this.space - this.size) {
        this.full = true;
        return;
      }
      String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, this.at + this.size, false, String.UTF8.ErrorMode.REPLACE);
    }
    this.put<u32>(at, this.size);
    this.put<u32>(at + 4, n);
    this.size += n;
  }

  list(at: u32, count: u32, stride: u32): u32 {
    if (count == 0) return 0;
    const off = this.reserve(<u64>count * stride);
    this.put<u32>(at, off);
    this.put<u32>(at + 4, count);
    this.put<u32>(at + 8, stride);
    return off;
  }

  texts(at: u32, all: string[]): void {
    const off = this.list(at, all.length, 8);
    for (let i = 0; i < all.length; i++) this.text(off + 8 * i, all[i]);
  }
}

// A verdict that is written item by item.
export class Answers {
  protected w: Writer;
  protected at: u32 = 0;
  protected added: u32 = 0;
  private code: u32 = 0;

  constructor(
    at: usize,
    space: u32,
    protected count: u32,
    stride: u32,
  ) {
    this.w = new Writer(at, space);
    this.w.reserve(SIZE_VERDICT_HEAD + 16);
    this.w.put<u16>(4, <u16>MINOR);
    this.at = this.w.list(SIZE_VERDICT_HEAD, count, stride);
  }

  // fail says that the question can't be answered: the operator's on_error
  // decides. The code goes to the log.
  fail(code: u32): void {
    this.code = code == 0 ? 1 : code;
  }

  protected next(stride: u32): u32 {
    if (this.added == this.count) this.w.full = true;
    return this.at + stride * this.added++;
  }

  // result is what the hook returns.
  result(): u64 {
    if (this.code != 0) return this.code;
    if (this.w.full) return NO_SPACE;
    if (this.added == 0) return 0;
    this.w.put<u32>(SIZE_VERDICT_HEAD + 4, this.added);
    this.w.put<u32>(0, this.w.size);
    return (<u64>this.w.at << 32) | this.w.size;
  }
}

// The error codes of the SDK itself.
export const NOT_A_RECORD: u32 = 0x50000001; // the request is none of the contract
export const NO_SPACE: u32 = 0x50000002; // the verdict is too long, or has too many items
`

func asRecord(w *writer, s *Schema, r *Record) {
	w.p("\nexport const SIZE_%s: u32 = %d;", upper(r.Name), r.Size)
	w.p("const space%s = memory.data(%d, 8);\n", r.Name, r.Size)
	asDoc(w, "", r.Doc)
	w.p("export class %s {", r.Name)
	if r.Head != "" {
		w.p("  head: %s = new %s();", r.Head, r.Head)
	}
	asked := s.asked(r)
	if asked {
		w.p("  private at: usize = 0; // where it is in the question …\n  private turn: u32 = 0; // … of this number")
	}
	for _, f := range r.Fields {
		zero := "0"
		switch f.Kind {
		case Str:
			zero = `""`
		case Strs, List:
			zero = "[]"
		}
		note := ""
		if f.Doc != "" {
			note = " // " + f.Doc
		}
		if asked && f.Kind == Str {
			w.p("  private _%s: string | null = \"\";%s", camel(f.Name), note)
			continue
		}
		w.p("  %s: %s = %s;%s", camel(f.Name), asType(s, f), zero, note)
	}
	for _, f := range r.Fields {
		if name := camel(f.Name); asked && f.Kind == Str {
			w.p("\n  get %s(): string {\n    const s = this._%s;\n    if (s !== null) return s;", name, name)
			w.p("    const t = wanted(this.at + %d, this.turn);\n    this._%s = t;\n    return t;\n  }", f.Offset, name)
			w.p("\n  set %s(s: string) {\n    this._%s = s;\n  }", name, name)
		}
	}
	w.p("\n  static get(p: usize, have: u32): %s {", r.Name)
	if asked {
		// What is filled up with zeros lies in space that the next one of its kind takes.
		w.p("    const kept = later;\n    if (have < %d) later = false;", r.Size)
	}
	// Every field is set below: the values that a new object begins with would be made in vain.
	w.p("    p = part(p, have, space%s, %d);\n    const v = changetype<%s>(__new(offsetof<%s>(), idof<%s>()));", r.Name, r.Size, r.Name, r.Name, r.Name)
	if asked {
		w.p("    v.at = p;\n    v.turn = turn;")
	}
	if r.Head != "" {
		w.p("    v.head = %s.get(p, %d);", r.Head, s.byName[r.Head].Size)
	}
	for _, f := range r.Fields {
		name := camel(f.Name)
		switch f.Kind {
		case Str:
			if asked {
				w.p("    v._%s = textOrLater(p + %d);", name, f.Offset)
			} else {
				w.p("    v.%s = text(p + %d);", name, f.Offset)
			}
		case Strs:
			w.p("    v.%s = strings(p + %d);", name, f.Offset)
		case List:
			w.p("    const %sCount = list(p + %d);\n    const %sAt = listAt;\n    const %sStride = listStride;", name, f.Offset, name, name)
			w.p("    const %s = new Array<%s>(%sCount);\n    v.%s = %s;", name, f.Elem.Name, name, name, name)
			w.p("    for (let i: u32 = 0; i < %sCount; i++) unchecked((%s[i] = %s.get(%sAt + <usize>i * %sStride, %sStride)));", name, name, f.Elem.Name, name, name, name)
		default:
			w.p("    v.%s = load<%s>(p, %d);", name, asType(s, f), f.Offset)
		}
	}
	if asked {
		w.p("    later = kept;")
	}
	w.p("    return v;\n  }\n\n  put(w: Writer, at: u32): void {")
	if r.Head != "" {
		head := s.byName[r.Head]
		w.p("    this.head.put(w, at);\n    w.put<u16>(at + %d, <u16>MINOR);", offset(head, "Minor"))
		if r.Request {
			w.p("    w.put<u16>(at + %d, <u16>Hook.%s);\n    w.put<u32>(at + %d, %d);", offset(head, "Hook"), r.Hook, offset(head, "Fixed"), r.Size)
		}
	}
	for _, f := range r.Fields {
		name := camel(f.Name)
		switch f.Kind {
		case Str:
			w.p("    w.text(at + %d, this.%s);", f.Offset, name)
		case Strs:
			w.p("    w.texts(at + %d, this.%s);", f.Offset, name)
		case List:
			w.p("    const %s = w.list(at + %d, this.%s.length, %d);", name, f.Offset, name, f.Elem.Size)
			w.p("    for (let i = 0; i < this.%s.length; i++) this.%s[i].put(w, %s + %d * i);", name, name, name, f.Elem.Size)
		default:
			w.p("    w.put<%s>(at + %d, this.%s);", asType(s, f), f.Offset, name)
		}
	}
	w.p("  }")
	if r.Message {
		w.p("\n  // read takes a message, or says with null that it is none.\n  static read(at: usize, length: u32): %s | null {", r.Name)
		w.p("    const fixed = open(at, length, %v);\n    if (fixed == 0) return null;\n    const v = %s.get(at, fixed);\n    return wrong ? null : v;\n  }", r.Request, r.Name)
		w.p("\n  // write writes the message and returns its size, or 0 if it has no space.\n  write(at: usize, space: u32): u32 {")
		w.p("    const w = new Writer(at, space);\n    w.reserve(%d);\n    this.put(w, 0);\n    w.put<u32>(0, w.size);\n    return w.full ? 0 : w.size;\n  }", r.Size)
	}
	w.p("}")
}

// asked says whether a record is a question or part of one: its texts are decoded when
// they are wanted.
func (s *Schema) asked(r *Record) bool {
	for _, m := range s.Records {
		if m.Message && m.Request && (m.holds(r) || m.Head == r.Name) {
			return true
		}
	}
	return false
}

func asHook(w *writer, s *Schema, r *Record) {
	item := s.item(s.verdict(r))
	count, note := "1", "The one answer; none is an abstention."
	if r.apps() {
		count, note = "request.apps.length", "The answers, one an app and in the same order; none at all is an abstention."
	}
	w.p("\n// %s\nexport class %sAnswers extends Answers {\n  push(answer: %s): void {\n    answer.put(this.w, this.next(%d));\n  }\n}", note, r.Hook, item.Name, item.Size)
	w.p("\n// answer%s is the hook %s from the bytes of the request to its result.", r.Hook, snake(r.Hook))
	w.p("export function answer%s(at: usize, length: u32, space: usize, capacity: u32, handler: (request: %sRequest, out: %sAnswers) => void): u64 {", r.Hook, r.Hook, r.Hook)
	w.p("  question = at;\n  turn++;\n  later = true;\n  const request = %sRequest.read(at, length);\n  later = false;\n  if (request == null) return NOT_A_RECORD;", r.Hook)
	w.p("  const out = new %sAnswers(space, capacity, %s, %d);\n  handler(request, out);\n  turn++;\n  return out.result();\n}", r.Hook, count, item.Size)
}

func asHost(w *writer, s *Schema) {
	for _, im := range s.Imports {
		var params []string
		for _, p := range im.Params {
			t := asInt(p.Type)
			if p.Type == Address {
				t = "usize"
			}
			params = append(params, p.Name+": "+t)
		}
		result := "void"
		if im.Result != "" {
			result = asInt(im.Result)
		}
		w.p("")
		asDoc(w, "", strings.ReplaceAll(strings.Replace(im.Doc, im.Method, "host_"+im.Name, 1), "[Bucket]", "bucket"))
		w.p("// @ts-ignore: a decorator of AssemblyScript\n@external(\"souk\", \"%s\")\nexport declare function host_%s(%s): %s;", im.Name, im.Name, strings.Join(params, ", "), result)
	}
}

// asTable writes the layout of the records as data for JavaScript.
func asTable(s *Schema) ([]byte, error) {
	kinds := map[Kind]string{U16: "u16", U32: "u32", U64: "u64", I32: "i32", Str: "text", Strs: "texts", List: "list"}
	type field struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
		At   int    `json:"at"`
		Of   string `json:"of,omitempty"`
	}
	var w writer
	w.p(header + "// The layout of the records, for native.js.\nexport const records = {")
	for _, r := range s.Records {
		var fields []field
		add := func(r *Record) {
			for _, f := range r.Fields {
				x := field{Name: snake(f.Name), Kind: kinds[f.Kind], At: f.Offset}
				if f.Elem != nil {
					x.Of = f.Elem.Name
				}
				fields = append(fields, x)
			}
		}
		if r.Head != "" {
			add(s.byName[r.Head])
		}
		add(r)
		b, err := json.Marshal(fields)
		if err != nil {
			return nil, err
		}
		w.p("  %s: { size: %d, fields: %s },", r.Name, r.Size, b)
	}
	w.p("};\n\nexport const hooks = {")
	for _, r := range s.Records {
		if r.Message && r.Request {
			hook := ""
			for _, e := range s.Enums {
				for _, v := range e.Values {
					if v.Name == "Hook"+r.Hook {
						hook = v.Value
					}
				}
			}
			w.p("  %s: { number: %s, request: %q, verdict: %q },", snake(r.Hook), hook, r.Hook+"Request", r.Hook+"Verdict")
		}
	}
	w.p("};\n\nexport const bounds = {")
	for _, v := range s.Consts {
		if !strings.HasPrefix(v.Value, `"`) {
			w.p("  %s: %s,", camel(v.Name), v.Value)
		}
	}
	w.p("};")
	return w.Bytes(), nil
}

// asDump writes what the tests need within a module: reading a message to the
// JSON that the golden vectors have, and writing it again.
func asDump(s *Schema) []byte {
	var w writer
	w.p(header + "// For the tests: each message as the JSON of the golden vectors, and written again.\nimport {")
	for _, r := range s.Records {
		w.p("  %s,", r.Name)
	}
	w.p("} from \"../assembly/abi\";\nimport { quote } from \"./quote\";\n")
	for _, r := range s.inOrder() {
		w.p("function dump%s(v: %s): string[] {\n  const all: string[] = [];", r.Name, r.Name)
		if r.Head != "" {
			w.p("  const head = dump%s(v.head);\n  for (let i = 0; i < head.length; i++) all.push(head[i]);", r.Head)
		}
		for _, f := range r.Fields {
			at, key := "v."+camel(f.Name), `'"`+snake(f.Name)+`":'`
			switch f.Kind {
			case U64:
				w.p("  if (%s != 0) all.push(%s + quote(%s.toString()));", at, key, at)
			case Str:
				w.p("  if (%s != \"\") all.push(%s + quote(%s));", at, key, at)
			case Strs:
				w.p("  if (%s.length > 0) all.push(%s + \"[\" + %s.map<string>((s) => quote(s)).join(\",\") + \"]\");", at, key, at)
			case List:
				w.p("  if (%s.length > 0) all.push(%s + \"[\" + %s.map<string>((e) => \"{\" + dump%s(e).join(\",\") + \"}\").join(\",\") + \"]\");", at, key, at, f.Elem.Name)
			default:
				w.p("  if (%s != 0) all.push(%s + %s.toString());", at, key, at)
			}
		}
		w.p("  return all;\n}\n")
	}
	for _, what := range []struct{ name, result, none, do string }{
		{"dump", "string", `"wrong"`, `"{" + dump%s(v).join(",") + "}"`},
		{"copy", "u32", "0", "v.write(to, space)"},
	} {
		params := "record: string, at: usize, length: u32"
		if what.name == "copy" {
			params += ", to: usize, space: u32"
		}
		w.p("export function %s(%s): %s {", what.name, params, what.result)
		for _, r := range s.Records {
			if r.Message {
				do := what.do
				if strings.Contains(do, "%s") {
					do = fmt.Sprintf(do, r.Name)
				}
				w.p("  if (record == %q) {\n    const v = %s.read(at, length);\n    return v == null ? %s : %s;\n  }", r.Name, r.Name, what.none, do)
			}
		}
		w.p("  return %s;\n}\n", what.none)
	}
	return []byte(strings.TrimRight(w.String(), "\n") + "\n")
}
