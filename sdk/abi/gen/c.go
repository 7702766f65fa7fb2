package main

import (
	"fmt"
	"strings"
)

// c writes the C header. A record that was read and one that is to be written
// are the same struct: its lists are either an array or a view of the message.
func c(s *Schema) (map[string][]byte, error) {
	var w writer
	w.p(header + "// The contract of Souk's plugins, version 1, for C. Include souk.h.\n#ifndef SOUK_ABI_H\n#define SOUK_ABI_H\n")
	w.p("#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n")
	for _, v := range s.Consts {
		w.p("#define SOUK_%s %s%s", upper(v.Name), v.Value, cNote(v.Doc))
	}
	for _, e := range s.Enums {
		w.p("")
		cComment(&w, e.Doc)
		w.p("typedef %s souk_%s;\nenum {", cInt(e.Type), snake(e.Name))
		for _, v := range e.Values {
			w.p("  SOUK_%s = %s,%s", upper(v.Name), v.Value, cNote(v.Doc))
		}
		w.p("};")
	}
	w.WriteString(cReading)
	for _, r := range s.inOrder() {
		w.p("")
		cComment(&w, r.Doc)
		w.p("typedef struct souk_%s {", snake(r.Name))
		if r.Head != "" {
			w.p("  souk_%s head;", snake(r.Head))
		}
		for _, f := range r.Fields {
			w.p("  %s %s;%s", cType(f), cName(f), cNote(f.Doc))
		}
		w.p("} souk_%s;", snake(r.Name))
		if !r.Message {
			name := snake(r.Name)
			w.p("\n// A list of them: set items and count to write one, ask souk_%s_at for what was read.", name)
			w.p("typedef struct souk_%s_list {\n  const souk_%s *items;\n  uint32_t count;\n  souk_view view;\n} souk_%s_list;", name, name, name)
		}
		cRead(&w, s, r)
		cWrite(&w, s, r)
	}
	cAnswers(&w, s)
	cHost(&w, s)
	w.p("\n#endif")
	tests, err := cVectors(s)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"sdk/c/souk_abi.h": w.Bytes(), "sdk/c/tests/vectors_gen.h": tests}, nil
}

func cComment(w *writer, doc string) {
	for _, line := range sentences(doc) {
		w.p("%s", strings.TrimRight("// "+line, " "))
	}
}

func cNote(doc string) string {
	if doc == "" {
		return ""
	}
	return " // " + strings.ReplaceAll(doc, "\n", " ")
}

// cName is a field's name; short is a word of C.
func cName(f *Field) string {
	if name := snake(f.Name); name != "short" {
		return name
	}
	return "short_"
}

func cInt(t string) string { return t + "_t" }

func cType(f *Field) string {
	switch f.Kind {
	case Str:
		return "souk_text"
	case Strs:
		return "souk_text_list"
	case List:
		return "souk_" + snake(f.Elem.Name) + "_list"
	}
	if strings.ToLower(f.Type) == f.Type {
		return cInt(f.Type)
	}
	return "souk_" + snake(f.Type)
}

