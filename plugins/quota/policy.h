// Says on how many devices an account may have apps, and how many may have the
// same app. It is a pure function of the counts that the core gives with each
// question: how many devices of the account were given any app, and how many this
// app, before the asking one was. So the first N devices keep what they have, also
// when the limit is lowered, and the next one is refused until one of them signs
// out. It refuses to know which devices those are.
#ifndef QUOTA_POLICY_H
#define QUOTA_POLICY_H

#include "souk_value.h"

// The codes of the decisions: why an app passes, and why it doesn't.
enum {
  QUOTA_WITHIN = 1,    // below every limit that there is for it
  QUOTA_UPDATE = 2,    // the device has the app already
  QUOTA_EXEMPT = 3,    // the account holds a grant that lifts the limits
  QUOTA_NOBODY = 4,    // nobody is signed in, so there is nothing to count
  QUOTA_ACCOUNT = 20,  // the account has its number of devices without this one
  QUOTA_ITEM = 21,     // the app has its number of devices without this one
};

// The bounds of a configuration. The core counts no further than the highest limit.
enum { QUOTA_MAX_ITEMS = 256, QUOTA_MAX_GRANTS = 32, QUOTA_MAX_LIMIT = 256, QUOTA_TEXTS = 16384 };

// The limit of one app, by its id or, where that is 0, by its bundle id.
typedef struct quota_item {
  uint64_t id;
  souk_text bundle_id;
  uint32_t limit;
} quota_item;

// A limit of 0 is none.
typedef struct quota_config {
  souk_decision passes; // the decision about what no limit refuses
  uint32_t per_account, per_item, items_count, grants_count, used;
  quota_item items[QUOTA_MAX_ITEMS];
  souk_text grants[QUOTA_MAX_GRANTS];
  char texts[QUOTA_TEXTS]; // what the texts above point to: the JSON is gone after configure
} quota_config;

static uint32_t quota_limit(const quota_config *c, const souk_entitle_app *app) {
  for (uint32_t i = 0; i < c->items_count; i++) {
    const quota_item *it = &c->items[i];
    if (it->id != 0 ? it->id == app->item : souk_equal(it->bundle_id, app->bundle_id)) return it->limit;
  }
  return c->per_item;
}

static souk_entitle_decision quota_decide(const quota_config *c, const souk_head *who, const souk_entitle_app *app, souk_line *reason) {
  souk_entitle_decision d = {.decision = c->passes, .code = QUOTA_WITHIN};
  uint32_t limit = quota_limit(c, app);
  // An update goes to a device that has the app. It may mend what is broken, and to
  // refuse it would take nothing away.
  if (who->purpose == SOUK_PURPOSE_UPDATE) {
    d.code = QUOTA_UPDATE;
    souk_add(reason, SOUK_TEXT("an update"));
  } else if (who->account.len == 0) {
    d.code = QUOTA_NOBODY;
    souk_add(reason, SOUK_TEXT("nobody is signed in"));
  } else if (c->per_account > 0 && app->devices >= c->per_account) {
    d.decision = SOUK_DENY, d.code = QUOTA_ACCOUNT;
    souk_add(reason, SOUK_TEXT("the account has "));
    souk_add_number(reason, app->devices);
    souk_add(reason, SOUK_TEXT(" other devices, the limit is "));
    souk_add_number(reason, c->per_account);
  } else if (limit > 0 && app->devices_item >= limit) {
    d.decision = SOUK_DENY, d.code = QUOTA_ITEM;
    souk_add_number(reason, app->devices_item);
    souk_add(reason, SOUK_TEXT(" other devices have the app, the limit is "));
    souk_add_number(reason, limit);
  } else {
    souk_add(reason, SOUK_TEXT("within the limits"));
  }
  if (d.decision == SOUK_DENY)
    for (uint32_t i = 0; i < c->grants_count; i++)
      if (souk_holds(who->grants, c->grants[i])) {
        d.decision = c->passes, d.code = QUOTA_EXEMPT;
        reason->len = 0;
        souk_add(reason, SOUK_TEXT("holds "));
        souk_add(reason, c->grants[i]);
      }
  return d;
}

// quota_entitle decides about each app of a request.
static inline void quota_entitle(const quota_config *c, const souk_entitle_request *r, souk_answers *out) {
  for (uint32_t i = 0; i < r->apps.count; i++) {
    souk_entitle_app app = souk_entitle_app_at(r->apps, i);
    souk_line reason;
    reason.len = 0;
    souk_entitle_decision d = quota_decide(c, &r->head, &app, &reason);
    d.reason = souk_line_text(&reason);
    souk_answer_entitle(out, d);
  }
}

// The rest reads the configuration. A function that fails has written why.

static bool quota_wrong(souk_line *wrong, souk_text key, souk_text what) {
  souk_add(wrong, key);
  souk_add(wrong, SOUK_TEXT(": "));
  souk_add(wrong, what);
  return false;
}

// quota_keep copies a string to where it stays.
static bool quota_keep(quota_config *c, souk_text key, souk_text value, souk_text *kept, souk_line *wrong) {
  int32_t n = souk_string(value, c->texts + c->used, QUOTA_TEXTS - c->used);
  if (souk_kind_of(value) != SOUK_STRING) return quota_wrong(wrong, key, SOUK_TEXT("want texts"));
  if (n < 0) return quota_wrong(wrong, key, SOUK_TEXT("the names have more than 16384 bytes together"));
  if (n == 0) return quota_wrong(wrong, key, SOUK_TEXT("a name is empty"));
  *kept = (souk_text){c->texts + c->used, (uint32_t)n};
  c->used += (uint32_t)n;
  return true;
}

