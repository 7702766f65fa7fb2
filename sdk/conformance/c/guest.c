// The conformance guest in C: what ../go/policy says, in the same order.
#include "souk.h"

static char config[1024];
static uint32_t config_len;

static bool contains(souk_text t, souk_text part) {
  souk_text rest;
  for (uint32_t i = 0; i + part.len <= t.len; i++)
    if (souk_after((souk_text){t.at + i, t.len - i}, part, &rest)) return true;
  return false;
}

static souk_text configure(souk_text json) {
  if (contains(json, SOUK_TEXT("\"refuse\""))) return SOUK_TEXT("told to refuse");
  for (config_len = 0; config_len < json.len && config_len < sizeof config; config_len++) config[config_len] = json.at[config_len];
  return SOUK_TEXT("");
}

// part writes a text and a space behind it.
static void part(souk_line *line, souk_text t) {
  souk_add(line, t);
  souk_add(line, SOUK_TEXT(" "));
}

static void number(souk_line *line, uint64_t n) {
  souk_add_number(line, (int64_t)n);
  souk_add(line, SOUK_TEXT(" "));
}

// head says what is in the head of a request, but for the account.
static void head(souk_line *line, const souk_head *h) {
  number(line, h->minor);
  number(line, h->now_ms);
  number(line, h->purpose);
  number(line, h->flags);
  number(line, h->seed);
  part(line, h->client);
  number(line, h->platform);
  number(line, h->os);
  part(line, h->territory);
  part(line, h->bucket_key);
  part(line, h->organization);
  for (uint32_t i = 0; i < h->grants.count; i++) part(line, souk_text_at(h->grants, i));
}

#define IS(text, literal) souk_equal(text, SOUK_TEXT(literal))

// value is what a host function answered: a code, a space and what it copied.
static void value(souk_line *line, int32_t n, const char *at) {
  souk_add_number(line, n < 0 ? n : 0);
  souk_add(line, SOUK_TEXT(" "));
  if (n > 0) souk_add(line, (souk_text){at, (uint32_t)n});
}

// prove says the HMAC of a text, or a code.
static void prove(souk_line *line, souk_text key, souk_text data) {
  uint8_t sum[32];
  char hex[64];
  int32_t n = souk_hmac_sha256(key, data, sum);
  for (uint32_t i = 0; i < 64; i++) hex[i] = "0123456789abcdef"[sum[i / 2] >> (4 - 4 * (i % 2)) & 15];
  value(line, n < 0 ? n : 64, hex);
}

// secret proves that it knows a secret without telling it.
static void secret(souk_line *line, souk_text name, souk_text data) {
  char space[512];
  int32_t n = souk_secret_get(name, space, sizeof space);
  if (n < 0) value(line, n, space);
  else prove(line, (souk_text){space, (uint32_t)n}, data);
}

// fetch asks another server and says what it answered.
static void fetch(souk_line *line, souk_text url, souk_text body) {
  static uint8_t space[4096];
  static const souk_fetch_header headers[] = {{{"accept", 6}, {"text/plain", 10}}, {{"x-souk", 6}, {"\xC3\x9F", 2}}};
  souk_fetch_request q = {.method = SOUK_TEXT("POST"), .url = url, .headers = {.items = headers, .count = 2}, .body = body};
  souk_fetch_response a;
  souk_text rest;
  int32_t n = souk_http_fetch(&q, space, sizeof space, &a);
  value(line, n, "");
  if (n < 0) return;
  number(line, a.status);
  for (uint32_t i = 0; i < a.headers.count; i++) {
    souk_fetch_header h = souk_fetch_header_at(a.headers, i);
    if (!souk_after(h.name, SOUK_TEXT("x-"), &rest)) continue;
    part(line, h.name);
    part(line, h.value);
  }
  souk_add(line, a.body);
}

