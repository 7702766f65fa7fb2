// The tests of the C SDK: an ordinary program that ends with 0 when all hold.
#include "../souk_native.h"
#include "../souk_value.h"
#include "vectors_gen.h"

static int failed;

static void fail(const char *what, const char *why) {
  printf("%s: %s\n", what, why);
  failed = 1;
}

static uint32_t unhex(const char *hex, uint8_t *b) {
  uint32_t n = 0;
  for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2) b[n++] = (uint8_t)byte;
  return n;
}

static void test_vectors(void) {
  static uint8_t b[1 << 20], want[1 << 20], space[1 << 20];
  souk_writer w = {space, sizeof space, 0, false};
  for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
    const vector *v = &vectors[i];
    uint32_t n = unhex(v->hex, b), m;
    if (!v->plain) {
      if (v->copy(&w, b, n)) fail(v->name, "is read");
      continue;
    }
    m = unhex(v->plain, want);
    if (!v->write(&w, v->value) || w.size != m || memcmp(space, want, m) != 0) fail(v->name, "its value is written as other bytes");
    if (!v->copy(&w, b, n) || w.size != m || memcmp(space, want, m) != 0) fail(v->name, "its bytes are read as another value");
    for (w.space = 0; w.space < m; w.space += 7)
      if (v->write(&w, v->value) || w.size > w.space) fail(v->name, "is written where it has no space");
    w.space = sizeof space;
  }
}

static void test_buckets(void) {
  for (size_t i = 0; i < sizeof buckets / sizeof buckets[0]; i++)
    if (souk_bucket(buckets[i].key, buckets[i].salt) != buckets[i].bucket) fail("bucket", "is another than the vector's");
}

// A hook, from the request's bytes to the verdict's.
static int choose(const souk_select_version_request *r, souk_answers *out) {
  if (souk_equal(r->head.account, SOUK_TEXT("error"))) return 7;
  if (souk_equal(r->head.account, SOUK_TEXT("abstain"))) return 0;
  for (uint32_t i = 0; i < r->apps.count; i++) {
    souk_select_version_app app = souk_select_version_app_at(r->apps, i);
    souk_line line = {.len = 0};
    souk_add_number(&line, (int64_t)souk_candidate_at(app.candidates, app.candidates.count - 1).version - 9);
    souk_answer_select_version(out, (souk_version_choice){.choice = (int32_t)app.candidates.count - 1, .reason = souk_line_text(&line)});
  }
  if (souk_equal(r->head.account, SOUK_TEXT("many"))) souk_answer_select_version(out, (souk_version_choice){0});
  return 0;
}

static souk_text configure(souk_text json) { return souk_equal(json, SOUK_TEXT("{}")) ? SOUK_TEXT("") : SOUK_TEXT("no"); }

SOUK_PLUGIN();
SOUK_CONFIGURE(configure);
SOUK_SELECT_VERSION(choose);

static uint64_t ask(souk_text account) {
  souk_candidate candidates[] = {{.version = 4}, {.version = 3}};
  souk_select_version_app apps[] = {{.item = 1, .candidates = {.items = candidates, .count = 2}}, {.candidates = {.items = candidates, .count = 1}}};
  souk_select_version_request r = {.head = {.account = account}, .apps = {.items = apps, .count = 2}};
  souk_writer w = {NULL, SOUK_BUFFER_SIZE, 0, false};
  souk_export_buffer(8);
  w.message = souk_state.message;
  if (!souk_select_version_request_write(&w, &r)) fail("the question", "is not written");
  return souk_export_select_version(w.size);
}

