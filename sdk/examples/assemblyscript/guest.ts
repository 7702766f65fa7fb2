// Each device gets the newest version that is rolled out to it.
import { Candidate, Choice, VersionChoice, rolledOut, selectVersion } from "../../assemblyscript/assembly/index";
export { souk_abi_1, souk_buffer } from "../../assemblyscript/assembly/index";

export function select_version(length: u32): u64 {
  return selectVersion(length, (r, out) => {
    for (let i = 0; i < r.apps.length; i++) {
      out.push(pick(r.head.bucketKey, r.apps[i].candidates));
    }
  });
}

function pick(key: string, candidates: Candidate[]): VersionChoice {
  const answer = new VersionChoice();
  for (let i = 0; i < candidates.length; i++) {
    if (rolledOut(key, candidates[i])) {
      answer.choice = i;
      answer.reason = "open";
      return answer;
    }
  }
  answer.choice = Choice.Hold;
  answer.reason = "not open yet";
  return answer;
}
