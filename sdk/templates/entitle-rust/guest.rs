//! Whoever has a subscription may have every app, and nobody else any.
#![no_std]

use souk::abi::{Decision, EntitleAnswers, EntitleDecision, EntitleRequest};

souk::plugin!();
souk::panic_is_a_trap!();
souk::entitle!(decide);

fn decide(r: &EntitleRequest, out: &mut EntitleAnswers) -> Result<(), souk::Error> {
    let subscribed = r.head.grants.iter().any(|grant| grant == "sub:plus");
    for _ in r.apps {
        out.push(&match subscribed {
            true => EntitleDecision { decision: Decision::ALLOW, code: 0, reason: "has a subscription" },
            false => EntitleDecision { decision: Decision::DENY, code: 0, reason: "needs a subscription" },
        });
    }
    Ok(())
}