static void test_hook(void) {
  souk_select_version_verdict v;
  uint32_t n = (uint32_t)ask(SOUK_TEXT("alice"));
  souk_export_abi();
  if (!souk_select_version_verdict_read(souk_state.verdict, n, &v) || v.items.count != 2) {
    fail("the verdict", "is none");
    return;
  }
  souk_version_choice a = souk_version_choice_at(v.items, 0), b = souk_version_choice_at(v.items, 1), none = souk_version_choice_at(v.items, 2);
  if (a.choice != 1 || !souk_equal(a.reason, SOUK_TEXT("-6"))) fail("the first answer", "is another");
  if (b.choice != 0 || !souk_equal(b.reason, SOUK_TEXT("-5"))) fail("the second answer", "is another");
  if (none.choice != 0 || none.reason.len != 0) fail("what is behind the last answer", "is not zero");
  if (ask(SOUK_TEXT("error")) != 7) fail("an error", "is not the result");
  if (ask(SOUK_TEXT("abstain")) != 0) fail("an abstention", "is not the result");
  if (ask(SOUK_TEXT("many")) != SOUK_NO_SPACE) fail("more answers than apps", "are no error");
  souk_state.message[0] ^= 1;
  if (souk_export_select_version(112) != SOUK_NOT_A_RECORD) fail("a damaged request", "is answered");
  if (souk_export_buffer(SOUK_MAX_REQUEST + 1) != 0) fail("a buffer beyond the contract", "is given");
  memcpy(souk_state.message, "{}", 2);
  if (souk_export_configure(2) != 0 || (uint32_t)souk_export_configure(1) != 2) fail("configure", "answers something else");
}

static void test_host(void) {
  uint8_t b[64];
  int64_t sum = 0;
  souk_text k = SOUK_TEXT("k"), hash = {(const char *)b, 0};
  souk_native_reset();
  if (souk_kv_get(k, b, sizeof b) != SOUK_CODE_NOT_FOUND) fail("kv_get", "finds what nobody put");
  if (souk_kv_put(k, SOUK_TEXT("value"), 0) != 0 || souk_kv_get(k, b, sizeof b) != 5 || souk_kv_get(k, b, 4) != SOUK_CODE_DOES_NOT_FIT) fail("kv", "does not keep");
  if (souk_kv_swap(k, SOUK_TEXT(""), k) != SOUK_CODE_CONFLICT || souk_kv_swap(k, SOUK_TEXT("value"), k) != 0) fail("kv_swap", "does not compare");
  if (souk_kv_delete(k) != 0 || souk_kv_delete(k) != 0 || souk_kv_delete(SOUK_TEXT("")) != SOUK_CODE_REFUSED) fail("kv_delete", "answers something else");
  if (souk_kv_add(k, 5, &sum) != 0 || souk_kv_add(k, -7, &sum) != 0 || sum != -2) fail("kv_add", "counts something else");
  hash.len = (uint32_t)souk_password_hash(SOUK_TEXT("wonderland"), b, sizeof b);
  if (souk_password_verify(SOUK_TEXT("wonderland"), hash) != 1 || souk_password_verify(SOUK_TEXT("w"), hash) != 0 ||
      souk_password_verify(SOUK_TEXT(""), SOUK_TEXT("")) != 0)
    fail("password_verify", "answers something else");
  souk_log(SOUK_LEVEL_WARN, SOUK_TEXT("a line"));
  if (strcmp(souk_native.logged, "2 a line") != 0) fail("log", "is not kept");
}

static int32_t answer_fetch(const souk_fetch_request *q, souk_fetch_response *answer) {
  if (!souk_equal(q->method, SOUK_TEXT("POST")) || q->headers.count != 1) return SOUK_CODE_REFUSED;
  if (!souk_equal(souk_fetch_header_at(q->headers, 0).name, SOUK_TEXT("accept"))) return SOUK_CODE_FAILED;
  answer->status = 201, answer->body = q->body;
  return 0;
}