// cReading is what the functions of all records share.
const cReading = `
// A text: UTF-8, not terminated. One that was read lies in the message.
typedef struct souk_text {
  const char *at;
  uint32_t len;
} souk_text;

// Where a list lies that was read. It has been checked, but for the texts in it
// nothing is copied: elements are read when they are asked for.
typedef struct souk_view {
  const uint8_t *message;
  uint32_t size, off, stride;
} souk_view;

// A list of texts: set items and count to write one, ask souk_text_at for what
// was read.
typedef struct souk_text_list {
  const souk_text *items;
  uint32_t count;
  souk_view view;
} souk_text_list;

// What is left of a message's bounds while it is read.
typedef struct souk_reader {
  const uint8_t *message;
  uint32_t size;
  uint32_t lists; // bytes that lists may still take: they don't overlap
  uint32_t texts; // bytes that texts may still take: shared ones count each time
  bool checked;   // all of it has been looked at before
  bool wrong;
} souk_reader;

static inline uint16_t souk_get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t souk_get32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t souk_get64(const uint8_t *p) { return (uint64_t)souk_get32(p) | (uint64_t)souk_get32(p + 4) << 32; }

// souk_ascii says whether all of n bytes are ASCII, n at least 1: eight at a time, the
// last of them once more.
static inline bool souk_ascii(const uint8_t *p, uint32_t n) {
  uint64_t all = 0;
  if (n < 4) return ((p[0] | p[n >> 1] | p[n - 1]) & 0x80) == 0;
  if (n < 8) return ((souk_get32(p) | souk_get32(p + n - 4)) & 0x80808080u) == 0;
  for (uint32_t i = 0; i + 8 < n; i += 8) all |= souk_get64(p + i);
  return ((all | souk_get64(p + n - 8)) & 0x8080808080808080u) == 0;
}

// souk_utf8 says whether n bytes, at least 1, are UTF-8: the shortest form, no
// surrogates.
static inline bool souk_utf8(const uint8_t *p, uint32_t n) {
  uint32_t i = 0;
  if (souk_ascii(p, n)) return true;
  while (i < n) {
    if (n - i >= 8 && !(souk_get64(p + i) & 0x8080808080808080u)) {
      i += 8;
      continue;
    }
    uint8_t c = p[i++], low = 0x80, high = 0xBF;
    uint32_t more;
    if (c < 0x80) continue;
    if (c < 0xC2 || c > 0xF4) return false;
    more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
    if (n - i < more) return false;
    for (; more > 0; more--, i++, low = 0x80, high = 0xBF)
      if (p[i] < low || p[i] > high) return false;
  }
  return true;
}

static inline souk_text souk_read_text(souk_reader *r, const uint8_t *p) {
  uint32_t off = souk_get32(p), len = souk_get32(p + 4);
  souk_text none = {0, 0}, t = {(const char *)r->message + off, len};
  if (len == 0 || r->wrong) return none;
  if (r->checked) return t;
  if ((uint64_t)off + len > r->size || len > r->texts || !souk_utf8(r->message + off, len)) {
    r->wrong = true;
    return none;
  }
  r->texts -= len;
  return t;
}

static inline uint32_t souk_read_list(souk_reader *r, const uint8_t *p, souk_view *view) {
  uint32_t off = souk_get32(p), count = souk_get32(p + 4), stride = souk_get32(p + 8);
  if (count == 0 || r->wrong) return 0;
  uint64_t bytes = (uint64_t)count * stride; // below 2^64
  if (!r->checked) {
    if (stride < 8 || bytes > r->lists || off + bytes > r->size) {
      r->wrong = true;
      return 0;
    }
    r->lists -= (uint32_t)bytes;
  }
  view->message = r->message, view->size = r->size, view->off = off, view->stride = stride;
  return count;
}

// souk_text_at returns a text of a list, or an empty one behind its end.
static inline souk_text souk_text_at(souk_text_list list, uint32_t i) {
  souk_text none = {0, 0};
  if (i >= list.count) return none;
  if (list.items) return list.items[i];
  souk_reader r = {list.view.message, list.view.size, 0, 0, true, false};
  return souk_read_text(&r, list.view.message + list.view.off + (size_t)i * list.view.stride);
}

static inline souk_text_list souk_read_texts(souk_reader *r, const uint8_t *p) {
  souk_text_list list = {0, 0, {0, 0, 0, 0}};
  list.count = souk_read_list(r, p, &list.view);
  for (uint32_t i = 0; i < list.count && !r->checked && !r->wrong; i++)
    souk_read_text(r, list.view.message + list.view.off + (size_t)i * list.view.stride);
  return list;
}

// souk_part gives the size bytes of a record that has fewer or more of them:
// what an older partner doesn't know is zero.
static inline const uint8_t *souk_part(const uint8_t *p, uint32_t have, uint8_t *space, uint32_t size) {
  if (have >= size) return p;
  for (uint32_t i = 0; i < size; i++) space[i] = i < have ? p[i] : 0;
  return space;
}

// souk_open checks the size of a message and returns that of its fixed part,
// or 0. A verdict has no field for it.
static inline uint32_t souk_open(souk_reader *r, bool request) {
  uint32_t fixed;
  r->lists = r->size, r->texts = SOUK_MAX_STRINGS;
  if (r->size < 8 || souk_get32(r->message) != r->size) return 0;
  if (!request) return r->size;
  if (r->size < 20) return 0;
  fixed = souk_get32(r->message + 16);
  return fixed < 20 || fixed > r->size ? 0 : fixed;
}

// Where a message is written. One that has no space left is full and stays it.
typedef struct souk_writer {
  uint8_t *message;
  uint32_t space, size;
  bool full;
} souk_writer;

static inline void souk_set16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8); }
static inline void souk_set32(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p[2] = (uint8_t)(v >> 16), p[3] = (uint8_t)(v >> 24);
}
static inline void souk_set64(uint8_t *p, uint64_t v) {
  p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p[2] = (uint8_t)(v >> 16), p[3] = (uint8_t)(v >> 24);
  p[4] = (uint8_t)(v >> 32), p[5] = (uint8_t)(v >> 40), p[6] = (uint8_t)(v >> 48), p[7] = (uint8_t)(v >> 56);
}
static inline void souk_put16(souk_writer *w, uint32_t at, uint16_t v) {
  if (!w->full) souk_set16(w->message + at, v);
}
static inline void souk_put32(souk_writer *w, uint32_t at, uint32_t v) {
  if (!w->full) souk_set32(w->message + at, v);
}
static inline void souk_put64(souk_writer *w, uint32_t at, uint64_t v) {
  if (!w->full) souk_set64(w->message + at, v);
}

// souk_reserve makes room for zeroed bytes, 8-aligned in the message.
static inline uint32_t souk_reserve(souk_writer *w, uint64_t n) {
  uint32_t at = (w->size + 7) & ~7u;
  if (w->full || at + n > w->space) {
    w->full = true;
    return 0;
  }
  while (w->size < at) w->message[w->size++] = 0;
  for (; w->size + 8 <= at + n; w->size += 8) souk_set64(w->message + w->size, 0);
  while (w->size < at + n) w->message[w->size++] = 0;
  return at;
}

static inline void souk_put_text(souk_writer *w, uint32_t at, souk_text t) {
  if (t.len == 0 || w->full) return;
  if (t.len > w->space - w->size) {
    w->full = true;
    return;
  }
  souk_put32(w, at, w->size), souk_put32(w, at + 4, t.len);
  const uint8_t *from = (const uint8_t *)t.at;
  uint8_t *to = w->message + w->size;
  uint32_t i = 0;
  for (; i + 8 <= t.len; i += 8) souk_set64(to + i, souk_get64(from + i));
  for (; i < t.len; i++) to[i] = from[i];
  w->size += t.len;
}

static inline uint32_t souk_put_list(souk_writer *w, uint32_t at, uint32_t count, uint32_t stride) {
  if (count == 0) return 0;
  uint32_t off = souk_reserve(w, (uint64_t)count * stride);
  souk_put32(w, at, off), souk_put32(w, at + 4, count), souk_put32(w, at + 8, stride);
  return off;
}

static inline void souk_put_texts(souk_writer *w, uint32_t at, souk_text_list list) {
  uint32_t off = souk_put_list(w, at, list.count, 8);
  for (uint32_t i = 0; i < list.count; i++) souk_put_text(w, off + 8 * i, souk_text_at(list, i));
}
`

