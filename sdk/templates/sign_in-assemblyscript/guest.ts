// Signs people in with an address and a password. The kv has the hash of each
// password under "password/" and the address, as password_hash made it.
import * as souk from "../../assemblyscript/assembly/index";
export { souk_abi_1, souk_buffer } from "../../assemblyscript/assembly/index";

export function sign_in(length: u32): u64 {
  return souk.signIn(length, (r, out) => {
    if (r.method == souk.SignInMethod.Submit) {
      submit(r, out);
    } else if (r.method == souk.SignInMethod.Cancel) {
      const answer = new souk.SignInAnswer();
      answer.outcome = souk.SignInOutcome.Refused;
      answer.message = "The sign-in was cancelled.";
      out.push(answer);
    } else {
      out.push(page(r.loginHint, ""));
    }
  });
}

function page(email: string, message: string): souk.SignInAnswer {
  const answer = new souk.SignInAnswer();
  answer.outcome = souk.SignInOutcome.Page;
  answer.title = "Sign in";
  answer.message = message;
  answer.fields = [field("email", "Email", email), field("password", "Password", "")];
  return answer;
}

function field(name: string, label: string, value: string): souk.FormField {
  const f = new souk.FormField();
  f.name = name;
  f.label = label;
  f.kind = name;
  f.value = value;
  return f;
}

function submit(r: souk.SignInRequest, out: souk.SignInAnswers): void {
  let email = "";
  let password = "";
  for (let i = 0; i < r.fields.length; i++) {
    if (r.fields[i].name == "email") email = r.fields[i].value.toLowerCase();
    if (r.fields[i].name == "password") password = r.fields[i].value;
  }
  const hash = souk.kvGet("password/" + email);
  if (hash.code == souk.Code.Failed) return out.fail(1);
  // Without a hash it takes as long: the page doesn't tell who has an account.
  if (souk.passwordVerify(password, hash.value) == 1) {
    const answer = new souk.SignInAnswer();
    answer.outcome = souk.SignInOutcome.Done;
    answer.account = email;
    out.push(answer);
  } else {
    out.push(page(email, "Wrong email or password."));
  }
}
