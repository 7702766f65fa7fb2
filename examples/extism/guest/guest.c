// The policy of sdk/examples/c as a plugin of extism: the same code, with extism's
// way in and out. There is no header to fetch: these are the imports that its C kit
// declares.
#undef __wasm__ // the SDK as for an ordinary program: imports and exports are extism's
#include "../../../sdk/examples/c/guest.c"

#define EXTISM(name) __attribute__((import_module("extism:host/env"), import_name(name))) extern

EXTISM("input_length") uint64_t input_length(void);
EXTISM("input_offset") uint64_t input_offset(void);
EXTISM("input_load_u8") uint32_t input_load_u8(uint64_t at);
EXTISM("input_load_u64") uint64_t input_load_u64(uint64_t at);
EXTISM("alloc") uint64_t alloc(uint64_t n);
EXTISM("store_u8") void store_u8(uint64_t at, uint32_t b);
EXTISM("store_u64") void store_u64(uint64_t at, uint64_t v);
EXTISM("output_set") void output_set(uint64_t at, uint64_t n);

// A host function of extism sees extism's memory and not the plugin's. Key and salt
// are parts of the input, which lies there already.
__attribute__((import_module("extism:host/user"), import_name("bucket"))) extern uint32_t bucket(uint64_t key, uint64_t klen, uint64_t salt, uint64_t slen);

static uint64_t input_at(const void *p) { return input_offset() + (uint64_t)((const uint8_t *)p - souk_state.message); }

int32_t souk_host_bucket(const void *key, uint32_t klen, const void *salt, uint32_t slen) {
  return (int32_t)bucket(input_at(key), klen, input_at(salt), slen);
}

// select_version copies the request in and the verdict out, as the kit does: eight
// bytes at a time.
__attribute__((export_name("select_version"))) int32_t select_version(void) {
  uint32_t n = (uint32_t)input_length(), i = 0;
  uint64_t result, at;
  const uint8_t *verdict;
  if (souk_give_buffer(n) == 0) return 1;
  for (; i + 8 <= n; i += 8) {
    uint64_t v = input_load_u64(i);
    __builtin_memcpy(souk_state.message + i, &v, 8);
  }
  for (; i < n; i++) souk_state.message[i] = (uint8_t)input_load_u8(i);
  result = souk_export_select_version(n);
  if (result >> 32 == 0) return (int32_t)result;
  verdict = (const uint8_t *)(uintptr_t)(result >> 32), n = (uint32_t)result;
  at = alloc(n);
  for (i = 0; i + 8 <= n; i += 8) {
    uint64_t v;
    __builtin_memcpy(&v, verdict + i, 8);
    store_u64(at + i, v);
  }
  for (; i < n; i++) store_u8(at + i, verdict[i]);
  output_set(at, n);
  return 0;
}
