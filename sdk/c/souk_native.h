// The host functions for an ordinary program: include it in one file of the
// policy's own tests. The kv is small and in memory, expiry is not simulated,
// and the password hash is quick instead of safe.
#ifndef SOUK_NATIVE_H
#define SOUK_NATIVE_H

#include <stdio.h>
#include <string.h>

#include "souk.h"

static struct souk_native {
  struct {
    uint8_t key[SOUK_MAX_KV_KEY], value[1024];
    uint32_t klen, vlen;
  } kv[64];
  uint32_t count;
  char logged[1024]; // the last line

  // What a test sets: the one secret that there is, and who answers a fetch; it
  // returns 0, or a code.
  const char *secret_name, *secret;
  int32_t (*fetch)(const souk_fetch_request *q, souk_fetch_response *answer);

  struct {
    char name[SOUK_MAX_METRIC_NAME + 1];
    int64_t value;
  } metrics[SOUK_MAX_METRICS];
} souk_native;

// souk_native_reset forgets everything.
static inline void souk_native_reset(void) { memset(&souk_native, 0, sizeof souk_native); }

// SHA-256, FIPS 180-4 §6.2.
typedef struct souk_sha256 {
  uint32_t h[8];
  uint8_t block[64];
  uint64_t n;
} souk_sha256;

static inline uint32_t souk_turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static inline void souk_sha256_block(souk_sha256 *s) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
      0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
      0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
      0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
      0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
      0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t w[64], v[8];
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)s->block[4 * i] << 24 | (uint32_t)s->block[4 * i + 1] << 16 | (uint32_t)s->block[4 * i + 2] << 8 | s->block[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (souk_turn(a, 7) ^ souk_turn(a, 18) ^ a >> 3) + (souk_turn(b, 17) ^ souk_turn(b, 19) ^ b >> 10);
  }
  memcpy(v, s->h, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t one = v[7] + (souk_turn(v[4], 6) ^ souk_turn(v[4], 11) ^ souk_turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
    uint32_t two = (souk_turn(v[0], 2) ^ souk_turn(v[0], 13) ^ souk_turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof v[0]);
    v[4] += one, v[0] = one + two;
  }
  for (int i = 0; i < 8; i++) s->h[i] += v[i];
}

static inline void souk_sha256_add(souk_sha256 *s, const void *p, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    s->block[s->n++ % 64] = ((const uint8_t *)p)[i];
    if (s->n % 64 == 0) souk_sha256_block(s);
  }
}

static inline souk_sha256 souk_sha256_new(void) {
  return (souk_sha256){{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}, {0}, 0};
}

static inline void souk_sha256_end(souk_sha256 *s) {
  uint8_t end[8], zero = 0, one = 0x80;
  uint64_t bits = s->n * 8;
  for (int i = 0; i < 8; i++) end[i] = (uint8_t)(bits >> (56 - 8 * i));
  souk_sha256_add(s, &one, 1);
  while (s->n % 64 != 56) souk_sha256_add(s, &zero, 1);
  souk_sha256_add(s, end, 8);
}

static inline souk_sha256 souk_sha256_of(const void *a, uint32_t alen, const void *b, uint32_t blen) {
  souk_sha256 s = souk_sha256_new();
  uint8_t zero = 0;
  souk_sha256_add(&s, a, alen);
  souk_sha256_add(&s, &zero, 1);
  souk_sha256_add(&s, b, blen);
  souk_sha256_end(&s);
  return s;
}