static void test_crypto_and_http(void) {
  // RFC 4231, test cases 2 and 6.
  static const uint8_t two[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e}, six[] = {0x60, 0xe4, 0x31, 0x59, 0x1e, 0xe0, 0xb6, 0x7f};
  static uint8_t space[256];
  uint8_t b[64];
  char key[131];
  souk_fetch_header header = {SOUK_TEXT("accept"), SOUK_TEXT("text/plain")};
  souk_fetch_request q = {.method = SOUK_TEXT("POST"), .url = SOUK_TEXT("https://id.example.com/"), .headers = {.items = &header, .count = 1}, .body = SOUK_TEXT("a body")};
  souk_fetch_response answer;
  memset(key, 0xaa, sizeof key);
  souk_native_reset();
  if (souk_hmac_sha256(SOUK_TEXT("Jefe"), SOUK_TEXT("what do ya want for nothing?"), b) != 32 || memcmp(b, two, sizeof two) != 0) fail("hmac_sha256", "is another");
  if (souk_hmac_sha256((souk_text){key, sizeof key}, SOUK_TEXT("Test Using Larger Than Block-Size Key - Hash Key First"), b) != 32 || memcmp(b, six, sizeof six) != 0) fail("hmac_sha256", "is another with a long key");
  if (!souk_equal_ct(SOUK_TEXT("a"), SOUK_TEXT("a")) || souk_equal_ct(SOUK_TEXT("a"), SOUK_TEXT("b")) || souk_equal_ct(SOUK_TEXT("a"), SOUK_TEXT(""))) fail("equal_ct", "answers something else");
  souk_native.secret_name = "key", souk_native.secret = "secret";
  if (souk_secret_get(SOUK_TEXT("key"), b, sizeof b) != 6 || souk_secret_get(SOUK_TEXT("key"), b, 5) != SOUK_CODE_DOES_NOT_FIT || souk_secret_get(SOUK_TEXT("other"), b, sizeof b) != SOUK_CODE_NOT_FOUND) fail("secret_get", "answers something else");
  if (souk_metric_add(SOUK_TEXT("asked"), 2) != 0 || souk_metric_add(SOUK_TEXT("asked"), 3) != 0 || souk_native.metrics[0].value != 5 || souk_native.metrics[1].name[0] != 0) fail("metric_add", "counts something else");
  if (souk_metric_add(SOUK_TEXT("Asked"), 1) != SOUK_CODE_REFUSED || souk_metric_add(SOUK_TEXT("asked"), -1) != SOUK_CODE_REFUSED) fail("metric_add", "takes what the host refuses");
  if (souk_http_fetch(&q, space, sizeof space, &answer) != SOUK_CODE_REFUSED) fail("http_fetch", "asks nobody");
  souk_native.fetch = answer_fetch;
  if (souk_http_fetch(&q, space, sizeof space, &answer) != 0 || answer.status != 201 || !souk_equal(answer.body, SOUK_TEXT("a body"))) fail("http_fetch", "is answered otherwise");
  if (souk_http_fetch(&q, space, 64, &answer) != SOUK_CODE_REFUSED) fail("http_fetch", "has a request without space");
  header.name = SOUK_TEXT("other");
  if (souk_http_fetch(&q, space, sizeof space, &answer) != SOUK_CODE_FAILED) fail("http_fetch", "loses the code");
}

static void test_texts(void) {
  souk_line line = {.len = 0};
  souk_text rest, list[] = {{"a", 1}, {"bc", 2}};
  souk_text_list texts = {.items = list, .count = 2};
  souk_add_number(&line, INT64_MIN);
  if (!souk_equal(souk_line_text(&line), SOUK_TEXT("-9223372036854775808"))) fail("a number", "is written otherwise");
  if (!souk_after(SOUK_TEXT("kv:get"), SOUK_TEXT("kv:"), &rest) || !souk_equal(rest, SOUK_TEXT("get"))) fail("a prefix", "is not taken off");
  if (!souk_holds(texts, SOUK_TEXT("bc")) || souk_holds(texts, SOUK_TEXT("b"))) fail("a list", "holds something else");
  if (souk_os(26, 1, 2) != 1704194) fail("a version of a system", "is packed otherwise");
}

static bool means(souk_text v, souk_text text) { return souk_says(v, text); }

