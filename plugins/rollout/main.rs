//! Rollout says which version of an app a device gets while versions are rolled
//! out in steps. The policy is in policy.rs; this is what makes it a plugin.
#![cfg_attr(target_arch = "wasm32", no_std)]

mod policy;

use policy::Rollout;
use souk::abi::{SelectVersionAnswers, SelectVersionRequest};
use souk::{Error, Line};

static mut ROLLOUT: Rollout = Rollout::new();
static mut WRONG: Line = Line::new(); // what configure answers lies here

fn configure<'j>(json: &'j str) -> Result<(), &'j str> {
    // Safety: an instance has one thread.
    let (rollout, wrong): (&mut Rollout, &'j mut Line) = unsafe { (&mut ROLLOUT, &mut WRONG) };
    *wrong = Line::new();
    match rollout.configure(json, wrong) {
        true => Ok(()),
        false => Err(wrong.as_str()),
    }
}

fn select_version(r: &SelectVersionRequest, out: &mut SelectVersionAnswers) -> Result<(), Error> {
    // Safety: an instance has one thread.
    unsafe { ROLLOUT }.select_version(r, out);
    Ok(())
}

souk::plugin!();
souk::panic_is_a_trap!();
souk::configure!(configure);
souk::select_version!(select_version);
