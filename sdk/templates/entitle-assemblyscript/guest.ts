// Whoever has a subscription may have every app, and nobody else any.
import * as souk from "../../assemblyscript/assembly/index";
export { souk_abi_1, souk_buffer } from "../../assemblyscript/assembly/index";

export function entitle(length: u32): u64 {
  return souk.entitle(length, (r, out) => {
    const subscribed = r.head.grants.includes("sub:plus");
    for (let i = 0; i < r.apps.length; i++) {
      const answer = new souk.EntitleDecision();
      answer.decision = subscribed ? souk.Decision.Allow : souk.Decision.Deny;
      answer.reason = subscribed ? "has a subscription" : "needs a subscription";
      out.push(answer);
    }
  });
}
