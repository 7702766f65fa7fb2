// Reads the plugin's configuration. What it doesn't understand, it refuses, with a
// sentence that names the key and says what belongs there.
import { Decision } from "../../sdk/assemblyscript/assembly/index";
import { Kind, Value, parse, whole } from "../../sdk/assemblyscript/assembly/value";
import { Policy, Rule, bit, packed } from "./policy";

// The bounds of a configuration.
const MAX_RULES = 64;
const MAX_NAMES = 256; // of one list
const MAX_NAME = 128; // characters of a name

// What is wrong, once something is: nothing after it is looked at.
let wrong: string = "";

function fail(key: string, why: string): void {
  if (wrong == "") wrong = key + ": " + why;
}

// shown quotes what an operator wrote.
function shown(s: string): string {
  return '"' + (s.length > 40 ? s.substring(0, 40) + "…" : s) + '"';
}

// configure makes a policy of a configuration, or says why it can't.
export function configure(p: Policy, json: string): string {
  wrong = "";
  const table = parse(json);
  if (table.wrong != "") return table.wrong;
  if (table.kind != Kind.Table) return "want a table";
  let unknown: i32 = -1; // what happens where a rule doesn't say
  for (let i = 0; i < table.keys.length; i++) {
    if (table.keys[i] == "unknown_territory") unknown = unknownOf("unknown_territory", table.values[i]);
  }
  for (let i = 0; i < table.keys.length; i++) {
    const key = table.keys[i];
    const value = table.values[i];
    if (key == "rules") readRules(p, value, unknown);
    else if (key == "exempt_grants") p.exempt = names(key, value, 32);
    else if (key == "passes") p.passes = choiceOf(key, value, "allow", "abstain") ? Decision.Allow : Decision.Pass;
    else if (key != "unknown_territory") fail(key, "there is no such key: there are rules, unknown_territory, exempt_grants and passes");
  }
  if (p.rules.length == 0) fail("rules", "there are none: write at least one, or leave the plugin out");
  return wrong;
}

// choiceOf says which of two words a value is.
function choiceOf(key: string, value: Value, yes: string, no: string): bool {
  const is = value.kind == Kind.Text && value.text == yes;
  if (!is && (value.kind != Kind.Text || value.text != no)) fail(key, 'want "' + yes + '" or "' + no + '"');
  return is;
}

function unknownOf(key: string, value: Value): i32 {
  return choiceOf(key, value, "deny", "allow") ? 1 : 0;
}

// names reads a list of texts, which is not empty.
function names(key: string, value: Value, most: i32): string[] {
  const list: string[] = [];
  if (value.kind != Kind.List) fail(key, "want a list of texts");
  else if (value.values.length == 0) fail(key, "the list is empty: name at least one, or leave the key out");
  else if (value.values.length > most) fail(key, "has more than " + most.toString() + " entries");
  if (wrong != "") return list;
  for (let i = 0; i < value.values.length; i++) {
    const v = value.values[i];
    const at = key + "[" + i.toString() + "]";
    if (v.kind != Kind.Text) fail(at, "want a text");
    else if (v.text == "" || v.text.length > MAX_NAME) fail(at, "want 1 to " + MAX_NAME.toString() + " characters");
    list.push(v.text);
  }
  return list;
}

function readRules(p: Policy, value: Value, unknown: i32): void {
  if (value.kind != Kind.List) return fail("rules", "want a list of tables: write each as [[plugin.config.rules]]");
  if (value.values.length > MAX_RULES) return fail("rules", "there are more than " + MAX_RULES.toString());
  for (let i = 0; i < value.values.length && wrong == ""; i++) {
    const at = "rules[" + i.toString() + "]";
    if (value.values[i].kind != Kind.Table) return fail(at, "want a table");
    readRule(p, at, i, value.values[i], unknown);
  }
}