func cRead(w *writer, s *Schema, r *Record) {
	name := snake(r.Name)
	w.p("\nstatic inline void souk_%s_get(souk_reader *r, const uint8_t *p, uint32_t have, souk_%s *v) {", name, name)
	if len(r.Fields) > 0 && !r.points() && r.Head == "" {
		w.p("  (void)r;")
	}
	w.p("  uint8_t space[%d];\n  p = souk_part(p, have, space, %d);", r.Size, r.Size)
	if r.Head != "" {
		w.p("  souk_%s_get(r, p, %d, &v->head);", snake(r.Head), s.byName[r.Head].Size)
	}
	for _, f := range r.Fields {
		to := "v->" + cName(f)
		switch f.Kind {
		case U16, U32, U64, I32:
			bits := map[Kind]int{U16: 16, U32: 32, U64: 64, I32: 32}[f.Kind]
			w.p("  %s = (%s)souk_get%d(p + %d);", to, cType(f), bits, f.Offset)
		case Str:
			w.p("  %s = souk_read_text(r, p + %d);", to, f.Offset)
		case Strs:
			w.p("  %s = souk_read_texts(r, p + %d);", to, f.Offset)
		case List:
			w.p("  %s.items = 0;\n  %s.count = souk_read_list(r, p + %d, &%s.view);", to, to, f.Offset, to)
			w.p("  for (uint32_t i = 0; i < %s.count && !r->checked && !r->wrong; i++) {", to)
			w.p("    souk_%s element;", snake(f.Elem.Name))
			w.p("    souk_%s_get(r, r->message + %s.view.off + (size_t)i * %s.view.stride, %s.view.stride, &element);\n  }", snake(f.Elem.Name), to, to, to)
		}
	}
	w.p("}")
	if r.Message {
		w.p("\n// souk_%s_read takes a message; false says that it is none. What it gives lies in\n// the message, and lives as long.", name)
		w.p("static inline bool souk_%s_read(const void *message, uint32_t size, souk_%s *v) {", name, name)
		w.p("  souk_reader r = {(const uint8_t *)message, size, 0, 0, false, false};")
		w.p("  uint32_t fixed = souk_open(&r, %v);", r.Request)
		w.p("  if (fixed == 0) return false;")
		w.p("  souk_%s_get(&r, r.message, fixed, v);\n  return !r.wrong;\n}", name)
		return
	}
	w.p("\n// souk_%s_at returns an element of a list, or zeros behind its end.", name)
	w.p("static inline souk_%s souk_%s_at(souk_%s_list list, uint32_t i) {", name, name, name)
	w.p("  souk_reader r = {list.view.message, list.view.size, 0, 0, true, false};")
	w.p("  static const uint8_t none[8];\n  souk_%s v;", name)
	w.p("  if (i < list.count && list.items) return list.items[i];")
	w.p("  if (i >= list.count) souk_%s_get(&r, none, 0, &v);", name)
	w.p("  else souk_%s_get(&r, list.view.message + list.view.off + (size_t)i * list.view.stride, list.view.stride, &v);", name)
	w.p("  return v;\n}")
}

