// Souk's plugins in C. Include this file, answer the hooks that the plugin is
// for, and say once that it is a plugin:
//
//	#include "souk.h"
//
//	static int choose(const souk_select_version_request *r, souk_answers *out) { … }
//
//	SOUK_PLUGIN();
//	SOUK_SELECT_VERSION(choose);
//
// A plugin exports the hooks that it names and imports the host functions that
// it calls; the operator has to allow their groups. Nothing is allocated: what a
// request holds lies in the host's message and lives until the handler returns,
// what an answer holds is copied at once.
//
// souk_abi.h is generated from sdk/abi. Outside of WebAssembly the same file
// makes an ordinary program, and souk_native.h gives it host functions.
#ifndef SOUK_H
#define SOUK_H

#include "souk_abi.h"

// SOUK_VERDICT_SPACE is the most that a verdict can have. Define it before this
// file is included: a sign-in page of more than 64 KiB needs SOUK_MAX_SIGN_IN_VERDICT.
#ifndef SOUK_VERDICT_SPACE
#define SOUK_VERDICT_SPACE SOUK_MAX_VERDICT
#endif

// The error codes of the SDK itself; a handler's own are below.
#define SOUK_NOT_A_RECORD 0x50000001u // the request is none of the contract
#define SOUK_NO_SPACE 0x50000002u     // the verdict is too long, or has too many items

#ifdef __wasm__
#define SOUK_EXPORT(name) __attribute__((export_name(name)))
#else
#define SOUK_EXPORT(name)
#endif

// What SOUK_PLUGIN defines.
extern struct souk_state {
  uint8_t *message; // where the host writes
  uint32_t space;
  uint64_t first[SOUK_BUFFER_SIZE / 8]; // uint64_t so that it is 8-aligned
  uint64_t verdict[(SOUK_VERDICT_SPACE + 7) / 8];
} souk_state;

static inline const uint8_t *souk_message(void) { return souk_state.message; }
static inline void *souk_verdict(void) { return souk_state.verdict; }

// souk_place is the result of a hook: where a verdict or a text lies.
static inline uint64_t souk_place(const void *at, uint32_t n) { return (uint64_t)(uintptr_t)at << 32 | n; }

static inline uint64_t souk_result(souk_answers *a, int code) {
  uint32_t n;
  if (code != 0) return (uint32_t)code;
  if (a->w.full) return SOUK_NO_SPACE;
  n = souk_answers_end(a);
  return n == 0 ? 0 : souk_place(a->w.message, n);
}

// souk_give_buffer answers the host's request for space; the first is there from
// the start, a larger one is taken from the module's memory and stays.
static inline uint32_t souk_give_buffer(uint32_t min) {
  if (souk_state.space == 0) souk_state.message = (uint8_t *)souk_state.first, souk_state.space = SOUK_BUFFER_SIZE;
  if (min > SOUK_MAX_REQUEST) return 0;
  if (min > souk_state.space) {
#ifdef __wasm__
    size_t pages = __builtin_wasm_memory_grow(0, (min + 0xFFFF) >> 16);
    if (pages == (size_t)-1) return 0;
    souk_state.message = (uint8_t *)(pages << 16), souk_state.space = (min + 0xFFFF) & ~0xFFFFu;
#else
    return 0;
#endif
  }
  return (uint32_t)(uintptr_t)souk_state.message;
}

// SOUK_PLUGIN defines what every plugin has; write it once.
#define SOUK_PLUGIN() \
  struct souk_state souk_state; \
  SOUK_EXPORT("souk_abi_1") void souk_export_abi(void) {} \
  SOUK_EXPORT("souk_buffer") uint32_t souk_export_buffer(uint32_t min) { return souk_give_buffer(min); } \
  struct souk_end_of_macro

