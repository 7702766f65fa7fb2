//! Each device gets the newest version that is rolled out to it.
#![no_std]

use souk::abi::{Candidate, Choice, List, SelectVersionAnswers, SelectVersionRequest, VersionChoice};

souk::plugin!();
souk::panic_is_a_trap!();
souk::select_version!(choose);

fn choose(r: &SelectVersionRequest, out: &mut SelectVersionAnswers) -> Result<(), souk::Error> {
    for app in r.apps {
        out.push(&pick(r.head.bucket_key, app.candidates));
    }
    Ok(())
}

fn pick<'a>(key: &str, candidates: List<'a, Candidate<'a>>) -> VersionChoice<'a> {
    for (i, c) in candidates.iter().enumerate() {
        if souk::rolled_out(key, &c) {
            return VersionChoice { choice: Choice(i as i32), code: 0, reason: "open" };
        }
    }
    VersionChoice { choice: Choice::HOLD, code: 0, reason: "not open yet" }
}
