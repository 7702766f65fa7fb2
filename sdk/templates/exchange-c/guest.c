// Knows whose subject token it is. A token is an id, a dot and a secret. The kv has
// under "token/" and the id the account, a space and the hash of the secret, as
// password_hash made it: who reads the store has no tokens.
#include "souk.h"

// cut divides a text at the first c; false = there is none.
static bool cut(souk_text t, char c, souk_text *before, souk_text *behind) {
  for (uint32_t i = 0; i < t.len; i++) {
    if (t.at[i] != c) continue;
    *before = (souk_text){t.at, i};
    *behind = (souk_text){t.at + i + 1, t.len - i - 1};
    return true;
  }
  return false;
}

static int whose(const souk_exchange_request *r, souk_answers *out) {
  souk_text id, secret, account, hash;
  souk_line key = {.len = 0};
  char record[1024];
  if (!cut(r->subject_token, '.', &id, &secret)) return 0; // it is none of ours: the next plugin may know it
  souk_add(&key, SOUK_TEXT("token/"));
  souk_add(&key, id);
  int32_t n = souk_kv_get(souk_line_text(&key), record, sizeof record);
  if (n == SOUK_CODE_NOT_FOUND || n == SOUK_CODE_REFUSED) return 0;
  if (n < 0 || !cut((souk_text){record, (uint32_t)n}, ' ', &account, &hash)) return 1;
  if (souk_password_verify(secret, hash) == 1)
    souk_answer_exchange(out, (souk_exchange_answer){.outcome = SOUK_EXCHANGE_ACCEPTED, .account = account});
  else
    souk_answer_exchange(out, (souk_exchange_answer){.outcome = SOUK_EXCHANGE_REFUSED, .reason = SOUK_TEXT("the secret is another")});
  return 0;
}

SOUK_PLUGIN();
SOUK_EXCHANGE(whose);