// SOUK_CONFIGURE(handler) exports configure. The handler is
// souk_text handler(souk_text json): an empty text is good, another says what is
// wrong and stops the load. The JSON is gone after it: copy what is needed.
#define SOUK_CONFIGURE(handler) \
  SOUK_EXPORT("configure") uint64_t souk_export_configure(uint32_t length) { \
    souk_text json = {(const char *)souk_message(), length}; \
    souk_text wrong = handler(json); \
    return wrong.len == 0 ? 0 : souk_place(wrong.at, wrong.len); \
  } \
  struct souk_end_of_macro

// SOUK_TEXT makes a text of a literal.
#define SOUK_TEXT(literal) ((souk_text){"" literal, sizeof(literal) - 1})

// souk_os packs the version of a system as the records have it.
static inline uint32_t souk_os(uint8_t major, uint8_t minor, uint8_t patch) {
  return (uint32_t)major << 16 | (uint32_t)minor << 8 | patch;
}

static inline bool souk_equal(souk_text a, souk_text b) {
  if (a.len != b.len) return false;
  for (uint32_t i = 0; i < a.len; i++)
    if (a.at[i] != b.at[i]) return false;
  return true;
}

// souk_after takes a prefix off a text, or says that it doesn't begin with it.
static inline bool souk_after(souk_text t, souk_text prefix, souk_text *rest) {
  if (t.len < prefix.len || !souk_equal((souk_text){t.at, prefix.len}, prefix)) return false;
  *rest = (souk_text){t.at + prefix.len, t.len - prefix.len};
  return true;
}

// souk_holds says whether a list has a text: a grant, for example.
static inline bool souk_holds(souk_text_list list, souk_text t) {
  for (uint32_t i = 0; i < list.count; i++)
    if (souk_equal(souk_text_at(list, i), t)) return true;
  return false;
}

// A text that is put together in a fixed space; a text that doesn't fit is left
// out, as a whole, so that no character is cut.
typedef struct souk_line {
  char at[1024];
  uint32_t len;
} souk_line;

static inline void souk_add(souk_line *line, souk_text t) {
  if (t.len > sizeof line->at - line->len) return;
  for (uint32_t i = 0; i < t.len; i++) line->at[line->len++] = t.at[i];
}

static inline void souk_add_number(souk_line *line, int64_t n) {
  char digits[20];
  uint32_t i = sizeof digits;
  uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
  do digits[--i] = (char)('0' + rest % 10);
  while (rest /= 10);
  if (n < 0) souk_add(line, SOUK_TEXT("-"));
  souk_add(line, (souk_text){digits + i, sizeof digits - i});
}

static inline souk_text souk_line_text(const souk_line *line) { return (souk_text){line->at, line->len}; }

// souk_bucket places a key among SOUK_BUCKETS: the first 8 bytes of
// SHA-256(salt, 0x00, key) as a big-endian number, modulo SOUK_BUCKETS.
static inline uint32_t souk_bucket(souk_text key, souk_text salt) {
  return (uint32_t)souk_host_bucket(key.at, key.len, salt.at, salt.len);
}

// souk_rolled_out says whether a version is open to who has the key: a share of it is,
// always the same people, nobody at 0 and all of them at SOUK_BUCKETS. One who has no
// key (nobody is signed in) gets only what is open to all.
static inline bool souk_rolled_out(souk_text key, const souk_candidate *c) {
  return c->rollout >= SOUK_BUCKETS || (c->rollout > 0 && key.len > 0 && souk_bucket(key, c->salt) < c->rollout);
}

// souk_log writes one line to the operator's log; the host limits its rate.
static inline void souk_log(souk_level level, souk_text line) { souk_host_log(level, line.at, line.len); }

// souk_kv_get copies the value of a key to out and returns its length, or a
// code: SOUK_CODE_NOT_FOUND, SOUK_CODE_DOES_NOT_FIT …
static inline int32_t souk_kv_get(souk_text key, void *out, uint32_t space) {
  return souk_host_kv_get(key.at, key.len, out, space);
}

