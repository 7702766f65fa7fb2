//! Knows whose subject token it is. A token is an id, a dot and a secret. The kv has
//! under "token/" and the id the account, a space and the hash of the secret, as
//! password_hash made it: who reads the store has no tokens.
#![no_std]

use souk::abi::{Code, ExchangeAnswer, ExchangeAnswers, ExchangeOutcome, ExchangeRequest};
use souk::{Error, Line};

souk::plugin!();
souk::panic_is_a_trap!();
souk::exchange!(whose);

fn whose(r: &ExchangeRequest, out: &mut ExchangeAnswers) -> Result<(), Error> {
    let (mut key, mut space) = (Line::new(), [0; 1024]);
    let (id, secret) = match r.subject_token.split_once('.') {
        Some(parts) => parts,
        None => return Ok(()), // it is none of ours: the next plugin may know it
    };
    let record = match souk::kv_get(key.text("token/").text(id).as_str(), &mut space) {
        Ok(record) => core::str::from_utf8(record).map_err(|_| Error(2))?,
        Err(Code::NOT_FOUND | Code::REFUSED) => return Ok(()),
        Err(_) => return Err(Error(1)),
    };
    let (account, hash) = record.split_once(' ').ok_or(Error(2))?;
    out.push(&match souk::password_verify(secret, hash.as_bytes()) {
        Ok(true) => ExchangeAnswer { outcome: ExchangeOutcome::ACCEPTED, account, ..Default::default() },
        _ => ExchangeAnswer { outcome: ExchangeOutcome::REFUSED, reason: "the secret is another", ..Default::default() },
    });
    Ok(())
}
