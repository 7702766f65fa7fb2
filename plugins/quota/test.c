// The tests of the policy: an ordinary program that ends with 0 when all hold.
#include "souk_native.h"
#include "policy.h"

SOUK_PLUGIN();

static int failed;

static void fail(const char *what, const char *got) {
  printf("%s: %s\n", what, got);
  failed = 1;
}

static quota_config config;
static souk_line said;

static bool configure(const char *json) {
  said.len = 0;
  return quota_configure(&config, (souk_text){json, (uint32_t)strlen(json)}, &said);
}

static void decides(const char *what, souk_head who, souk_entitle_app app, souk_decision decision, uint32_t code, const char *reason) {
  souk_line line = {.len = 0};
  souk_entitle_decision d = quota_decide(&config, &who, &app, &line);
  line.at[line.len] = 0;
  if (d.decision != decision || d.code != code || strcmp(line.at, reason) != 0) {
    printf("%s: decision %u, code %u, %s\n", what, (unsigned)d.decision, (unsigned)d.code, line.at);
    failed = 1;
  }
}

static void test_decisions(void) {
  souk_text grants[] = {SOUK_TEXT("role:tester")};
  souk_head alice = {.purpose = SOUK_PURPOSE_INSTALL_TOKEN, .account = SOUK_TEXT("alice")}, nobody = alice, tester = alice;
  souk_entitle_app app = {.item = 7, .bundle_id = SOUK_TEXT("com.example.notes")};
  nobody.account.len = 0;
  tester.grants = (souk_text_list){.items = grants, .count = 1};
  if (!configure("{\"per_account\":5,\"per_item\":2,\"items\":{\"8\":1,\"com.example.sky\":0},\"exempt_grants\":[\"role:tester\"]}")) fail("configure", "refuses");
  decides("the first device", alice, app, SOUK_DECISION_PASS, QUOTA_WITHIN, "within the limits");
  app.devices = 4, app.devices_item = 1;
  decides("the last device", alice, app, SOUK_DECISION_PASS, QUOTA_WITHIN, "within the limits");
  app.devices_item = 2;
  decides("one device more", alice, app, SOUK_DENY, QUOTA_ITEM, "2 other devices have the app, the limit is 2");
  app.devices = 5;
  decides("one device of the account more", alice, app, SOUK_DENY, QUOTA_ACCOUNT, "the account has 5 other devices, the limit is 5");
  decides("nobody", nobody, app, SOUK_DECISION_PASS, QUOTA_NOBODY, "nobody is signed in");
  decides("a tester", tester, app, SOUK_DECISION_PASS, QUOTA_EXEMPT, "holds role:tester");
  for (souk_purpose p = 0; p < 10; p++) {
    alice.purpose = p;
    if (p == SOUK_PURPOSE_UPDATE) decides("an update", alice, app, SOUK_DECISION_PASS, QUOTA_UPDATE, "an update");
    else decides("another purpose", alice, app, SOUK_DENY, QUOTA_ACCOUNT, "the account has 5 other devices, the limit is 5");
  }
  app.devices = app.devices_item = 1, app.item = 8;
  decides("an app with a limit of its own", alice, app, SOUK_DENY, QUOTA_ITEM, "1 other devices have the app, the limit is 1");
  app.devices_item = 4, app.bundle_id = SOUK_TEXT("com.example.sky"), app.item = 9;
  decides("an app without a limit", alice, app, SOUK_DECISION_PASS, QUOTA_WITHIN, "within the limits");
  configure("{\"per_item\":1,\"passes\":\"allow\"}");
  app.item = 7;
  decides("no limit of the account", alice, (souk_entitle_app){.devices = 900}, SOUK_ALLOW, QUOTA_WITHIN, "within the limits");
}

static void test_configurations(void) {
  static const struct {
    const char *json, *wrong;
  } all[] = {
      {"{}", "per_account, per_item, items: set at least one limit"},
      {"{\"per_account\":0,\"items\":{\"7\":0}}", "per_account, per_item, items: set at least one limit"},
      {"{\"per_acount\":1}", "per_acount: there is no such key"},
      {"{\"per_account\":-1}", "per_account: want a whole number of devices from 0, which is no limit, to 256"},
      {"{\"per_item\":257}", "per_item: want a whole number of devices from 0, which is no limit, to 256"},
      {"{\"per_item\":\"2\"}", "per_item: want a whole number of devices from 0, which is no limit, to 256"},
      {"{\"items\":[]}", "items: want a table"},
      {"{\"items\":{\"07\":1}}", "items: 07 is no appleItemId, and no bundle id begins with a digit"},
      {"{\"items\":{\"7x\":1}}", "items: 7x is no appleItemId, and no bundle id begins with a digit"},
      {"{\"items\":{\"\":1}}", "items: a name is empty"},
      {"{\"items\":{\"7\":1.5}}", "7: want a whole number of devices from 0, which is no limit, to 256"},
      {"{\"per_item\":1,\"exempt_grants\":\"a\"}", "exempt_grants: want a list of texts"},
      {"{\"per_item\":1,\"exempt_grants\":[1]}", "exempt_grants: want texts"},
      {"{\"per_item\":1,\"passes\":\"deny\"}", "passes: want \"allow\" or \"abstain\""},
      {"[]", "want a table"},
      {"", "byte 0 of the JSON text: want a value"},
  };
  for (uint32_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    bool good = configure(all[i].json);
    said.at[said.len] = 0;
    if (good || strcmp(said.at, all[i].wrong) != 0) fail(all[i].json, said.at);
  }
  static char many[64 * QUOTA_MAX_ITEMS];
  int n = sprintf(many, "{\"items\":{\"1\":1");
  for (int i = 2; i <= QUOTA_MAX_ITEMS + 1; i++) n += sprintf(many + n, ",\"%d\":1", i);
  sprintf(many + n, "}}");
  if (configure(many)) fail("too many apps", "are taken");
}

int main(void) {
  test_decisions();
  test_configurations();
  return failed;
}
