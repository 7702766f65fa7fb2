// Each device gets the newest version that is rolled out to it.
#include "souk.h"

static souk_version_choice pick(souk_text key, souk_candidate_list candidates) {
  for (uint32_t i = 0; i < candidates.count; i++) {
    souk_candidate c = souk_candidate_at(candidates, i);
    if (souk_rolled_out(key, &c)) {
      return (souk_version_choice){.choice = (int32_t)i, .reason = SOUK_TEXT("open")};
    }
  }
  return (souk_version_choice){.choice = SOUK_HOLD, .reason = SOUK_TEXT("not open yet")};
}

static int choose(const souk_select_version_request *r, souk_answers *out) {
  for (uint32_t i = 0; i < r->apps.count; i++) {
    souk_answer_select_version(out, pick(r->head.bucket_key, souk_select_version_app_at(r->apps, i).candidates));
  }
  return 0;
}

SOUK_PLUGIN();
SOUK_SELECT_VERSION(choose);
