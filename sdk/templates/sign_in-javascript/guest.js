// Signs people in with an address and a password. The kv has the hash of each
// password under "password/" and the address, as password_hash made it.
import { Code, HostError, SignInMethod, SignInOutcome, kvGet, passwordVerify } from "../../javascript/index.js";

export function signIn(request) {
  switch (request.method) {
    case SignInMethod.Submit:
      return submit(request);
    case SignInMethod.Cancel:
      return { outcome: SignInOutcome.Refused, message: "The sign-in was cancelled." };
    default:
      return page(request.loginHint, "");
  }
}

function page(email, message) {
  return {
    outcome: SignInOutcome.Page,
    title: "Sign in",
    message,
    fields: [
      { name: "email", label: "Email", kind: "email", value: email },
      { name: "password", label: "Password", kind: "password" },
    ],
  };
}

function submit(request) {
  const typed = (name) => request.fields.find((f) => f.name === name)?.value ?? "";
  const email = typed("email").toLowerCase();
  // Without a hash it takes as long: the page doesn't tell who has an account.
  if (unlessRefused(() => passwordVerify(typed("password"), unlessRefused(() => kvGet("password/" + email)) ?? ""))) {
    return { outcome: SignInOutcome.Done, account: email };
  }
  return page(email, "Wrong email or password.");
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
