// The conformance guest in AssemblyScript: what ../go/policy says, in the same
// order.
import * as souk from "../../assemblyscript/assembly/index";
export { souk_abi_1, souk_buffer } from "../../assemblyscript/assembly/index";

let config = "";

export function configure(length: u32): u64 {
  return souk.configured(length, (json) => {
    if (json.includes('"refuse"')) return "told to refuse";
    config = json;
    return "";
  });
}

// join writes each part and a space behind it.
function join(parts: string[]): string {
  let all = "";
  for (let i = 0; i < parts.length; i++) all += parts[i] + " ";
  return all;
}

function number(n: u64): string {
  return (<i64>n).toString();
}

// head says what is in the head of a request, but for the account.
function head(h: souk.Head): string {
  return (
    join([
      number(h.minor),
      number(h.nowMs),
      number(h.purpose),
      number(h.flags),
      number(h.seed),
      h.client,
      number(h.platform),
      number(h.os),
      h.territory,
      h.bucketKey,
      h.organization,
    ]) + join(h.grants)
  );
}

function code(n: i32): string {
  return min(n, 0).toString();
}

function bytes(s: string): ArrayBuffer {
  return String.UTF8.encode(s);
}

// prove says the HMAC of a text, or a code.
function prove(key: ArrayBuffer, data: string): string {
  const sum = souk.hmacSha256(key, bytes(data));
  let hex = "";
  const list = Uint8Array.wrap(sum.value);
  for (let i = 0; i < list.length; i++) hex += (list[i] < 16 ? "0" : "") + list[i].toString(16);
  return code(sum.code) + " " + hex;
}

// secret proves that it knows a secret without telling it.
function secret(name: string, data: string): string {
  const got = souk.secret(name);
  return got.good ? prove(got.value, data) : code(got.code) + " ";
}

function header(name: string, value: string): souk.FetchHeader {
  const h = new souk.FetchHeader();
  h.name = name;
  h.value = value;
  return h;
}

// fetch asks another server and says what it answered.
function fetch(url: string, body: string): string {
  const q = new souk.FetchRequest();
  q.method = "POST";
  q.url = url;
  q.headers = [header("accept", "text/plain"), header("x-souk", "ß")];
  q.body = body;
  const got = souk.fetch(q);
  const a = got.response;
  let all = code(got.code) + " ";
  if (a == null) return all;
  all += join([number(a.status)]);
  for (let i = 0; i < a.headers.length; i++) {
    if (a.headers[i].name.startsWith("x-")) all += join([a.headers[i].name, a.headers[i].value]);
  }
  return all + a.body;
}

export function entitle(length: u32): u64 {
  return souk.entitle(length, (r, out) => {
    const account = r.head.account;
    const client = r.head.client;
    const organization = r.head.organization;
    if (account == "error") out.fail(1);
    if (account == "abstain") return;
    for (let i = 0; i < r.apps.length; i++) {
      const a = r.apps[i];
      const d = new souk.EntitleDecision();
      d.decision = r.head.grants.includes("sub:plus") ? souk.Decision.Allow : souk.Decision.Deny;
      d.code = a.devices;
      if (account == "bucket") {
        d.code = souk.bucket(client, organization);
      } else if (account == "config") {
        d.reason = config;
      } else if (account == "log") {
        souk.log(souk.Level.Warn, organization);
      } else if (account == "kv_get") {
        const got = souk.kvGet(client);
        d.reason = code(got.code) + " " + got.text;
      } else if (account == "kv_put") {
        d.reason = code(souk.kvPut(client, bytes(organization), 60));
      } else if (account == "kv_delete") {
        d.reason = code(souk.kvDelete(client));
      } else if (account == "kv_swap") {
        d.reason = code(souk.kvSwap(client, bytes(r.head.territory), bytes(organization)));
      } else if (account == "kv_add") {
        const sum = souk.kvAdd(client, -7);
        d.reason = code(sum.code) + " " + sum.sum.toString();
      } else if (account == "hash") {
        const hash = souk.passwordHash(client);
        d.reason = code(hash.code) + " " + hash.text;
      } else if (account == "verify") {
        d.reason = souk.passwordVerify(client, bytes(organization)).toString();
      } else if (account == "hmac") {
        d.reason = prove(bytes(client), organization);
      } else if (account == "equal") {
        d.reason = souk.equalCt(bytes(client), bytes(organization)) ? "1" : "0";
      } else if (account == "metric") {
        d.reason = code(souk.metricAdd(client, <i32>a.devices));
      } else if (account == "secret") {
        d.reason = secret(client, organization);
      } else if (account == "fetch") {
        d.reason = fetch(client, organization);
      } else {
        d.reason = head(r.head) + join([number(a.item), number(a.version), number(a.devicesItem), a.bundleId]);
      }
      out.push(d);
    }
  });
}

