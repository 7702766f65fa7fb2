// Region says in which territories and on which systems apps are to be had. The
// policy is in policy.ts, its configuration in config.ts; this is what makes them a
// plugin.
import * as souk from "../../sdk/assemblyscript/assembly/index";
import { configure as read } from "./config";
import { Policy, entitle as decide, selectVersions } from "./policy";
export { souk_abi_1, souk_buffer } from "../../sdk/assemblyscript/assembly/index";

const policy = new Policy();

export function configure(length: u32): u64 {
  return souk.configured(length, (json) => read(policy, json));
}

export function entitle(length: u32): u64 {
  return souk.entitle(length, (r, out) => {
    const decisions = decide(policy, r);
    for (let i = 0; i < decisions.length; i++) out.push(decisions[i]);
  });
}

export function select_version(length: u32): u64 {
  return souk.selectVersion(length, (r, out) => {
    const choices = selectVersions(policy, r);
    for (let i = 0; i < choices.length; i++) out.push(choices[i]);
  });
}
