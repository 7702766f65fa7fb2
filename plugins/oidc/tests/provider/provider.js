// An OpenID provider for the tests: oidc-provider with the development pages of its
// own, on a free port of this machine. It says on standard output where it is, one
// JSON text a line, and takes commands on standard input:
//
//   keys ALG   from now on it signs with a new key, and the old ones are gone
//   quit
//
// Arguments: the client as JSON (client_id, client_secret, redirect_uris, …).
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

console.info = console.error; // its notices: standard output is ours
const client = JSON.parse(process.argv[2]);

function key(alg) {
  const { privateKey } = alg === "ES256"
    ? generateKeyPairSync("ec", { namedCurve: "P-256" })
    : generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg };
}

// Everybody exists, and each has the address that she signs in with.
async function findAccount(_, sub) {
  return {
    accountId: sub,
    claims: async () => ({ sub, email: `${sub}@example.com`, email_verified: true, name: `${sub} of the provider`, groups: ["staff"] }),
  };
}

let handle;
let issuer;

function sign(alg) {
  const provider = new Provider(issuer, {
    clients: [{ ...client, id_token_signed_response_alg: alg }],
    jwks: { keys: [key(alg)] },
    claims: { openid: ["sub", "groups"], email: ["email", "email_verified"], profile: ["name"] },
    cookies: { keys: ["not a secret: this is a test"] },
    findAccount,
    pkce: { required: () => true },
  });
  provider.on("server_error", (_, err) => console.error(err));
  handle = provider.callback();
}

const server = createServer((req, res) => handle(req, res));
server.listen(0, "localhost", () => {
  issuer = `http://localhost:${server.address().port}`;
  sign("RS256");
  console.log(JSON.stringify({ issuer }));
});

for await (const line of createInterface({ input: process.stdin })) {
  const [command, alg] = line.split(" ");
  if (command === "keys") {
    sign(alg);
    console.log(JSON.stringify({ keys: alg }));
  } else {
    break;
  }
}
process.exit(0); // also when the test is gone