static int entitle(const souk_entitle_request *r, souk_answers *out) {
  souk_text account = r->head.account, client = r->head.client, organization = r->head.organization;
  if (IS(account, "error")) return 1;
  if (IS(account, "abstain")) return 0;
  for (uint32_t i = 0; i < r->apps.count; i++) {
    souk_entitle_app a = souk_entitle_app_at(r->apps, i);
    souk_entitle_decision d = {.decision = SOUK_DENY, .code = a.devices};
    souk_line line = {.len = 0};
    char space[512];
    int64_t sum = 0;
    if (souk_holds(r->head.grants, SOUK_TEXT("sub:plus"))) d.decision = SOUK_ALLOW;
    if (IS(account, "bucket")) {
      d.code = souk_bucket(client, organization);
    } else if (IS(account, "config")) {
      souk_add(&line, (souk_text){config, config_len});
    } else if (IS(account, "log")) {
      souk_log(SOUK_LEVEL_WARN, organization);
    } else if (IS(account, "kv_get")) {
      value(&line, souk_kv_get(client, space, sizeof space), space);
    } else if (IS(account, "kv_put")) {
      souk_add_number(&line, souk_kv_put(client, organization, 60));
    } else if (IS(account, "kv_delete")) {
      souk_add_number(&line, souk_kv_delete(client));
    } else if (IS(account, "kv_swap")) {
      souk_add_number(&line, souk_kv_swap(client, r->head.territory, organization));
    } else if (IS(account, "kv_add")) {
      souk_add_number(&line, souk_kv_add(client, -7, &sum));
      souk_add(&line, SOUK_TEXT(" "));
      souk_add_number(&line, sum);
    } else if (IS(account, "hash")) {
      value(&line, souk_password_hash(client, space, sizeof space), space);
    } else if (IS(account, "verify")) {
      souk_add_number(&line, souk_password_verify(client, organization));
    } else if (IS(account, "hmac")) {
      prove(&line, client, organization);
    } else if (IS(account, "equal")) {
      souk_add_number(&line, souk_equal_ct(client, organization));
    } else if (IS(account, "metric")) {
      souk_add_number(&line, souk_metric_add(client, (int32_t)a.devices));
    } else if (IS(account, "secret")) {
      secret(&line, client, organization);
    } else if (IS(account, "fetch")) {
      fetch(&line, client, organization);
    } else {
      head(&line, &r->head);
      number(&line, a.item);
      number(&line, a.version);
      number(&line, a.devices_item);
      part(&line, a.bundle_id);
    }
    d.reason = souk_line_text(&line);
    souk_answer_entitle(out, d);
  }
  return 0;
}

static int select_version(const souk_select_version_request *r, souk_answers *out) {
  if (IS(r->head.account, "error")) return 1;
  if (IS(r->head.account, "abstain")) return 0;
  for (uint32_t i = 0; i < r->apps.count; i++) {
    souk_select_version_app a = souk_select_version_app_at(r->apps, i);
    souk_version_choice c = {.choice = SOUK_HOLD, .code = a.candidates.count};
    souk_line line = {.len = 0};
    head(&line, &r->head);
    number(&line, a.item);
    number(&line, a.installed);
    part(&line, a.bundle_id);
    part(&line, a.channel);
    for (uint32_t j = 0; j < a.candidates.count; j++) {
      souk_candidate x = souk_candidate_at(a.candidates, j);
      number(&line, x.version);
      number(&line, x.released_ms);
      number(&line, x.min_os);
      number(&line, x.flags);
      number(&line, x.rollout);
      part(&line, x.salt);
      part(&line, x.short_);
      part(&line, x.build);
      part(&line, x.channel);
      if (c.choice == SOUK_HOLD && x.min_os <= r->head.os && souk_bucket(r->head.bucket_key, x.salt) < x.rollout) c.choice = (int32_t)j;
    }
    c.reason = souk_line_text(&line);
    souk_answer_select_version(out, c);
  }
  return 0;
}

static int show(const souk_sign_in_request *r, souk_answers *out) {
  souk_line message = {.len = 0}, state = {.len = 0};
  souk_form_field fields[] = {
      {.name = SOUK_TEXT("email"), .label = SOUK_TEXT("Email"), .kind = SOUK_TEXT("email"), .value = r->login_hint},
      {.name = SOUK_TEXT("locale"), .label = r->locale, .kind = SOUK_TEXT("note"), .value = r->address},
  };
  head(&message, &r->head);
  souk_add_number(&message, r->attempts);
  souk_add(&state, SOUK_TEXT("step 1"));
  souk_add(&state, r->state);
  souk_answer_sign_in(out, (souk_sign_in_answer){
      .outcome = SOUK_SIGN_IN_PAGE, .title = r->client_name, .message = souk_line_text(&message),
      .html = SOUK_TEXT("<p>hi</p><souk-form></souk-form>"), .state = souk_line_text(&state),
      .fields = {.items = fields, .count = 2}});
  return 0;
}

