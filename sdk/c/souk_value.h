// Reads a plugin's configuration, which is JSON text (RFC 8259), without
// allocating: a value is the part of the text that spells it, and is read again by
// whoever asks for what is in it. Whether a key is known and a value makes sense is
// the plugin's to say.
//
//	souk_text table, key, value;
//	if (!souk_parse(json, &table, &at)) … // no JSON from the byte at on
//	for (souk_text rest = souk_inside(table); souk_next_entry(&rest, &key, &value);)
//	  if (souk_says(key, SOUK_TEXT("per_item"))) good = souk_whole(value, &n);
#ifndef SOUK_VALUE_H
#define SOUK_VALUE_H

#include "souk.h"

// Lists and tables within each other beyond this are no JSON to souk_parse.
#define SOUK_MAX_DEPTH 64

// What a value is: its first byte says so.
typedef enum souk_kind { SOUK_NULL, SOUK_BOOL, SOUK_NUMBER, SOUK_STRING, SOUK_LIST, SOUK_TABLE } souk_kind;

static inline souk_kind souk_kind_of(souk_text v) {
  switch (v.len == 0 ? 'n' : v.at[0]) {
    case '{': return SOUK_TABLE;
    case '[': return SOUK_LIST;
    case '"': return SOUK_STRING;
    case 't': case 'f': return SOUK_BOOL;
    case 'n': return SOUK_NULL;
    default: return SOUK_NUMBER;
  }
}

// A place in a text that is read; 0, which JSON has nowhere, is the end.
typedef struct souk_scanner {
  souk_text json;
  uint32_t at;
} souk_scanner;

