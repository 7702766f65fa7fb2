// Says where apps are to be had, and on which systems: an app or a version is
// refused when a rule that is about it does not hold. It is a function of the
// request and the configuration alone. Which territory an account is of, it refuses
// to know: that is the core's, and where the core doesn't know it either, the
// operator has said what then.
import {
  Candidate,
  CandidateFlags,
  Choice,
  Decision,
  EntitleDecision,
  EntitleRequest,
  Head,
  Purpose,
  SelectVersionApp,
  SelectVersionRequest,
  VersionChoice,
  bucket,
  BUCKETS,
} from "../../sdk/assemblyscript/assembly/index";

// The codes: why something passes, and why it doesn't. A rule may have another for
// what it refuses.
export namespace Code {
  export const PASSES: u32 = 1; // no rule refuses it
  export const EXEMPT: u32 = 2; // the account holds a grant that lifts the rules
  export const OTHER: u32 = 3; // another version is given instead of one that is refused
  export const TERRITORY: u32 = 20; // not for this territory
  export const UNKNOWN: u32 = 21; // the territory is not known
  export const PLATFORM: u32 = 22; // not for this kind of device
  export const OLD: u32 = 23; // the system is too old
  export const NEW: u32 = 24; // the system is too new
}

// A system's number without a bound.
export const NO_MAX: u32 = 0xffffffff;

export class Rule {
  name: string = "";
  territories: u32[] = []; // packed; none = the rule does not ask
  only: bool = false; // in these territories; otherwise in all others
  refuseUnknown: bool = true; // where the territory is not known
  platforms: u32 = 0; // a bit for each; 0 = all
  minOs: u32 = 0;
  maxOs: u32 = NO_MAX;
  min: string = ""; // as it is written
  max: string = "";
  onlyNew: bool = false; // those who have the app keep it
  code: u32 = 0; // of its refusals; 0 = of their kind
}

export class Policy {
  rules: Rule[] = [];
  all: i32[] = []; // the rules about all apps, as indices; each of these lists is in their order
  byItem: Map<string, i32[]> = new Map(); // by the digits of the id
  byBundle: Map<string, i32[]> = new Map();
  byVersion: Map<string, i32[]> = new Map();
  exempt: string[] = [];
  passes: u32 = Decision.Pass;
}

// packed is a territory as a number, so that a list is quickly looked through; 0 is
// none that a rule can name.
export function packed(territory: string): u32 {
  let n: u32 = 0;
  if (territory.length != 3) return 0;
  for (let i = 0; i < 3; i++) {
    const c = territory.charCodeAt(i);
    if (c < 0x41 || c > 0x5a) return 0;
    n = (n << 8) | c;
  }
  return n;
}

// A refusal is why a rule does not hold.
class Refusal {
  constructor(
    public code: u32,
    public reason: string,
  ) {}
}

// bit is the place of a platform among those of a rule; one that nobody knows is on
// no list.
export function bit(platform: u32): u32 {
  return platform < 31 ? (<u32>1) << platform : (<u32>1) << 31;
}

function platformName(platform: u32): string {
  if (platform == 1) return "iOS";
  if (platform == 2) return "iPadOS";
  return "platform " + platform.toString();
}

function osName(os: u32): string {
  const patch = os & 0xff;
  const name = (os >> 16).toString() + "." + ((os >> 8) & 0xff).toString();
  return patch == 0 ? name : name + "." + patch.toString();
}

// refusal is why a rule refuses a device, or null. Where the system is not known, in
// front of an install page, no bound refuses it: the device asks again.
function refusal(rule: Rule, h: Head): Refusal | null {
  if (rule.onlyNew && h.purpose != Purpose.InstallToken) return null;
  if (rule.territories.length > 0) {
    if (h.territory == "") {
      if (rule.refuseUnknown) return refuse(rule, Code.UNKNOWN, "the territory is not known");
    } else if (rule.territories.includes(packed(h.territory)) != rule.only) {
      return refuse(rule, Code.TERRITORY, "the territory " + h.territory + (rule.only ? " is not on the list" : " is on the list"));
    }
  }
  if (rule.platforms != 0 && (rule.platforms & bit(h.platform)) == 0) {
    return refuse(rule, Code.PLATFORM, "not for " + platformName(h.platform));
  }
  if (h.os != 0) {
    if (h.os < rule.minOs) return refuse(rule, Code.OLD, "the system " + osName(h.os) + " is older than " + rule.min);
    if (h.os > rule.maxOs) return refuse(rule, Code.NEW, "the system " + osName(h.os) + " is newer than " + rule.max);
  }
  return null;
}

function refuse(rule: Rule, code: u32, why: string): Refusal {
  return new Refusal(rule.code == 0 ? code : rule.code, rule.name + ": " + why);
}

// Refusals are why each rule refuses a device, or null.
class Refusals {
  all: Array<Refusal | null> = [];
  any: bool = false; // otherwise nobody has to look which rule is about what