static int submit(const souk_sign_in_request *r, souk_answers *out) {
  static const souk_text grants[] = {{"pro", 3}, {"\xC3\x9F", 2}};
  souk_text email = {0, 0}, password = {0, 0}, hash;
  char space[512];
  int32_t n;
  for (uint32_t i = 0; i < r->fields.count; i++) {
    souk_submitted_field f = souk_submitted_field_at(r->fields, i);
    if (IS(f.name, "email")) email = f.value;
    if (IS(f.name, "password")) password = f.value;
  }
  if (IS(r->login_hint, "register")) {
    if ((n = souk_password_hash(password, space, sizeof space)) < 0) return 1;
    if (souk_kv_put(email, (souk_text){space, (uint32_t)n}, 0) < 0) return 1;
  }
  n = souk_kv_get(email, space, sizeof space);
  hash = (souk_text){space, n < 0 ? 0 : (uint32_t)n};
  if (souk_password_verify(password, hash) == 1) {
    souk_answer_sign_in(out, (souk_sign_in_answer){
        .outcome = SOUK_SIGN_IN_DONE, .account = email, .display_name = SOUK_TEXT("Person"), .territory = SOUK_TEXT("AUT"),
        .grants = {.items = grants, .count = 2}});
  } else {
    souk_answer_sign_in(out, (souk_sign_in_answer){.outcome = SOUK_SIGN_IN_REFUSED, .message = SOUK_TEXT("Wrong email or password.")});
  }
  return 0;
}

static int sign_in(const souk_sign_in_request *r, souk_answers *out) {
  souk_line location = {.len = 0};
  if (IS(r->login_hint, "error")) return 1;
  switch (r->method) {
  case SOUK_SIGN_IN_SHOW:
    return show(r, out);
  case SOUK_SIGN_IN_SUBMIT:
    return submit(r, out);
  case SOUK_SIGN_IN_CANCEL:
    souk_add(&location, SOUK_TEXT("https://id.example.com/"));
    souk_add(&location, r->state);
    souk_answer_sign_in(out, (souk_sign_in_answer){.outcome = SOUK_SIGN_IN_REDIRECT, .location = souk_line_text(&location)});
  }
  return 0;
}

static int exchange(const souk_exchange_request *r, souk_answers *out) {
  souk_line line = {.len = 0};
  if (IS(r->subject_token, "error")) return 1;
  if (IS(r->subject_token, "mine")) {
    souk_answer_exchange(out, (souk_exchange_answer){.outcome = SOUK_EXCHANGE_ACCEPTED, .account = SOUK_TEXT("person-1"), .reason = r->subject_token_type});
  } else if (IS(r->subject_token, "bad")) {
    head(&line, &r->head);
    souk_answer_exchange(out, (souk_exchange_answer){.outcome = SOUK_EXCHANGE_REFUSED, .reason = souk_line_text(&line)});
  } else if (IS(r->subject_token, "secret")) {
    secret(&line, r->subject_token_type, r->head.client);
    souk_answer_exchange(out, (souk_exchange_answer){.outcome = SOUK_EXCHANGE_REFUSED, .reason = souk_line_text(&line)});
  } else if (IS(r->subject_token, "fetch")) {
    fetch(&line, r->subject_token_type, r->head.client);
    souk_answer_exchange(out, (souk_exchange_answer){.outcome = SOUK_EXCHANGE_REFUSED, .reason = souk_line_text(&line)});
  }
  return 0;
}

SOUK_PLUGIN();
SOUK_CONFIGURE(configure);
SOUK_ENTITLE(entitle);
SOUK_SELECT_VERSION(select_version);
SOUK_SIGN_IN(sign_in);
SOUK_EXCHANGE(exchange);
