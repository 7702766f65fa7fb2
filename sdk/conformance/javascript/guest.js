// The conformance guest in JavaScript: what ../go/policy says, in the same order.
import * as souk from "../../javascript/index.js";

let config = "";

export function configure(table) {
  const json = JSON.stringify(table);
  if (json.includes('"refuse"')) throw new Error("told to refuse");
  config = json;
}

// join writes each part and a space behind it.
function join(...parts) {
  return parts.map((p) => p + " ").join("");
}

// number is a number of 64 bits with a sign, as all guests write it.
function number(n) {
  return String(BigInt.asIntN(64, BigInt(n)));
}

// head says what is in the head of a request, but for the account.
function head(r) {
  return (
    join(
      number(r.minor),
      number(r.nowMs),
      number(r.purpose),
      number(r.flags),
      number(r.seed),
      r.client,
      number(r.platform),
      number(r.os),
      r.territory,
      r.bucketKey,
      r.organization,
    ) + join(...r.grants)
  );
}

// code is what a host function answers: its own code where it throws.
function code(call) {
  try {
    return call();
  } catch (e) {
    if (e instanceof souk.HostError) return e.code;
    throw e;
  }
}

// value is such an answer and what was copied, which is nothing behind a code.
function value(call) {
  const v = code(call);
  if (v === undefined) return souk.Code.NotFound + " ";
  return typeof v === "number" ? v + " " : "0 " + v;
}

// prove says the HMAC of a text, or a code.
function prove(key, data) {
  return value(() => Array.from(souk.hmacSha256(key, data), (b) => b.toString(16).padStart(2, "0")).join(""));
}

// secret proves that it knows a secret without telling it.
function secret(name, data) {
  const s = code(() => souk.secret(name));
  return typeof s === "string" ? prove(s, data) : value(() => s);
}

// fetch asks another server and says what it answered.
function fetch(url, body) {
  const headers = [{ name: "accept", value: "text/plain" }, { name: "x-souk", value: "ß" }];
  return value(() => {
    const a = souk.fetch({ method: "POST", url, headers, body });
    const own = a.headers.filter((h) => h.name.startsWith("x-")).flatMap((h) => [h.name, h.value]);
    return join(number(a.status), ...own) + a.body;
  });
}

export function entitle(r) {
  if (r.account === "error") throw new Error("told to fail");
  if (r.account === "abstain") return undefined;
  return r.apps.map((a) => {
    const d = { decision: r.grants.includes("sub:plus") ? souk.Decision.Allow : souk.Decision.Deny, code: a.devices };
    switch (r.account) {
      case "bucket":
        d.code = souk.bucket(r.client, r.organization);
        break;
      case "config":
        d.reason = config;
        break;
      case "log":
        souk.log(souk.Level.Warn, r.organization);
        break;
      case "kv_get":
        d.reason = value(() => souk.kvGet(r.client));
        break;
      case "kv_put":
        d.reason = String(code(() => souk.kvPut(r.client, r.organization, 60)) ?? 0);
        break;
      case "kv_delete":
        d.reason = String(code(() => souk.kvDelete(r.client)) ?? 0);
        break;
      case "kv_swap":
        d.reason = String(code(() => (souk.kvSwap(r.client, r.territory, r.organization) ? 0 : souk.Code.Conflict)));
        break;
      case "kv_add": {
        const sum = code(() => souk.kvAdd(r.client, -7));
        d.reason = typeof sum === "bigint" ? `0 ${sum}` : `${sum} 0`;
        break;
      }
      case "hash":
        d.reason = value(() => souk.passwordHash(r.client));
        break;
      case "verify":
        d.reason = String(Number(code(() => souk.passwordVerify(r.client, r.organization))));
        break;
      case "hmac":
        d.reason = prove(r.client, r.organization);
        break;
      case "equal":
        d.reason = souk.equalCt(r.client, r.organization) ? "1" : "0";
        break;
      case "metric":
        d.reason = String(code(() => souk.metricAdd(r.client, a.devices | 0)) ?? 0);
        break;
      case "secret":
        d.reason = secret(r.client, r.organization);
        break;
      case "fetch":
        d.reason = fetch(r.client, r.organization);
        break;
      default:
        d.reason = head(r) + join(number(a.item), number(a.version), number(a.devicesItem), a.bundleId);
    }
    return d;
  });
}

export function selectVersion(r) {
  if (r.account === "error") throw new Error("told to fail");
  if (r.account === "abstain") return undefined;
  return r.apps.map((a) => {
    const c = { choice: souk.Choice.Hold, code: a.candidates.length };
    c.reason = head(r) + join(number(a.item), number(a.installed), a.bundleId, a.channel);
    a.candidates.forEach((x, j) => {
      c.reason += join(
        number(x.version),
        number(x.releasedMs),
        number(x.minOs),
        number(x.flags),
        number(x.rollout),
        x.salt,
        x.short,
        x.build,
        x.channel,
      );
      if (c.choice === souk.Choice.Hold && x.minOs <= r.os && souk.bucket(r.bucketKey, x.salt) < x.rollout) c.choice = j;
    });
    return c;
  });
}

function show(r) {
  return {
    outcome: souk.SignInOutcome.Page,
    title: r.clientName,
    message: head(r) + number(r.attempts),
    html: "<p>hi</p><souk-form></souk-form>",
    state: "step 1" + r.state,
    fields: [
      { name: "email", label: "Email", kind: "email", value: r.loginHint },
      { name: "locale", label: r.locale, kind: "note", value: r.address },
    ],
  };
}

function submit(r) {
  let email = "";
  let password = "";
  for (const f of r.fields) {
    if (f.name === "email") email = f.value;
    if (f.name === "password") password = f.value;
  }
  if (r.loginHint === "register") souk.kvPut(email, souk.passwordHash(password));
  const hash = code(() => souk.kvGet(email));
  if (code(() => souk.passwordVerify(password, typeof hash === "string" ? hash : "")) !== true) {
    return { outcome: souk.SignInOutcome.Refused, message: "Wrong email or password." };
  }
  return { outcome: souk.SignInOutcome.Done, account: email, displayName: "Person", territory: "AUT", grants: ["pro", "ß"] };
}

export function signIn(r) {
  if (r.loginHint === "error") throw new Error("told to fail");
  switch (r.method) {
    case souk.SignInMethod.Show:
      return show(r);
    case souk.SignInMethod.Submit:
      return submit(r);
    case souk.SignInMethod.Cancel:
      return { outcome: souk.SignInOutcome.Redirect, location: "https://id.example.com/" + r.state };
  }
  return undefined;
}

export function exchange(r) {
  switch (r.subjectToken) {
    case "error":
      throw new Error("told to fail");
    case "mine":
      return { outcome: souk.ExchangeOutcome.Accepted, account: "person-1", reason: r.subjectTokenType };
    case "bad":
      return { outcome: souk.ExchangeOutcome.Refused, reason: head(r) };
    case "secret":
      return { outcome: souk.ExchangeOutcome.Refused, reason: secret(r.subjectTokenType, r.client) };
    case "fetch":
      return { outcome: souk.ExchangeOutcome.Refused, reason: fetch(r.subjectTokenType, r.client) };
  }
  return undefined;
}
