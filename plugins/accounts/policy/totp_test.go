//go:build !wasip1

package policy_test

import (
	"encoding/base32"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/souk-market/souk/plugins/accounts/policy"
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

// rfcSecret is that of RFC 6238 appendix B.
const rfcSecret = "12345678901234567890"

// guarded gives alice and the others a second step.
func guarded(t testing.TB, account string, change func(*policy.Person)) {
	t.Helper()
	b, err := souk.KVGet(policy.Prefix + account)
	if err != nil {
		t.Fatal(err)
	}
	var p policy.Person
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	p.TOTP = strings.TrimRight(base32.StdEncoding.EncodeToString([]byte(rfcSecret)), "=")
	if change != nil {
		change(&p)
	}
	if b, err = json.Marshal(p); err != nil {
		t.Fatal(err)
	}
	put(t, account, b)
}

// typed is the second step of a sign-in at a time in seconds.
func typed(state, code string, at uint64) *abi.SignInRequest {
	return &abi.SignInRequest{
		Head: abi.Head{NowMS: at * 1000}, Method: abi.SignInSubmit, State: state,
		Fields: []abi.SubmittedField{{Name: policy.FieldCode, Value: code}},
	}
}

// first signs in with the password and returns the page that asks for the code.
func first(t testing.TB) abi.SignInAnswer {
	t.Helper()
	a := ask(t, policy.Page{}, submit("", "alice@example.com", secret))
	if a.Outcome != abi.SignInPage || a.State == "" || len(a.Fields) != 1 || a.Fields[0].Kind != "code" || a.Account != "" {
		t.Fatalf("the right password leads to %+v, want a page that asks for a code", a)
	}
	return a
}

// The codes are the last six digits of RFC 6238 appendix B.
func TestCodesOfTheRFC(t *testing.T) {
	for at, code := range map[uint64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		people(t)
		guarded(t, "alice@example.com", nil)
		state := first(t).State
		for _, when := range []uint64{at - 30, at + 30, at} {
			souk.KVDelete(policy.UsedPrefix + "alice@example.com")
			if a := ask(t, policy.Page{}, typed(state, code, when)); a.Outcome != abi.SignInDone || a.Account != "alice@example.com" || a.DisplayName != "Alice <A>" {
				t.Errorf("the code of %d at %d leads to %+v, want alice signed in", at, when, a)
			}
		}
		for _, when := range []uint64{at - 90, at + 90} {
			souk.KVDelete(policy.UsedPrefix + "alice@example.com")
			if a := ask(t, policy.Page{}, typed(state, code, when)); a.Outcome != abi.SignInPage {
				t.Errorf("the code of %d at %d leads to %+v, want the page again", at, when, a)
			}
		}
	}
}

func TestWrongCodesShowThePageAgain(t *testing.T) {
	people(t)
	guarded(t, "alice@example.com", nil)
	state := first(t).State
	for _, code := range []string{"", "0", "287081", "28708", "2870820", "287082x", "²87082", strings.Repeat("2", 4000)} {
		a := ask(t, policy.Page{}, typed(state, code, 59))
		if a.Outcome != abi.SignInPage || a.State != state || !strings.Contains(a.Message, "The code is not right.") {
			t.Errorf("the code %.10q leads to %+v, want the page again", code, a)
		}
	}
	for _, code := range []string{"287 082", "287-082", " 287082 "} { // as apps show them
		souk.KVDelete(policy.UsedPrefix + "alice@example.com")
		if a := ask(t, policy.Page{}, typed(state, code, 59)); a.Outcome != abi.SignInDone {
			t.Errorf("the code %q leads to %+v, want alice signed in", code, a)
		}
	}
}

// RFC 6238 §5.2: a code is for one use, and so is every earlier one.
func TestACodeIsGoodOnce(t *testing.T) {
	people(t)
	guarded(t, "alice@example.com", nil)
	state := first(t).State
	var mu sync.Mutex
	signedIn := 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			a := ask(t, policy.Page{}, typed(state, "050471", 1111111111))
			mu.Lock()
			defer mu.Unlock()
			if a.Outcome == abi.SignInDone {
				signedIn++
			}
		})
	}
	wg.Wait()
	if signedIn != 1 {
		t.Errorf("16 uses of one code at once signed in %d times, want once", signedIn)
	}
	if a := ask(t, policy.Page{}, typed(state, "081804", 1111111111)); a.Outcome != abi.SignInPage {
		t.Errorf("the code of an earlier step leads to %+v, want the page again", a)
	}
}

// What the first step has proven may be worth nothing at the second.
func TestSecondStepLooksAgain(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*policy.Person)
		want   abi.SignInOutcome
	}{
		"nothing changed":                {func(*policy.Person) {}, abi.SignInDone},
		"disabled meanwhile":             {func(p *policy.Person) { p.Disabled = true }, abi.SignInPage},
		"another password meanwhile":     {func(p *policy.Person) { p.Password += "x" }, abi.SignInPage},
		"the second step taken away":     {func(p *policy.Person) { p.TOTP = "" }, abi.SignInDone},
		"another secret meanwhile":       {func(p *policy.Person) { p.TOTP = "GEZDGNBV" }, abi.SignInPage},
		"another name, which is no harm": {func(p *policy.Person) { p.Name = "A" }, abi.SignInDone},
	} {
		t.Run(name, func(t *testing.T) {
			people(t)
			guarded(t, "alice@example.com", nil)
			state := first(t).State
			guarded(t, "alice@example.com", test.change)
			if a := ask(t, policy.Page{}, typed(state, "287082", 59)); a.Outcome != test.want {
				t.Errorf("the right code leads to %+v, want outcome %d", a, test.want)
			}
		})
	}
	people(t)
	if a := ask(t, policy.Page{}, typed("nobody@example.com\nx", "287082", 59)); a.Outcome != abi.SignInPage || a.Account != "" {
		t.Errorf("the second step of an account that is gone leads to %+v, want the first page", a)
	}
}

// A wrong password must not tell that there is a second step.
func TestSecondStepIsForTheRightPassword(t *testing.T) {
	people(t)
	guarded(t, "alice@example.com", nil)
	a, b := ask(t, policy.Page{}, submit("", "alice@example.com", "wrong")), ask(t, policy.Page{}, submit("", "nobody@example.com", "wrong"))
	a.Fields, b.Fields = nil, nil
	if a.Message != b.Message || a.State != "" || a.Outcome != b.Outcome {
		t.Errorf("with a second step a wrong password leads to %+v, without an account to %+v", a, b)
	}
}

func TestSecretThatCannotBeRead(t *testing.T) {
	people(t)
	guarded(t, "alice@example.com", func(p *policy.Person) { p.TOTP = "not base32!" })
	state := first(t).State
	var v abi.SignInVerdict
	if err := (policy.Page{}).SignIn(typed(state, "287082", 59), &v); err == nil || !strings.Contains(err.Error(), "no base32") {
		t.Errorf("a secret that is no base32: %v, want a failure that names the record", err)
	}
}