function readRule(p: Policy, at: string, index: i32, table: Value, unknown: i32): void {
  const rule = new Rule();
  rule.name = "rule " + (index + 1).toString();
  let items: string[] = [];
  let versions: string[] = [];
  let asksTerritory = false;
  for (let i = 0; i < table.keys.length && wrong == ""; i++) {
    const key = at + "." + table.keys[i];
    const value = table.values[i];
    const name = table.keys[i];
    if (name == "name") rule.name = nameOf(key, value);
    else if (name == "items") items = names(key, value, MAX_NAMES);
    else if (name == "versions") versions = names(key, value, MAX_NAMES);
    else if (name == "allow_territories" || name == "deny_territories") {
      if (rule.territories.length > 0) fail(key, "there is another list of territories in the rule: use allow_territories or deny_territories");
      rule.territories = territoriesOf(key, value);
      rule.only = name == "allow_territories";
    } else if (name == "unknown_territory") {
      unknown = unknownOf(key, value);
      asksTerritory = true;
    } else if (name == "platforms") rule.platforms = platformsOf(key, value);
    else if (name == "min_os") {
      rule.minOs = osOf(key, value, 0);
      rule.min = value.text;
    } else if (name == "max_os") {
      rule.maxOs = osOf(key, value, 255);
      rule.max = value.text;
    } else if (name == "only_new") {
      if (value.kind != Kind.Bool) fail(key, "want true or false");
      rule.onlyNew = value.isTrue;
    } else if (name == "code") {
      if (value.whole < 100 || value.whole > 65535) fail(key, "want a number from 100 to 65535: the plugin's own are below");
      rule.code = <u32>value.whole;
    } else {
      fail(key, "there is no such key: a rule has name, items, versions, allow_territories, deny_territories, unknown_territory, platforms, min_os, max_os, only_new and code");
    }
  }
  if (rule.territories.length > 0 && unknown < 0) {
    fail(at + ".unknown_territory", 'say what happens where the territory is not known: "deny" or "allow", here or for all rules');
  }
  if (rule.territories.length == 0 && asksTerritory) fail(at + ".unknown_territory", "the rule names no territories");
  if (rule.minOs > rule.maxOs) fail(at + ".max_os", shown(rule.max) + " is below min_os " + shown(rule.min));
  if (rule.territories.length == 0 && rule.platforms == 0 && rule.min == "" && rule.max == "") {
    fail(at, "refuses nothing: give it allow_territories, deny_territories, platforms, min_os or max_os");
  }
  if (items.length > 0 && versions.length > 0) fail(at + ".versions", "a version is of one app: leave items out");
  if (wrong != "") return;
  rule.refuseUnknown = unknown == 1;
  p.rules.push(rule);
  if (items.length == 0 && versions.length == 0) p.all.push(index);
  for (let i = 0; i < items.length; i++) place(p, at + ".items[" + i.toString() + "]", items[i], index);
  for (let i = 0; i < versions.length; i++) {
    if (whole(versions[i]) <= 0) return fail(at + ".versions[" + i.toString() + "]", shown(versions[i]) + " is no appleVersionId: write its digits");
    add(p.byVersion, versions[i], index);
  }
}

function nameOf(key: string, value: Value): string {
  if (value.kind != Kind.Text || value.text == "" || value.text.length > 64) fail(key, "want a text of 1 to 64 characters");
  return value.text;
}

// place notes that a rule is about an app, by its appleItemId or its bundle id.
function place(p: Policy, at: string, item: string, rule: i32): void {
  const c = item.charCodeAt(0);
  if (c < 0x30 || c > 0x39) return add(p.byBundle, item, rule);
  if (whole(item) <= 0) return fail(at, shown(item) + " is no appleItemId, and no bundle id begins with a digit");
  add(p.byItem, item, rule);
}

function add(map: Map<string, i32[]>, key: string, rule: i32): void {
  if (map.has(key)) map.get(key).push(rule);
  else map.set(key, [rule]);
}

// ISO 3166-1 alpha-3, by its shape: which codes there are changes.
function territoriesOf(key: string, value: Value): u32[] {
  const all: u32[] = [];
  const list = names(key, value, MAX_NAMES);
  for (let i = 0; i < list.length; i++) {
    all.push(packed(list[i]));
    if (all[i] == 0) fail(key + "[" + i.toString() + "]", shown(list[i]) + ' is no territory: write three capital letters, like "AUT"');
  }
  return all;
}

function platformsOf(key: string, value: Value): u32 {
  let bits: u32 = 0;
  const list = names(key, value, 2);
  for (let i = 0; i < list.length; i++) {
    if (list[i] == "ios") bits |= bit(1);
    else if (list[i] == "ipados") bits |= bit(2);
    else fail(key + "[" + i.toString() + "]", shown(list[i]) + ' is no platform: write "ios" or "ipados"');
  }
  return bits;
}

// osOf reads a version of a system; a part that is left out is rest.
function osOf(key: string, value: Value, rest: u32): u32 {
  const parts = value.kind == Kind.Text ? value.text.split(".") : [];
  let os: u32 = 0;
  let good = parts.length > 0 && parts.length <= 3;
  for (let i = 0; i < 3 && good; i++) {
    const n: i64 = i < parts.length ? whole(parts[i]) : <i64>rest;
    good = n >= (i == 0 ? 1 : 0) && n <= 255;
    os = (os << 8) | <u32>(n & 0xff);
  }
  if (!good) fail(key, 'want the version of a system as a text, like "18.0"');
  return os;
}