static void test_values(void) {
  souk_text json = SOUK_TEXT(" {\"a\": [1, 20 , 3.5e1,true,null,-1], \"\\u0062\\n\": {\"c\" : \"\\ud83d\\udE80 \\ud83d \\u00df\\/\"}, \"d\":{}, \"e\":[ ]} ");
  souk_text table, keys[4], values[4], rest, item, key;
  uint32_t at, n = 0;
  uint64_t number = 0;
  static char deep[2 * (SOUK_MAX_DEPTH + 2)];
  char small[3];
  if (!souk_parse(json, &table, &at) || souk_kind_of(table) != SOUK_TABLE) {
    fail("the table", "is none");
    return;
  }
  for (rest = souk_inside(table); n < 4 && souk_next_entry(&rest, &keys[n], &values[n]);) n++;
  if (n != 4 || souk_next_entry(&rest, &key, &item)) fail("the table", "has not four entries");
  if (!means(keys[0], SOUK_TEXT("a")) || !means(keys[1], SOUK_TEXT("b\n")) || means(keys[1], SOUK_TEXT("b"))) fail("a key", "means something else");
  rest = souk_inside(values[0]);
  if (!souk_next_item(&rest, &item) || !souk_whole(item, &number) || number != 1) fail("the first number", "is not 1");
  if (!souk_next_item(&rest, &item) || !souk_whole(item, &number) || number != 20) fail("the second number", "is not 20");
  if (!souk_next_item(&rest, &item) || souk_whole(item, &number) || souk_kind_of(item) != SOUK_NUMBER) fail("3.5e1", "is a whole number");
  if (!souk_next_item(&rest, &item) || souk_kind_of(item) != SOUK_BOOL || !souk_next_item(&rest, &item) || souk_kind_of(item) != SOUK_NULL) fail("true, null", "are something else");
  if (!souk_next_item(&rest, &item) || souk_whole(item, &number) || souk_next_item(&rest, &item)) fail("-1", "is not the last, or whole");
  rest = souk_inside(values[1]);
  if (!souk_next_entry(&rest, &key, &item) || !means(item, SOUK_TEXT("\xF0\x9F\x9A\x80 \xEF\xBF\xBD \xC3\x9F/"))) fail("a string", "means something else");
  if (souk_string(item, small, sizeof small) != -1 || souk_string(values[0], small, sizeof small) != -1) fail("a string", "is copied where it has no space");
  if (souk_inside(values[2]).len != 0 || souk_inside(keys[0]).len != 0) fail("an empty table", "has an inside");
  if (souk_whole(SOUK_TEXT("9223372036854775808"), &number) || !souk_whole(SOUK_TEXT("1000000000000000000"), &number)) fail("a large number", "is read otherwise");

  for (n = 0; n < SOUK_MAX_DEPTH + 2; n++) deep[n] = '[', deep[sizeof deep - 1 - n] = ']';
  if (souk_parse((souk_text){deep, sizeof deep}, &item, &at) || !souk_parse((souk_text){deep + 2, sizeof deep - 4}, &item, &at)) fail("the depth", "is bounded otherwise");
  static const struct {
    souk_text json;
    uint32_t at;
  } wrong[] = {
      {{"", 0}, 0}, {{"{", 1}, 1}, {{"[1,]", 4}, 3}, {{"{\"a\" 1}", 7}, 5}, {{"{a:1}", 5}, 1}, {{"01", 2}, 1}, {{"1.", 2}, 2}, {{"-", 1}, 1},
      {{"1e", 2}, 2}, {{"tru", 3}, 3}, {{"\"a", 2}, 2}, {{"\"\\x\"", 4}, 2}, {{"\"\\u12g4\"", 8}, 5}, {{"\"\n\"", 3}, 1}, {{"1 1", 3}, 2},
      {{"[1}", 3}, 2}, {{"\"\0\"", 3}, 1},
  };
  for (n = 0; n < sizeof wrong / sizeof wrong[0]; n++)
    if (souk_parse(wrong[n].json, &item, &at) || at != wrong[n].at) fail(wrong[n].json.at, "is JSON, or wrong at another byte");
}

int main(void) {
  test_vectors();
  test_buckets();
  test_hook();
  test_host();
  test_crypto_and_http();
  test_texts();
  test_values();
  return failed;
}