func cWrite(w *writer, s *Schema, r *Record) {
	name := snake(r.Name)
	w.p("\nstatic inline void souk_%s_put(souk_writer *w, uint32_t at, const souk_%s *v) {", name, name)
	if r.Head != "" {
		w.p("  souk_%s_put(w, at, &v->head);", snake(r.Head))
		if r.Request {
			head := s.byName[r.Head]
			w.p("  souk_put16(w, at + %d, SOUK_HOOK_%s);", offset(head, "Hook"), upper(r.Hook))
			w.p("  souk_put32(w, at + %d, %d);", offset(head, "Fixed"), r.Size)
		}
		w.p("  souk_put16(w, at + %d, SOUK_MINOR);", offset(s.byName[r.Head], "Minor"))
	}
	for _, f := range r.Fields {
		from := "v->" + cName(f)
		switch f.Kind {
		case U16, U32, U64, I32:
			bits := map[Kind]int{U16: 16, U32: 32, U64: 64, I32: 32}[f.Kind]
			w.p("  souk_put%d(w, at + %d, (uint%d_t)%s);", bits, f.Offset, bits, from)
		case Str:
			w.p("  souk_put_text(w, at + %d, %s);", f.Offset, from)
		case Strs:
			w.p("  souk_put_texts(w, at + %d, %s);", f.Offset, from)
		case List:
			elem := snake(f.Elem.Name)
			w.p("  uint32_t %s = souk_put_list(w, at + %d, %s.count, %d);", snake(f.Name), f.Offset, from, f.Elem.Size)
			w.p("  for (uint32_t i = 0; i < %s.count; i++) {\n    souk_%s element = souk_%s_at(%s, i);", from, elem, elem, from)
			w.p("    souk_%s_put(w, %s + %d * i, &element);\n  }", elem, snake(f.Name), f.Elem.Size)
		}
	}
	w.p("}")
	if r.Message {
		w.p("\n// souk_%s_write writes the message to the beginning of w.", name)
		w.p("static inline bool souk_%s_write(souk_writer *w, const souk_%s *v) {", name, name)
		w.p("  w->size = 0, w->full = false;\n  souk_reserve(w, %d);\n  souk_%s_put(w, 0, v);\n  souk_put32(w, 0, w->size);\n  return !w->full;\n}", r.Size, name)
	}
}

