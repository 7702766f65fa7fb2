// Knows whose subject token it is. A token is an id, a dot and a secret. The kv has
// under "token/" and the id the account, a space and the hash of the secret, as
// password_hash made it: who reads the store has no tokens.
import { Code, ExchangeOutcome, HostError, kvGet, passwordVerify } from "../../javascript/index.js";

export function exchange(request) {
  const [id, secret] = cut(request.subjectToken, ".");
  const record = secret && unlessRefused(() => kvGet("token/" + id));
  if (!record) return undefined; // it is none of ours: the next plugin may know it
  const [account, hash] = cut(record, " ");
  return unlessRefused(() => passwordVerify(secret, hash))
    ? { outcome: ExchangeOutcome.Accepted, account }
    : { outcome: ExchangeOutcome.Refused, reason: "the secret is another" };
}

// cut divides a text at the first c; without one there is nothing behind it.
function cut(text, c) {
  const at = text.indexOf(c);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

// unlessRefused is undefined for what the host refuses, such as a key that is too
// long for one. Another error is a failure of the plugin.
function unlessRefused(call) {
  try {
    return call();
  } catch (e) {
    if (e instanceof HostError && e.code === Code.Refused) return undefined;
    throw e;
  }
}
