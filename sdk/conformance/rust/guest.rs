//! The conformance guest in Rust: what ../go/policy says, in the same order.
#![no_std]

use souk::abi::*;
use souk::{Error, Line};

static mut CONFIG: Line = Line::new();

fn configure(json: &str) -> Result<(), &str> {
    if json.contains("\"refuse\"") {
        return Err("told to refuse");
    }
    let mut line = Line::new();
    line.text(json);
    // Safety: an instance has one thread.
    unsafe { CONFIG = line };
    Ok(())
}

/// Writes a text and a space behind it.
fn part(line: &mut Line, text: &str) {
    line.text(text).text(" ");
}

fn number(line: &mut Line, n: u64) {
    line.number(n as i64).text(" ");
}

/// Says what is in the head of a request, but for the account.
fn head(line: &mut Line, h: &Head) {
    number(line, h.minor.into());
    number(line, h.now_ms);
    number(line, h.purpose.0.into());
    number(line, h.flags.into());
    number(line, h.seed);
    part(line, h.client);
    number(line, h.platform.0.into());
    number(line, h.os.into());
    part(line, h.territory);
    part(line, h.bucket_key);
    part(line, h.organization);
    for grant in h.grants {
        part(line, grant);
    }
}

fn code<T>(answer: &Result<T, Code>) -> i64 {
    match answer {
        Ok(_) => 0,
        Err(code) => code.0.into(),
    }
}

fn text<'a>(b: &'a [u8]) -> &'a str {
    core::str::from_utf8(b).unwrap_or("")
}

/// Says the HMAC of a text, or a code.
fn prove(line: &mut Line, key: &[u8], data: &str) {
    let sum = souk::hmac_sha256(key, data.as_bytes());
    line.number(code(&sum)).text(" ");
    for b in sum.unwrap_or_default() {
        for digit in [b >> 4, b & 15] {
            line.text(text(&[b"0123456789abcdef"[digit as usize]]));
        }
    }
}

/// Proves that it knows a secret without telling it.
fn secret(line: &mut Line, name: &str, data: &str) {
    let mut space = [0; 512];
    match souk::secret(name, &mut space) {
        Ok(s) => prove(line, s.as_bytes(), data),
        Err(code) => {
            line.number(code.0.into()).text(" ");
        }
    }
}

/// Asks another server and says what it answered.
fn fetch(line: &mut Line, url: &str, body: &str) {
    let mut space = [0; 4096];
    let headers = [FetchHeader { name: "accept", value: "text/plain" }, FetchHeader { name: "x-souk", value: "ß" }];
    let q = FetchRequest { method: "POST", url, headers: List::from(&headers), body, ..Default::default() };
    let a = souk::fetch(&q, &mut space);
    line.number(code(&a)).text(" ");
    if let Ok(a) = a {
        number(line, a.status.into());
        for h in a.headers.iter().filter(|h| h.name.starts_with("x-")) {
            part(line, h.name);
            part(line, h.value);
        }
        line.text(a.body);
    }
}

fn entitle(r: &EntitleRequest, out: &mut EntitleAnswers) -> Result<(), Error> {
    let Head { account, client, organization, territory, .. } = r.head;
    if account == "error" {
        return Err(Error(1));
    }
    if account == "abstain" {
        return Ok(());
    }
    for a in r.apps {
        let mut d = EntitleDecision { decision: Decision::DENY, code: a.devices, reason: "" };
        if r.head.grants.iter().any(|grant| grant == "sub:plus") {
            d.decision = Decision::ALLOW;
        }
        let (mut line, mut space) = (Line::new(), [0; 512]);
        match account {
            "bucket" => d.code = souk::bucket(client, organization),
            "config" => {
                // Safety: an instance has one thread.
                line = unsafe { CONFIG };
            }
            "log" => souk::log(Level::WARN, organization),
            "kv_get" => {
                let got = souk::kv_get(client, &mut space);
                line.number(code(&got)).text(" ").text(text(got.unwrap_or(b"")));
            }
            "kv_put" => {
                line.number(code(&souk::kv_put(client, organization.as_bytes(), 60)));
            }
            "kv_delete" => {
                line.number(code(&souk::kv_delete(client)));
            }
            "kv_swap" => {
                line.number(code(&souk::kv_swap(client, territory.as_bytes(), organization.as_bytes())));
            }
            "kv_add" => {
                let sum = souk::kv_add(client, -7);
                line.number(code(&sum)).text(" ").number(sum.unwrap_or(0));
            }
            "hash" => {
                let hash = souk::password_hash(client, &mut space);
                line.number(code(&hash)).text(" ").text(hash.unwrap_or(""));
            }
            "verify" => {
                let same = souk::password_verify(client, organization.as_bytes());
                line.number(if same == Ok(true) { 1 } else { code(&same) });
            }
            "hmac" => prove(&mut line, client.as_bytes(), organization),
            "equal" => {
                line.number(souk::equal_ct(client.as_bytes(), organization.as_bytes()).into());
            }
            "metric" => {
                line.number(code(&souk::metric_add(client, (a.devices as i32).into())));
            }
            "secret" => secret(&mut line, client, organization),
            "fetch" => fetch(&mut line, client, organization),
            _ => {
                head(&mut line, &r.head);
                number(&mut line, a.item);
                number(&mut line, a.version);
                number(&mut line, a.devices_item.into());
                part(&mut line, a.bundle_id);
            }
        }
        d.reason = line.as_str();
        out.push(&d);
    }
    Ok(())
}