// cAnswers writes how a guest answers without keeping its answers anywhere.
func cAnswers(w *writer, s *Schema) {
	head := s.byName["VerdictHead"]
	w.p(`
// A verdict that is written item by item. A guest that adds none abstains.
typedef struct souk_answers {
  souk_writer w;
  uint32_t count, added; // items that there may be, and are
  uint32_t at;           // of the first
} souk_answers;

static inline void souk_answers_begin(souk_answers *a, void *space, uint32_t n, uint32_t count, uint32_t stride) {
  a->w.message = (uint8_t *)space, a->w.space = n, a->w.size = 0, a->w.full = false;
  souk_reserve(&a->w, %d);
  souk_put16(&a->w, %d, SOUK_MINOR);
  a->count = count, a->added = 0;
  a->at = souk_put_list(&a->w, %d, count, stride);
}

// souk_answers_end returns the size of the verdict; 0 = it abstains.
static inline uint32_t souk_answers_end(souk_answers *a) {
  if (a->added == 0) return 0;
  souk_put32(&a->w, %d + 4, a->added);
  souk_put32(&a->w, 0, a->w.size);
  return a->w.full ? 0 : a->w.size;
}`, head.Size+16, offset(head, "Minor"), head.Size, head.Size)
	for _, r := range s.Records {
		if !r.Message || !r.Request {
			continue
		}
		hook := snake(r.Hook)
		item := s.item(s.verdict(r))
		name := snake(item.Name)
		w.p("\n// souk_answer_%s adds the answer to the next app.", hook)
		if !r.apps() {
			w.Truncate(w.Len() - len("the answer to the next app.\n"))
			w.p("the one answer.")
		}
		w.p("static inline void souk_answer_%s(souk_answers *a, souk_%s answer) {", hook, name)
		w.p("  if (a->added == a->count) {\n    a->w.full = true;\n    return;\n  }")
		w.p("  souk_%s_put(&a->w, a->at + %d * a->added++, &answer);\n}", name, item.Size)
		count := "1"
		if r.apps() {
			count = "request.apps.count"
		}
		w.p("\n// SOUK_%s(handler) exports the hook from a plugin. The handler is\n// int handler(const souk_%s_request *, souk_answers *): 0 = answered, or\n// abstained when nothing was added; another number is an error and on_error decides.", upper(r.Hook), hook)
		w.p("#define SOUK_%s(handler) \\", upper(r.Hook))
		w.p("  SOUK_EXPORT(\"%s\") uint64_t souk_export_%s(uint32_t length) { \\", hook, hook)
		w.p("    souk_%s_request request; \\\n    souk_answers answers; \\", hook)
		w.p("    if (!souk_%s_request_read(souk_message(), length, &request)) return SOUK_NOT_A_RECORD; \\", hook)
		w.p("    souk_answers_begin(&answers, souk_verdict(), SOUK_VERDICT_SPACE, %s, %d); \\", count, item.Size)
		w.p("    return souk_result(&answers, handler(&request, &answers)); \\\n  } \\\n  struct souk_end_of_macro")
	}
}

// cHost writes the declarations of the host functions.
func cHost(w *writer, s *Schema) {
	w.p("\n#ifdef __wasm__\n#define SOUK_IMPORT(name) __attribute__((import_module(SOUK_IMPORT_MODULE), import_name(name)))\n#else")
	w.p("#define SOUK_IMPORT(name) // the program's own: see souk_native.h\n#endif")
	for _, im := range s.Imports {
		var params []string
		for _, p := range im.Params {
			t := cInt(p.Type)
			if p.Type == Address {
				t = "const void *"
				if p.Name == "out" {
					t = "void *"
				}
			}
			params = append(params, strings.TrimSuffix(t, " ")+" "+p.Name)
		}
		result := "void"
		if im.Result != "" {
			result = cInt(im.Result)
		}
		w.p("")
		cComment(w, strings.Replace(im.Doc, im.Method, "souk_host_"+im.Name, 1))
		w.p("SOUK_IMPORT(\"%s\") extern %s souk_host_%s(%s);", im.Name, result, im.Name, strings.ReplaceAll(strings.Join(params, ", "), "* ", "*"))
	}
}

// cString quotes a text for C.
func cString(b string) string {
	var w strings.Builder
	w.WriteByte('"')
	for i := range len(b) {
		switch c := b[i]; {
		case c == '"' || c == '\\':
			w.WriteByte('\\')
			w.WriteByte(c)
		case c < ' ' || c > '~' || c == '?':
			fmt.Fprintf(&w, "\\%03o", c)
		default:
			w.WriteByte(c)
		}
	}
	w.WriteByte('"')
	return w.String()
}