static bool quota_read_limit(souk_text key, souk_text value, uint32_t *limit, souk_line *wrong) {
  uint64_t n = 0;
  if (!souk_whole(value, &n) || n > QUOTA_MAX_LIMIT)
    return quota_wrong(wrong, key, SOUK_TEXT("want a whole number of devices from 0, which is no limit, to 256"));
  *limit = (uint32_t)n;
  return true;
}

static bool quota_read_items(quota_config *c, souk_text table, souk_line *wrong) {
  souk_text name, value, rest = souk_inside(table);
  if (souk_kind_of(table) != SOUK_TABLE) return quota_wrong(wrong, SOUK_TEXT("items"), SOUK_TEXT("want a table"));
  while (souk_next_entry(&rest, &name, &value)) {
    quota_item *it = &c->items[c->items_count];
    if (c->items_count == QUOTA_MAX_ITEMS) return quota_wrong(wrong, SOUK_TEXT("items"), SOUK_TEXT("has more than 256 apps"));
    if (!quota_keep(c, SOUK_TEXT("items"), name, &it->bundle_id, wrong)) return false;
    it->id = 0;
    if (souk_is_digit((unsigned char)it->bundle_id.at[0]) &&
        (!souk_whole(it->bundle_id, &it->id) || it->bundle_id.at[0] == '0')) { // one spelling, so that no app has two limits
      souk_add(wrong, SOUK_TEXT("items: "));
      souk_add(wrong, it->bundle_id);
      souk_add(wrong, SOUK_TEXT(" is no appleItemId, and no bundle id begins with a digit"));
      return false;
    }
    if (!quota_read_limit(it->bundle_id, value, &it->limit, wrong)) return false;
    c->items_count++;
  }
  return true;
}

static bool quota_read_grants(quota_config *c, souk_text list, souk_line *wrong) {
  souk_text item, rest = souk_inside(list);
  if (souk_kind_of(list) != SOUK_LIST) return quota_wrong(wrong, SOUK_TEXT("exempt_grants"), SOUK_TEXT("want a list of texts"));
  while (souk_next_item(&rest, &item)) {
    if (c->grants_count == QUOTA_MAX_GRANTS) return quota_wrong(wrong, SOUK_TEXT("exempt_grants"), SOUK_TEXT("has more than 32 grants"));
    if (!quota_keep(c, SOUK_TEXT("exempt_grants"), item, &c->grants[c->grants_count], wrong)) return false;
    c->grants_count++;
  }
  return true;
}

static bool quota_read_key(quota_config *c, souk_text key, souk_text value, souk_line *wrong) {
  char name[256];
  int32_t n = souk_string(key, name, sizeof name);
  if (souk_says(key, SOUK_TEXT("per_account"))) return quota_read_limit(SOUK_TEXT("per_account"), value, &c->per_account, wrong);
  if (souk_says(key, SOUK_TEXT("per_item"))) return quota_read_limit(SOUK_TEXT("per_item"), value, &c->per_item, wrong);
  if (souk_says(key, SOUK_TEXT("items"))) return quota_read_items(c, value, wrong);
  if (souk_says(key, SOUK_TEXT("exempt_grants"))) return quota_read_grants(c, value, wrong);
  if (souk_says(key, SOUK_TEXT("passes"))) {
    bool allow = souk_says(value, SOUK_TEXT("allow"));
    c->passes = allow ? SOUK_ALLOW : SOUK_DECISION_PASS;
    return allow || souk_says(value, SOUK_TEXT("abstain")) || quota_wrong(wrong, SOUK_TEXT("passes"), SOUK_TEXT("want \"allow\" or \"abstain\""));
  }
  return quota_wrong(wrong, (souk_text){name, n < 0 ? 0 : (uint32_t)n}, SOUK_TEXT("there is no such key"));
}

// quota_configure reads the plugin's configuration. A configuration that limits
// nothing is a mistake.
static inline bool quota_configure(quota_config *c, souk_text json, souk_line *wrong) {
  souk_text table, key, value, rest;
  uint32_t at = 0;
  bool limited;
  c->passes = SOUK_DECISION_PASS;
  c->per_account = c->per_item = c->items_count = c->grants_count = c->used = 0;
  if (!souk_parse(json, &table, &at)) {
    souk_add(wrong, SOUK_TEXT("byte "));
    souk_add_number(wrong, at);
    souk_add(wrong, SOUK_TEXT(" of the JSON text: want a value"));
    return false;
  }
  if (souk_kind_of(table) != SOUK_TABLE) {
    souk_add(wrong, SOUK_TEXT("want a table"));
    return false;
  }
  for (rest = souk_inside(table); souk_next_entry(&rest, &key, &value);)
    if (!quota_read_key(c, key, value, wrong)) return false;
  limited = c->per_account > 0 || c->per_item > 0;
  for (uint32_t i = 0; i < c->items_count; i++) limited = limited || c->items[i].limit > 0;
  if (!limited) souk_add(wrong, SOUK_TEXT("per_account, per_item, items: set at least one limit"));
  return limited;
}

#endif
