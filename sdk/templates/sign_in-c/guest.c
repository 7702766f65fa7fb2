// Signs people in with an address and a password. The kv has the hash of each
// password under "password/" and the address, as password_hash made it.
#include "souk.h"

static void page(souk_answers *out, souk_text email, souk_text message) {
  souk_form_field fields[] = {
      {.name = SOUK_TEXT("email"), .label = SOUK_TEXT("Email"), .kind = SOUK_TEXT("email"), .value = email},
      {.name = SOUK_TEXT("password"), .label = SOUK_TEXT("Password"), .kind = SOUK_TEXT("password")},
  };
  souk_answer_sign_in(out, (souk_sign_in_answer){
      .outcome = SOUK_SIGN_IN_PAGE, .title = SOUK_TEXT("Sign in"), .message = message, .fields = {.items = fields, .count = 2}});
}

static int submit(const souk_sign_in_request *r, souk_answers *out) {
  souk_text email = {0, 0}, password = {0, 0};
  souk_line key = {.len = 0};
  char hash[512];
  for (uint32_t i = 0; i < r->fields.count; i++) {
    souk_submitted_field f = souk_submitted_field_at(r->fields, i);
    if (souk_equal(f.name, SOUK_TEXT("email"))) email = f.value;
    if (souk_equal(f.name, SOUK_TEXT("password"))) password = f.value;
  }
  souk_add(&key, SOUK_TEXT("password/"));
  souk_add(&key, email);
  int32_t n = souk_kv_get(souk_line_text(&key), hash, sizeof hash);
  if (n < 0 && n != SOUK_CODE_NOT_FOUND && n != SOUK_CODE_REFUSED) return 1;
  // Without a hash it takes as long: the page doesn't tell who has an account.
  if (souk_password_verify(password, (souk_text){hash, n < 0 ? 0 : (uint32_t)n}) == 1)
    souk_answer_sign_in(out, (souk_sign_in_answer){.outcome = SOUK_SIGN_IN_DONE, .account = email});
  else
    page(out, email, SOUK_TEXT("Wrong email or password."));
  return 0;
}

static int step(const souk_sign_in_request *r, souk_answers *out) {
  switch (r->method) {
  case SOUK_SIGN_IN_SUBMIT:
    return submit(r, out);
  case SOUK_SIGN_IN_CANCEL:
    souk_answer_sign_in(out, (souk_sign_in_answer){.outcome = SOUK_SIGN_IN_REFUSED, .message = SOUK_TEXT("The sign-in was cancelled.")});
    return 0;
  default:
    page(out, r->login_hint, SOUK_TEXT(""));
    return 0;
  }
}

SOUK_PLUGIN();
SOUK_SIGN_IN(step);