// souk_kv_put stores a value for so many seconds, 0 = for ever; 0 or a code.
static inline int32_t souk_kv_put(souk_text key, souk_text value, uint32_t seconds) {
  return souk_host_kv_put(key.at, key.len, value.at, value.len, seconds);
}

// souk_kv_delete removes a key; removing none is no error.
static inline int32_t souk_kv_delete(souk_text key) { return souk_host_kv_delete(key.at, key.len); }

// souk_kv_swap stores a value if the present one is old; an empty old means that
// there must be none. 0 or a code: SOUK_CODE_CONFLICT …
static inline int32_t souk_kv_swap(souk_text key, souk_text old, souk_text value) {
  return souk_host_kv_swap(key.at, key.len, old.at, old.len, value.at, value.len);
}

// souk_kv_add adds to a counter, which begins at 0; 0 and the sum, or a code.
static inline int32_t souk_kv_add(souk_text key, int64_t delta, int64_t *sum) {
  uint8_t b[8];
  int32_t code = souk_host_kv_add(key.at, key.len, delta, b);
  if (code >= 0) *sum = (int64_t)souk_get64(b);
  return code < 0 ? code : 0;
}

// souk_password_hash writes a hash of a password to out and returns its length,
// or a code.
static inline int32_t souk_password_hash(souk_text password, void *out, uint32_t space) {
  return souk_host_password_hash(password.at, password.len, out, space);
}

// souk_password_verify is 1 when the password has this hash and 0 when not; an
// empty hash takes as long and never matches. A code says that the host did not
// look.
static inline int32_t souk_password_verify(souk_text password, souk_text hash) {
  return souk_host_password_verify(password.at, password.len, hash.at, hash.len);
}

// souk_hmac_sha256 writes the HMAC-SHA256 of data (RFC 2104); 32 or a code.
static inline int32_t souk_hmac_sha256(souk_text key, souk_text data, uint8_t out[32]) {
  return souk_host_hmac_sha256(key.at, key.len, data.at, data.len, out, 32);
}

// souk_equal_ct says whether a and b are the same bytes, in a time that depends on
// their lengths only.
static inline bool souk_equal_ct(souk_text a, souk_text b) {
  return souk_host_equal_ct(a.at, a.len, b.at, b.len) == 1;
}

// souk_secret_get copies a secret of the plugin's configuration to out and returns
// its length, or a code; in sign_in and exchange only. The host takes it out of the
// log; pages and other people's servers are the plugin's to watch.
static inline int32_t souk_secret_get(souk_text name, void *out, uint32_t space) {
  return souk_host_secret_get(name.at, name.len, out, space);
}

// souk_http_fetch asks another server, in sign_in and exchange only, and reads its
// answer; 0 or a code. at is where the request is written and the answer then lies:
// an answer that doesn't fit is lost, at most it has SOUK_MAX_FETCH_RESPONSE. The
// operator's log says which rule a refused request breaks.
static inline int32_t souk_http_fetch(const souk_fetch_request *q, void *at, uint32_t space, souk_fetch_response *answer) {
  souk_writer w = {at, space < SOUK_MAX_FETCH_REQUEST ? space : SOUK_MAX_FETCH_REQUEST, 0, false};
  int32_t n;
  if (!souk_fetch_request_write(&w, q)) return SOUK_CODE_REFUSED;
  if ((n = souk_host_http_fetch(at, w.size, at, space)) < 0) return n;
  return souk_fetch_response_read(at, (uint32_t)n, answer) ? 0 : SOUK_CODE_FAILED;
}

// souk_metric_add adds n, which is not negative, to a counter that the operator
// sees; 0 or a code. A plugin has at most SOUK_MAX_METRICS of them: a name is no
// place for what differs from request to request.
static inline int32_t souk_metric_add(souk_text name, int64_t n) { return souk_host_metric_add(name.at, name.len, n); }

#endif