static inline unsigned char souk_peek(const souk_scanner *s) { return s->at < s->json.len ? (unsigned char)s->json.at[s->at] : 0; }
static inline bool souk_is_space(unsigned char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
static inline bool souk_is_digit(unsigned char c) { return c >= '0' && c <= '9'; }

static inline int souk_hex(unsigned char c) {
  if (souk_is_digit(c)) return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static inline void souk_skip_space(souk_scanner *s) {
  while (souk_is_space(souk_peek(s))) s->at++;
}

static inline bool souk_take(souk_scanner *s, unsigned char c) {
  if (souk_peek(s) != c || c == 0) return false;
  s->at++;
  return true;
}

static inline bool souk_take_digits(souk_scanner *s) {
  uint32_t from = s->at;
  while (souk_is_digit(souk_peek(s))) s->at++;
  return s->at > from;
}

// RFC 8259 §6.
static inline bool souk_take_number(souk_scanner *s) {
  souk_take(s, '-');
  if (!souk_take(s, '0') && !souk_take_digits(s)) return false; // a leading zero stands alone
  if (souk_take(s, '.') && !souk_take_digits(s)) return false;
  if (souk_take(s, 'e') || souk_take(s, 'E')) {
    if (!souk_take(s, '+')) souk_take(s, '-');
    return souk_take_digits(s);
  }
  return true;
}

// RFC 8259 §7.
static inline bool souk_take_string(souk_scanner *s) {
  if (!souk_take(s, '"')) return false;
  for (;; s->at++) {
    unsigned char c = souk_peek(s);
    if (c == '"') return souk_take(s, '"');
    if (c < ' ') return false; // must be escaped; or the end
    if (c != '\\') continue;
    s->at++;
    switch (souk_peek(s)) {
      case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't': break;
      case 'u':
        for (int i = 0; i < 4; i++) {
          s->at++;
          if (souk_hex(souk_peek(s)) < 0) return false;
        }
        break;
      default: return false;
    }
  }
}

static inline bool souk_take_value(souk_scanner *s, int depth) {
  unsigned char open = souk_peek(s), end = open == '{' ? '}' : ']';
  static const char *const words[] = {"true", "false", "null"};
  if (depth > SOUK_MAX_DEPTH) return false;
  if (open == '"') return souk_take_string(s);
  for (int i = 0; i < 3; i++)
    if (open == (unsigned char)words[i][0]) {
      for (const char *w = words[i]; *w; w++)
        if (!souk_take(s, (unsigned char)*w)) return false;
      return true;
    }
  if (open != '{' && open != '[') return souk_take_number(s);
  s->at++;
  souk_skip_space(s);
  if (souk_take(s, end)) return true;
  for (;;) {
    souk_skip_space(s);
    if (open == '{') {
      if (!souk_take_string(s)) return false;
      souk_skip_space(s);
      if (!souk_take(s, ':')) return false;
      souk_skip_space(s);
    }
    if (!souk_take_value(s, depth + 1)) return false;
    souk_skip_space(s);
    if (!souk_take(s, ',')) return souk_take(s, end);
  }
}

// souk_parse reads one value, which is all of the text; or says at which byte it
// is none.
static inline bool souk_parse(souk_text json, souk_text *value, uint32_t *wrong_at) {
  souk_scanner s = {json, 0};
  souk_skip_space(&s);
  uint32_t from = s.at;
  bool good = souk_take_value(&s, 0);
  *value = (souk_text){json.at + from, s.at - from};
  if (good) souk_skip_space(&s);
  *wrong_at = s.at;
  return good && s.at == json.len;
}

// souk_inside is what is between the brackets of a list or a table, for
// souk_next_item or souk_next_entry; nothing for another value.
static inline souk_text souk_inside(souk_text v) {
  souk_kind kind = souk_kind_of(v);
  if (v.len < 2 || (kind != SOUK_LIST && kind != SOUK_TABLE)) return (souk_text){v.at, 0};
  return (souk_text){v.at + 1, v.len - 2};
}

// souk_next_item takes the next value off the inside of a list.
static inline bool souk_next_item(souk_text *rest, souk_text *item) {
  souk_scanner s = {*rest, 0};
  while (souk_is_space(souk_peek(&s)) || souk_peek(&s) == ',' || souk_peek(&s) == ':') s.at++;
  uint32_t from = s.at;
  if (from >= rest->len || !souk_take_value(&s, 0)) return false;
  *item = (souk_text){rest->at + from, s.at - from};
  *rest = (souk_text){rest->at + s.at, rest->len - s.at};
  return true;
}

// souk_next_entry takes the next key, which is a string, and its value off the
// inside of a table, in the order of the file. A key that stands there twice comes
// twice.
static inline bool souk_next_entry(souk_text *rest, souk_text *key, souk_text *value) {
  return souk_next_item(rest, key) && souk_next_item(rest, value);
}

// souk_string copies what a string means, as UTF-8, to out, and returns its length;
// -1 when it is no string or doesn't fit. Half a pair is U+FFFD.
static inline int32_t souk_string(souk_text v, char *out, uint32_t space) {
  uint32_t n = 0;
  if (souk_kind_of(v) != SOUK_STRING || v.len < 2) return -1;
  for (uint32_t i = 1; i + 1 < v.len; i++) {
    uint32_t c = (unsigned char)v.at[i], more = 0;
    bool unit = false;
    if (c == '\\') {
      c = (unsigned char)v.at[++i];
      switch (c) {
        case 'b': c = '\b'; break;
        case 'f': c = '\f'; break;
        case 'n': c = '\n'; break;
        case 'r': c = '\r'; break;
        case 't': c = '\t'; break;
        case 'u': unit = true; break;
        default: break;
      }
    }
    if (unit) {
      uint32_t half[2] = {0, 0};
      for (int k = 0; k < 2; k++) {
        for (int j = 1; j <= 4; j++) half[k] = half[k] << 4 | (uint32_t)souk_hex((unsigned char)v.at[i + (uint32_t)(6 * k + j)]);
        if (k == 0 && !(half[0] >= 0xd800 && half[0] < 0xdc00 && i + 11 < v.len && v.at[i + 5] == '\\' && v.at[i + 6] == 'u')) break;
      }
      bool pair = half[1] >= 0xdc00 && half[1] < 0xe000;
      c = pair ? 0x10000 + ((half[0] - 0xd800) << 10) + (half[1] - 0xdc00) : half[0] >= 0xd800 && half[0] < 0xe000 ? 0xfffd : half[0];
      i += pair ? 10 : 4;
      more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    }
    if (space - n < more + 1) return -1;
    // What is not escaped is UTF-8 already.
    if (more == 0) out[n++] = (char)c;
    else out[n++] = (char)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | c >> 6 * more);
    while (more > 0) out[n++] = (char)(0x80 | (c >> 6 * --more & 0x3f));
  }
  return (int32_t)n;
}

// souk_says says whether a value is a string that means this text, of at most 256
// bytes.
static inline bool souk_says(souk_text v, souk_text text) {
  char out[256];
  int32_t n = souk_string(v, out, sizeof out);
  return n >= 0 && souk_equal((souk_text){out, (uint32_t)n}, text);
}

// souk_whole reads a number from 0 to 2^63-1 without sign, fraction and exponent.
static inline bool souk_whole(souk_text v, uint64_t *n) {
  if (v.len == 0) return false;
  *n = 0;
  for (uint32_t i = 0; i < v.len; i++) {
    if (!souk_is_digit((unsigned char)v.at[i]) || *n > (INT64_MAX - 9) / 10) return false;
    *n = *n * 10 + (uint64_t)(v.at[i] - '0');
  }
  return true;
}

#endif