export function select_version(length: u32): u64 {
  return souk.selectVersion(length, (r, out) => {
    if (r.head.account == "error") out.fail(1);
    if (r.head.account == "abstain") return;
    for (let i = 0; i < r.apps.length; i++) {
      const a = r.apps[i];
      const c = new souk.VersionChoice();
      c.choice = souk.Choice.Hold;
      c.code = a.candidates.length;
      c.reason = head(r.head) + join([number(a.item), number(a.installed), a.bundleId, a.channel]);
      for (let j = 0; j < a.candidates.length; j++) {
        const x = a.candidates[j];
        c.reason += join([
          number(x.version),
          number(x.releasedMs),
          number(x.minOs),
          number(x.flags),
          number(x.rollout),
          x.salt,
          x.short,
          x.build,
          x.channel,
        ]);
        if (c.choice == souk.Choice.Hold && x.minOs <= r.head.os && souk.bucket(r.head.bucketKey, x.salt) < x.rollout) c.choice = j;
      }
      out.push(c);
    }
  });
}

function show(r: souk.SignInRequest): souk.SignInAnswer {
  const answer = new souk.SignInAnswer();
  answer.outcome = souk.SignInOutcome.Page;
  answer.title = r.clientName;
  answer.message = head(r.head) + number(r.attempts);
  answer.html = "<p>hi</p><souk-form></souk-form>";
  answer.state = "step 1" + r.state;
  const email = new souk.FormField();
  email.name = "email";
  email.label = "Email";
  email.kind = "email";
  email.value = r.loginHint;
  const locale = new souk.FormField();
  locale.name = "locale";
  locale.label = r.locale;
  locale.kind = "note";
  locale.value = r.address;
  answer.fields = [email, locale];
  return answer;
}

function submit(r: souk.SignInRequest, out: souk.SignInAnswers): void {
  let email = "";
  let password = "";
  for (let i = 0; i < r.fields.length; i++) {
    if (r.fields[i].name == "email") email = r.fields[i].value;
    if (r.fields[i].name == "password") password = r.fields[i].value;
  }
  if (r.loginHint == "register") {
    const made = souk.passwordHash(password);
    if (!made.good || souk.kvPut(email, made.value) < 0) return out.fail(1);
  }
  const answer = new souk.SignInAnswer();
  answer.outcome = souk.SignInOutcome.Refused;
  answer.message = "Wrong email or password.";
  if (souk.passwordVerify(password, souk.kvGet(email).value) == 1) {
    answer.outcome = souk.SignInOutcome.Done;
    answer.message = "";
    answer.account = email;
    answer.displayName = "Person";
    answer.territory = "AUT";
    answer.grants = ["pro", "ß"];
  }
  out.push(answer);
}

export function sign_in(length: u32): u64 {
  return souk.signIn(length, (r, out) => {
    if (r.loginHint == "error") out.fail(1);
    if (r.method == souk.SignInMethod.Show) {
      out.push(show(r));
    } else if (r.method == souk.SignInMethod.Submit) {
      submit(r, out);
    } else if (r.method == souk.SignInMethod.Cancel) {
      const answer = new souk.SignInAnswer();
      answer.outcome = souk.SignInOutcome.Redirect;
      answer.location = "https://id.example.com/" + r.state;
      out.push(answer);
    }
  });
}

export function exchange(length: u32): u64 {
  return souk.exchange(length, (r, out) => {
    if (r.subjectToken == "error") out.fail(1);
    const answer = new souk.ExchangeAnswer();
    if (r.subjectToken == "mine") {
      answer.outcome = souk.ExchangeOutcome.Accepted;
      answer.account = "person-1";
      answer.reason = r.subjectTokenType;
      out.push(answer);
    } else if (r.subjectToken == "bad") {
      answer.outcome = souk.ExchangeOutcome.Refused;
      answer.reason = head(r.head);
      out.push(answer);
    } else if (r.subjectToken == "secret") {
      answer.outcome = souk.ExchangeOutcome.Refused;
      answer.reason = secret(r.subjectTokenType, r.head.client);
      out.push(answer);
    } else if (r.subjectToken == "fetch") {
      answer.outcome = souk.ExchangeOutcome.Refused;
      answer.reason = fetch(r.subjectTokenType, r.head.client);
      out.push(answer);
    }
  });
}
