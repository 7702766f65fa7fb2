// Whoever has a subscription may have every app, and nobody else any.
#include "souk.h"

static int decide(const souk_entitle_request *r, souk_answers *out) {
  bool subscribed = souk_holds(r->head.grants, SOUK_TEXT("sub:plus"));
  for (uint32_t i = 0; i < r->apps.count; i++) {
    souk_entitle_decision d = {.decision = SOUK_DENY, .reason = SOUK_TEXT("needs a subscription")};
    if (subscribed) d = (souk_entitle_decision){.decision = SOUK_ALLOW, .reason = SOUK_TEXT("has a subscription")};
    souk_answer_entitle(out, d);
  }
  return 0;
}

SOUK_PLUGIN();
SOUK_ENTITLE(decide);
