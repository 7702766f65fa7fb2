// Quota says on how many devices an account may have an app. The policy is in
// policy.h; this is what makes it a plugin.
#include "policy.h"

static quota_config config;
static souk_line wrong; // what configure answers lies here

static souk_text configure(souk_text json) {
  wrong.len = 0;
  quota_configure(&config, json, &wrong);
  return souk_line_text(&wrong);
}

static int entitle(const souk_entitle_request *r, souk_answers *out) {
  quota_entitle(&config, r, out);
  return 0;
}

SOUK_PLUGIN();
SOUK_CONFIGURE(configure);
SOUK_ENTITLE(entitle);
