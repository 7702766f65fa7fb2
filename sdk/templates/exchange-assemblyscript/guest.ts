// Knows whose subject token it is. A token is an id, a dot and a secret. The kv has
// under "token/" and the id the account, a space and the hash of the secret, as
// password_hash made it: who reads the store has no tokens.
import * as souk from "../../assemblyscript/assembly/index";
export { souk_abi_1, souk_buffer } from "../../assemblyscript/assembly/index";

export function exchange(length: u32): u64 {
  return souk.exchange(length, (r, out) => {
    const dot = r.subjectToken.indexOf(".");
    if (dot < 0) return; // it is none of ours: the next plugin may know it
    const record = souk.kvGet("token/" + r.subjectToken.substring(0, dot));
    if (record.code == souk.Code.Failed) return out.fail(1);
    if (!record.good) return;
    const space = record.text.indexOf(" ");
    const answer = new souk.ExchangeAnswer();
    answer.outcome = souk.ExchangeOutcome.Refused;
    answer.reason = "the secret is another";
    const hash = String.UTF8.encode(record.text.substring(space + 1));
    if (souk.passwordVerify(r.subjectToken.substring(dot + 1), hash) == 1) {
      answer.outcome = souk.ExchangeOutcome.Accepted;
      answer.account = record.text.substring(0, space);
      answer.reason = "";
    }
    out.push(answer);
  });
}