fn select_version(r: &SelectVersionRequest, out: &mut SelectVersionAnswers) -> Result<(), Error> {
    if r.head.account == "error" {
        return Err(Error(1));
    }
    if r.head.account == "abstain" {
        return Ok(());
    }
    for a in r.apps {
        let mut c = VersionChoice { choice: Choice::HOLD, code: a.candidates.len() as u32, reason: "" };
        let mut line = Line::new();
        head(&mut line, &r.head);
        number(&mut line, a.item);
        number(&mut line, a.installed);
        part(&mut line, a.bundle_id);
        part(&mut line, a.channel);
        for (j, x) in a.candidates.iter().enumerate() {
            number(&mut line, x.version);
            number(&mut line, x.released_ms);
            number(&mut line, x.min_os.into());
            number(&mut line, x.flags.0.into());
            number(&mut line, x.rollout.into());
            part(&mut line, x.salt);
            part(&mut line, x.short);
            part(&mut line, x.build);
            part(&mut line, x.channel);
            if c.choice == Choice::HOLD && x.min_os <= r.head.os && souk::bucket(r.head.bucket_key, x.salt) < x.rollout {
                c.choice = Choice(j as i32);
            }
        }
        c.reason = line.as_str();
        out.push(&c);
    }
    Ok(())
}

fn show(r: &SignInRequest, out: &mut SignInAnswers) {
    let (mut message, mut state) = (Line::new(), Line::new());
    head(&mut message, &r.head);
    message.number(r.attempts.into());
    state.text("step 1").text(r.state);
    out.push(&SignInAnswer {
        outcome: SignInOutcome::PAGE,
        title: r.client_name,
        message: message.as_str(),
        html: "<p>hi</p><souk-form></souk-form>",
        state: state.as_str(),
        fields: List::from(&[
            FormField { name: "email", label: "Email", kind: "email", value: r.login_hint },
            FormField { name: "locale", label: r.locale, kind: "note", value: r.address },
        ]),
        ..Default::default()
    });
}

fn submit(r: &SignInRequest, out: &mut SignInAnswers) -> Result<(), Error> {
    let (mut email, mut password, mut space) = ("", "", [0; 512]);
    for f in r.fields {
        if f.name == "email" {
            email = f.value;
        }
        if f.name == "password" {
            password = f.value;
        }
    }
    if r.login_hint == "register" {
        let hash = souk::password_hash(password, &mut space).map_err(|_| Error(1))?;
        souk::kv_put(email, hash.as_bytes(), 0).map_err(|_| Error(1))?;
    }
    let hash = souk::kv_get(email, &mut space).unwrap_or(b"");
    out.push(&match souk::password_verify(password, hash) {
        Ok(true) => SignInAnswer {
            outcome: SignInOutcome::DONE,
            account: email,
            display_name: "Person",
            territory: "AUT",
            grants: List::from(&["pro", "ß"]),
            ..Default::default()
        },
        _ => SignInAnswer { outcome: SignInOutcome::REFUSED, message: "Wrong email or password.", ..Default::default() },
    });
    Ok(())
}

fn sign_in(r: &SignInRequest, out: &mut SignInAnswers) -> Result<(), Error> {
    if r.login_hint == "error" {
        return Err(Error(1));
    }
    match r.method {
        SignInMethod::SHOW => show(r, out),
        SignInMethod::SUBMIT => submit(r, out)?,
        SignInMethod::CANCEL => {
            let mut location = Line::new();
            location.text("https://id.example.com/").text(r.state);
            out.push(&SignInAnswer { outcome: SignInOutcome::REDIRECT, location: location.as_str(), ..Default::default() });
        }
        _ => {}
    }
    Ok(())
}

fn exchange(r: &ExchangeRequest, out: &mut ExchangeAnswers) -> Result<(), Error> {
    match r.subject_token {
        "error" => return Err(Error(1)),
        "mine" => out.push(&ExchangeAnswer {
            outcome: ExchangeOutcome::ACCEPTED,
            account: "person-1",
            reason: r.subject_token_type,
            ..Default::default()
        }),
        "bad" => {
            let mut line = Line::new();
            head(&mut line, &r.head);
            out.push(&ExchangeAnswer { outcome: ExchangeOutcome::REFUSED, reason: line.as_str(), ..Default::default() });
        }
        "secret" | "fetch" => {
            let mut line = Line::new();
            match r.subject_token {
                "secret" => secret(&mut line, r.subject_token_type, r.head.client),
                _ => fetch(&mut line, r.subject_token_type, r.head.client),
            }
            out.push(&ExchangeAnswer { outcome: ExchangeOutcome::REFUSED, reason: line.as_str(), ..Default::default() });
        }
        _ => {}
    }
    Ok(())
}

souk::plugin!();
souk::panic_is_a_trap!();
souk::configure!(configure);
souk::entitle!(entitle);
souk::select_version!(select_version);
souk::sign_in!(sign_in);
souk::exchange!(exchange);
