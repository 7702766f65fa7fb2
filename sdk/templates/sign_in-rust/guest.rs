//! Signs people in with an address and a password. The kv has the hash of each
//! password under "password/" and the address, as password_hash made it.
#![no_std]

use souk::abi::{Code, FormField, List, SignInAnswer, SignInAnswers, SignInMethod, SignInOutcome, SignInRequest};
use souk::{Error, Line};

souk::plugin!();
souk::panic_is_a_trap!();
souk::sign_in!(step);

fn step(r: &SignInRequest, out: &mut SignInAnswers) -> Result<(), Error> {
    match r.method {
        SignInMethod::SUBMIT => submit(r, out)?,
        SignInMethod::CANCEL => {
            let message = "The sign-in was cancelled.";
            out.push(&SignInAnswer { outcome: SignInOutcome::REFUSED, message, ..Default::default() });
        }
        _ => page(out, r.login_hint, ""),
    }
    Ok(())
}

fn page(out: &mut SignInAnswers, email: &str, message: &str) {
    out.push(&SignInAnswer {
        outcome: SignInOutcome::PAGE,
        title: "Sign in",
        message,
        fields: List::from(&[
            FormField { name: "email", label: "Email", kind: "email", value: email },
            FormField { name: "password", label: "Password", kind: "password", value: "" },
        ]),
        ..Default::default()
    });
}

fn submit(r: &SignInRequest, out: &mut SignInAnswers) -> Result<(), Error> {
    let (mut email, mut password, mut space, mut key) = ("", "", [0; 512], Line::new());
    for f in r.fields {
        match f.name {
            "email" => email = f.value,
            "password" => password = f.value,
            _ => {}
        }
    }
    let hash = match souk::kv_get(key.text("password/").text(email).as_str(), &mut space) {
        Err(Code::NOT_FOUND | Code::REFUSED) => Ok(&b""[..]),
        got => got.map_err(|_| Error(1)),
    }?;
    // Without a hash it takes as long: the page doesn't tell who has an account.
    match souk::password_verify(password, hash) {
        Ok(true) => out.push(&SignInAnswer { outcome: SignInOutcome::DONE, account: email, ..Default::default() }),
        _ => page(out, email, "Wrong email or password."),
    }
    Ok(())
}