static inline void souk_sha256_sum(const souk_sha256 *s, uint8_t sum[32]) {
  for (int i = 0; i < 32; i++) sum[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

int32_t souk_host_bucket(const void *key, uint32_t klen, const void *salt, uint32_t slen) {
  souk_sha256 s = souk_sha256_of(salt, slen, key, klen);
  return (int32_t)(((uint64_t)s.h[0] << 32 | s.h[1]) % SOUK_BUCKETS);
}

void souk_host_log(uint32_t level, const void *text, uint32_t tlen) {
  snprintf(souk_native.logged, sizeof souk_native.logged, "%u %.*s", (unsigned)level, (int)tlen, (const char *)text);
}

static inline int souk_native_find(const void *key, uint32_t klen) {
  for (uint32_t i = 0; i < souk_native.count; i++)
    if (souk_native.kv[i].klen == klen && memcmp(souk_native.kv[i].key, key, klen) == 0) return (int)i;
  return -1;
}

static inline bool souk_native_key(uint32_t klen) { return klen > 0 && klen <= SOUK_MAX_KV_KEY; }

int32_t souk_host_kv_get(const void *key, uint32_t klen, void *out, uint32_t capacity) {
  int i = souk_native_find(key, klen);
  if (!souk_native_key(klen)) return SOUK_CODE_REFUSED;
  if (i < 0) return SOUK_CODE_NOT_FOUND;
  if (souk_native.kv[i].vlen > capacity) return SOUK_CODE_DOES_NOT_FIT;
  memcpy(out, souk_native.kv[i].value, souk_native.kv[i].vlen);
  return (int32_t)souk_native.kv[i].vlen;
}

int32_t souk_host_kv_put(const void *key, uint32_t klen, const void *value, uint32_t vlen, uint32_t ttl) {
  int i = souk_native_find(key, klen);
  (void)ttl;
  if (!souk_native_key(klen) || vlen > SOUK_MAX_KV_VALUE) return SOUK_CODE_REFUSED;
  if (i < 0 && souk_native.count < sizeof souk_native.kv / sizeof souk_native.kv[0]) i = (int)souk_native.count++;
  if (i < 0 || vlen > sizeof souk_native.kv[i].value) return SOUK_CODE_FAILED; // more than a test needs
  memcpy(souk_native.kv[i].key, key, klen);
  if (vlen > 0) memcpy(souk_native.kv[i].value, value, vlen);
  souk_native.kv[i].klen = klen, souk_native.kv[i].vlen = vlen;
  return 0;
}

int32_t souk_host_kv_delete(const void *key, uint32_t klen) {
  int i = souk_native_find(key, klen);
  if (!souk_native_key(klen)) return SOUK_CODE_REFUSED;
  if (i >= 0) souk_native.kv[i] = souk_native.kv[--souk_native.count];
  return 0;
}

int32_t souk_host_kv_swap(const void *key, uint32_t klen, const void *old, uint32_t olen, const void *value, uint32_t vlen) {
  int i = souk_native_find(key, klen);
  if ((i >= 0) != (olen > 0)) return SOUK_CODE_CONFLICT;
  if (i >= 0 && (souk_native.kv[i].vlen != olen || memcmp(souk_native.kv[i].value, old, olen) != 0)) return SOUK_CODE_CONFLICT;
  return souk_host_kv_put(key, klen, value, vlen, 0);
}

int32_t souk_host_kv_add(const void *key, uint32_t klen, int64_t delta, void *out) {
  uint8_t b[8] = {0};
  int32_t n = souk_host_kv_get(key, klen, b, sizeof b);
  if (n != 8 && n != SOUK_CODE_NOT_FOUND) return SOUK_CODE_REFUSED;
  souk_writer w = {b, sizeof b, sizeof b, false};
  souk_put64(&w, 0, souk_get64(b) + (uint64_t)delta);
  memcpy(out, b, sizeof b);
  return souk_host_kv_put(key, klen, b, sizeof b, 0);
}

int32_t souk_host_password_hash(const void *password, uint32_t plen, void *out, uint32_t capacity) {
  char text[16 + 1];
  souk_sha256 s = souk_sha256_of("test", 4, password, plen);
  if (plen > SOUK_MAX_PASSWORD) return SOUK_CODE_REFUSED;
  if (capacity < 16) return SOUK_CODE_DOES_NOT_FIT;
  snprintf(text, sizeof text, "%08x%08x", (unsigned)s.h[0], (unsigned)s.h[1]);
  memcpy(out, text, 16);
  return 16;
}

int32_t souk_host_password_verify(const void *password, uint32_t plen, const void *hash, uint32_t hlen) {
  char have[16];
  int32_t n = souk_host_password_hash(password, plen, have, sizeof have);
  if (n < 0) return n;
  return hlen == 16 && memcmp(have, hash, 16) == 0;
}

int32_t souk_host_hmac_sha256(const void *key, uint32_t klen, const void *data, uint32_t dlen, void *out, uint32_t capacity) {
  uint8_t block[64] = {0}, sum[32];
  souk_sha256 s = souk_sha256_new();
  if (klen > SOUK_MAX_CRYPTO || dlen > SOUK_MAX_CRYPTO) return SOUK_CODE_REFUSED;
  if (capacity < sizeof sum) return SOUK_CODE_DOES_NOT_FIT;
  if (klen > sizeof block) souk_sha256_add(&s, key, klen), souk_sha256_end(&s), souk_sha256_sum(&s, block);
  else if (klen > 0) memcpy(block, key, klen);
  for (int i = 0; i < 64; i++) block[i] ^= 0x36;
  s = souk_sha256_new();
  souk_sha256_add(&s, block, sizeof block), souk_sha256_add(&s, data, dlen), souk_sha256_end(&s), souk_sha256_sum(&s, sum);
  for (int i = 0; i < 64; i++) block[i] ^= 0x36 ^ 0x5c;
  s = souk_sha256_new();
  souk_sha256_add(&s, block, sizeof block), souk_sha256_add(&s, sum, sizeof sum), souk_sha256_end(&s), souk_sha256_sum(&s, out);
  return sizeof sum;
}

int32_t souk_host_equal_ct(const void *a, uint32_t alen, const void *b, uint32_t blen) {
  if (alen > SOUK_MAX_CRYPTO || blen > SOUK_MAX_CRYPTO) return SOUK_CODE_REFUSED;
  return alen == blen && (alen == 0 || memcmp(a, b, alen) == 0);
}

int32_t souk_host_secret_get(const void *name, uint32_t nlen, void *out, uint32_t capacity) {
  const char *have = souk_native.secret_name;
  if (have == NULL || strlen(have) != nlen || memcmp(have, name, nlen) != 0) return SOUK_CODE_NOT_FOUND;
  if (strlen(souk_native.secret) > capacity) return SOUK_CODE_DOES_NOT_FIT;
  memcpy(out, souk_native.secret, strlen(souk_native.secret));
  return (int32_t)strlen(souk_native.secret);
}

int32_t souk_host_http_fetch(const void *request, uint32_t rlen, void *out, uint32_t capacity) {
  static uint8_t space[SOUK_MAX_FETCH_RESPONSE];
  souk_writer w = {space, sizeof space, 0, false};
  souk_fetch_request q;
  souk_fetch_response answer = {0};
  int32_t code;
  if (souk_native.fetch == NULL || rlen > SOUK_MAX_FETCH_REQUEST || !souk_fetch_request_read(request, rlen, &q)) return SOUK_CODE_REFUSED;
  if ((code = souk_native.fetch(&q, &answer)) < 0) return code;
  if (!souk_fetch_response_write(&w, &answer)) return SOUK_CODE_FAILED;
  if (w.size > capacity) return SOUK_CODE_DOES_NOT_FIT;
  memcpy(out, space, w.size);
  return (int32_t)w.size;
}

static inline bool souk_native_metric(const char *name, uint32_t nlen) {
  if (nlen == 0 || nlen > SOUK_MAX_METRIC_NAME || name[0] < 'a' || name[0] > 'z') return false;
  for (uint32_t i = 0; i < nlen; i++)
    if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') && name[i] != '_') return false;
  return true;
}

int32_t souk_host_metric_add(const void *name, uint32_t nlen, int64_t value) {
  if (value < 0 || !souk_native_metric(name, nlen)) return SOUK_CODE_REFUSED;
  for (uint32_t i = 0; i < SOUK_MAX_METRICS; i++) {
    char *have = souk_native.metrics[i].name;
    if (have[0] != 0 && (strlen(have) != nlen || memcmp(have, name, nlen) != 0)) continue;
    memcpy(have, name, nlen);
    souk_native.metrics[i].value += value;
    return 0;
  }
  return SOUK_CODE_REFUSED; // there are enough
}

#endif
