// A sign-in that shows the HTML of its configuration, {"html": "…"}, and lets those in
// who type "wonderland".
#include "souk_value.h"

static char html[8192];
static int32_t html_len;

static souk_text configure(souk_text json) {
  souk_text table, key, value;
  uint32_t at;
  html_len = -1;
  if (!souk_parse(json, &table, &at) || souk_kind_of(table) != SOUK_TABLE) return SOUK_TEXT("config: no table");
  for (souk_text rest = souk_inside(table); souk_next_entry(&rest, &key, &value);)
    if (souk_says(key, SOUK_TEXT("html"))) html_len = souk_string(value, html, sizeof html);
  return html_len < 0 ? SOUK_TEXT("config: html: write a text of at most 8 KiB") : SOUK_TEXT("");
}

static int sign_in(const souk_sign_in_request *r, souk_answers *out) {
  souk_form_field field = {.name = SOUK_TEXT("password"), .label = SOUK_TEXT("The word"), .kind = SOUK_TEXT("password")};
  if (r->method == SOUK_SIGN_IN_SUBMIT) {
    for (uint32_t i = 0; i < r->fields.count; i++) {
      souk_submitted_field f = souk_submitted_field_at(r->fields, i);
      if (souk_equal(f.name, field.name) && souk_equal(f.value, SOUK_TEXT("wonderland"))) {
        souk_answer_sign_in(out, (souk_sign_in_answer){.outcome = SOUK_SIGN_IN_DONE, .account = SOUK_TEXT("carol@example.com")});
        return 0;
      }
    }
  }
  souk_answer_sign_in(out, (souk_sign_in_answer){
      .outcome = SOUK_SIGN_IN_PAGE, .title = SOUK_TEXT("A page of its own"), .html = {html, (uint32_t)html_len},
      .fields = {.items = &field, .count = 1}});
  return 0;
}

SOUK_PLUGIN();
SOUK_CONFIGURE(configure);
SOUK_SIGN_IN(sign_in);