  constructor(p: Policy, h: Head) {
    for (let i = 0; i < p.rules.length; i++) {
      const found = refusal(p.rules[i], h);
      this.all.push(found);
      if (found) this.any = true;
    }
  }

  // The first rule of a list that refuses, or a number beyond all rules.
  first(list: i32[]): i32 {
    for (let i = 0; this.any && i < list.length; i++) {
      if (this.all[list[i]] !== null) return list[i];
    }
    return i32.MAX_VALUE;
  }

  // The first of those that a map has for a number.
  find(map: Map<string, i32[]>, id: u64): i32 {
    return this.any ? this.named(map, id.toString()) : i32.MAX_VALUE;
  }

  named(map: Map<string, i32[]>, key: string): i32 {
    return this.any && map.has(key) ? this.first(map.get(key)) : i32.MAX_VALUE;
  }

  get(rule: i32): Refusal | null {
    return rule < this.all.length ? this.all[rule] : null;
  }
}

// grantOf is the grant that lifts the rules, or "".
function grantOf(p: Policy, h: Head): string {
  for (let i = 0; i < p.exempt.length; i++) {
    if (h.grants.includes(p.exempt[i])) return p.exempt[i];
  }
  return "";
}

// entitle decides about each app of a request.
export function entitle(p: Policy, r: EntitleRequest): EntitleDecision[] {
  const all = new Refusals(p, r.head);
  const grant = grantOf(p, r.head);
  const decisions: EntitleDecision[] = [];
  for (let i = 0; i < r.apps.length; i++) {
    const app = r.apps[i];
    const found = all.get(min(all.first(p.all), min(all.find(p.byItem, app.item), all.named(p.byBundle, app.bundleId))));
    const d = new EntitleDecision();
    d.decision = p.passes;
    d.code = Code.PASSES;
    d.reason = "no rule refuses it";
    if (found && grant != "") {
      d.code = Code.EXEMPT;
      d.reason = "holds " + grant;
    } else if (found) {
      d.decision = Decision.Deny;
      d.code = found.code;
      d.reason = found.reason;
    }
    decisions.push(d);
  }
  return decisions;
}

// selectVersions chooses for each app of a request. It abstains where no rule
// refuses a version.
export function selectVersions(p: Policy, r: SelectVersionRequest): VersionChoice[] {
  const all = new Refusals(p, r.head);
  const grant = grantOf(p, r.head);
  const choices: VersionChoice[] = [];
  for (let i = 0; i < r.apps.length; i++) choices.push(choose(p, all, grant, r.head, r.apps[i]));
  return choices;
}

function choose(p: Policy, all: Refusals, grant: string, h: Head, app: SelectVersionApp): VersionChoice {
  const v = new VersionChoice();
  v.choice = Choice.Pass;
  v.code = Code.PASSES;
  v.reason = "no rule refuses a version";
  const fine: bool[] = []; // of each candidate
  let newest: Refusal | null = null; // why the newest that is refused is
  for (let i = 0; i < app.candidates.length; i++) {
    const found = all.get(all.find(p.byVersion, app.candidates[i].version));
    if (newest === null) newest = found;
    fine.push(found === null);
  }
  if (!newest) return v;
  if (grant != "") {
    v.code = Code.EXEMPT;
    v.reason = "holds " + grant;
    return v;
  }
  const choice = h.purpose == Purpose.Update ? offered(h, app, fine) : restored(h, app, fine);
  v.choice = choice;
  v.code = choice < 0 ? newest.code : Code.OTHER;
  v.reason = choice < 0 ? newest.reason : "another version; " + newest.reason;
  return v;
}

// open says what the core's own rule does: a version is for whom its rollout is open
// to, on the channel that the account follows.
function open(h: Head, app: SelectVersionApp, c: Candidate): bool {
  if ((c.flags & CandidateFlags.Halted) != 0 || (c.channel != "" && c.channel != app.channel)) return false;
  return c.rollout >= BUCKETS || (h.bucketKey != "" && bucket(h.bucketKey, c.salt) < c.rollout);
}

// offered is the newest open version of those that no rule refuses.
function offered(h: Head, app: SelectVersionApp, fine: bool[]): i32 {
  for (let i = 0; i < fine.length; i++) {
    if (fine[i] && open(h, app, app.candidates[i])) return i;
  }
  return Choice.Hold;
}

// restored is of those that no rule refuses the requested version, else the newest
// that is open, else the newest that is not halted, else the newest.
function restored(h: Head, app: SelectVersionApp, fine: bool[]): i32 {
  for (let i = 0; i < fine.length; i++) {
    if (fine[i] && (app.candidates[i].flags & CandidateFlags.Requested) != 0) return i;
  }
  const i = offered(h, app, fine);
  if (i >= 0) return i;
  for (let i = 0; i < fine.length; i++) {
    if (fine[i] && (app.candidates[i].flags & CandidateFlags.Halted) == 0) return i;
  }
  const last = fine.indexOf(true);
  return last < 0 ? Choice.Unavailable : last;
}
