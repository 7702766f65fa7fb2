package author

// The cases of the templates: they are the first that an author reads.

const selectCases = `
# What {{.Name}} has to answer. Run them with: souk plugin test
# What a case leaves out has a default: an update check of alice's iPhone.

[defaults]
hook = "select_version"

[[case]]
name = "the newest version is offered"
apps = [{ candidates = ["3.1.0", "3.0.0"] }]
expect = "3.1.0"

[[case]]
name = "while a version is open to nobody, the one before is offered"
apps = [{ candidates = [{ short = "3.1.0", rollout = "0%" }, "3.0.0"] }]
expect = "3.0.0"

[[case]]
name = "with nothing to fall back to it is held"
apps = [{ candidates = [{ short = "3.1.0", rollout = "0%" }] }]
[case.expect]
choice = "hold"
reason = "not open yet"

[[case]]
name = "a tenth gets it, and who that is depends on the salt: alice falls into bucket 355"
account = "alice@example.com"
apps = [{ candidates = [{ short = "3.1.0", rollout = "10%", salt = "autumn" }] }]
expect = "3.1.0"

[[case]]
name = "each app is decided for itself"
apps = [
  { candidates = ["2.0"] },
  { candidates = [{ short = "5.0", rollout = "0%" }] },
]
expect = ["2.0", "hold"]
`

const entitleCases = `
# What {{.Name}} has to answer. Run them with: souk plugin test
# What a case leaves out has a default: an update check of alice's for one app.

[defaults]
hook = "entitle"

[[case]]
name = "who has a subscription may have the app"
grants = ["sub:plus"]
expect = "allow"

[[case]]
name = "who has none may not, and the log says why"
grants = ["role:tester"]
[case.expect]
decision = "deny"
reason = "needs a subscription"

[[case]]
name = "each app is decided for itself"
grants = ["sub:plus"]
apps = [{ item = 1000001 }, { item = 1000002 }]
expect = ["allow", "allow"]
`

const signInCases = `
# What {{.Name}} has to answer. Run them with: souk plugin test
# The hash is of "wönderland", made as cheap as argon2id can be.

[defaults]
hook = "sign_in"
kv = { "password/alice@example.com" = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$18E48LkK3JSSF7h7YiRz3Q" }

[[case]]
name = "the page asks for an address and a password"
[case.expect]
outcome = "page"
fields = ["email", "password"]

[[case]]
name = "the right password signs in"
method = "submit"
fields = { email = "alice@example.com", password = "wönderland" }
[case.expect]
outcome = "signed in"
account = "alice@example.com"

[[case]]
name = "a wrong password and an unknown address lead to the same page"
[[case.steps]]
method = "submit"
fields = { email = "alice@example.com", password = "guess" }
expect = { outcome = "page", message = "Wrong email or password.", account = "" }
[[case.steps]]
method = "submit"
fields = { email = "nobody@example.com", password = "guess" }
expect = { outcome = "page", message = "Wrong email or password.", account = "" }

[[case]]
name = "cancel is no sign-in"
method = "cancel"
expect = "refused"
`

const exchangeCases = `
# What {{.Name}} has to answer. Run them with: souk plugin test
# The hash is of "wönderland", made as cheap as argon2id can be.

[defaults]
hook = "exchange"
subject_token = "t1.wönderland"
kv = { "token/t1" = "alice@example.com $argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$18E48LkK3JSSF7h7YiRz3Q" }

[[case]]
name = "a known token is its account's"
[case.expect]
outcome = "accepted"
account = "alice@example.com"

[[case]]
name = "with another secret it is refused"
subject_token = "t1.guess"
expect = { outcome = "refused", account = "" }

[[case]]
name = "an unknown token is left to the next plugin"
subject_token = "t2.wönderland"
expect = "abstain"
`
