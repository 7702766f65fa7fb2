//go:build !wasip1

package policy_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/plugins/accounts/policy"
	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

const secret = "wonderland"

// people fills the plugin's part of the store as the operator's command line
// does, and forgets it again after the test.
func people(t testing.TB) {
	t.Helper()
	souk.Reset()
	t.Cleanup(souk.Reset)
	hash, err := souk.PasswordHash(secret)
	if err != nil {
		t.Fatal(err)
	}
	for key, p := range map[string]policy.Person{
		"alice@example.com":     {Email: "Alice@example.com", Name: "Alice <A>", Password: hash},
		"bob@example.com":       {Email: "bob@example.com", Password: hash},
		"user+tag@example.com":  {Email: "user+tag@example.com", Name: "User", Password: hash},
		"gone@example.com":      {Email: "gone@example.com", Name: "Gone", Password: hash, Disabled: true},
		"new@example.com":       {Email: "new@example.com", Name: "New"}, // has no password yet
		"žofie@example.com":     {Email: "Žofie@example.com", Name: "Žofie", Password: hash},
		"two words@example.com": {Email: "two words@example.com", Name: "Quoted", Password: hash},
	} {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		put(t, key, b)
	}
}

func put(t testing.TB, account string, record []byte) {
	t.Helper()
	if err := souk.KVPut(policy.Prefix+account, record, 0); err != nil {
		t.Fatal(err)
	}
}

// ask puts one step to a policy as the host does: through the bytes of the
// request and of the verdict.
func ask(t testing.TB, p policy.Page, sent *abi.SignInRequest) abi.SignInAnswer {
	t.Helper()
	var req abi.SignInRequest
	if err := req.Read(sent.Append(nil)); err != nil {
		t.Fatal(err)
	}
	var v, got abi.SignInVerdict
	if err := p.SignIn(&req, &v); err != nil {
		t.Fatal(err)
	}
	if err := got.Read(v.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 1 {
		t.Fatalf("one step gets %d answers", len(got.Items))
	}
	return got.Items[0]
}

func submit(hint, email, password string) *abi.SignInRequest {
	return &abi.SignInRequest{Method: abi.SignInSubmit, LoginHint: hint, Fields: []abi.SubmittedField{
		{Name: policy.FieldEmail, Value: email}, {Name: policy.FieldPassword, Value: password}, {Name: "other", Value: "x"}}}
}

// fieldOf returns a field of a page.
func fieldOf(t *testing.T, a abi.SignInAnswer, name string) abi.FormField {
	t.Helper()
	for _, f := range a.Fields {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("the page has no field %s: %+v", name, a.Fields)
	return abi.FormField{}
}

func TestShow(t *testing.T) {
	people(t)
	for _, test := range []struct {
		name    string
		page    policy.Page
		req     abi.SignInRequest
		title   string
		message string
		email   string
		help    string
	}{
		{name: "without a hint the field is empty", title: "Sign in"},
		{name: "the client is named", req: abi.SignInRequest{ClientName: "Example Market"}, title: "Sign in to Example Market"},
		{name: "a hint is shown and filled in", req: abi.SignInRequest{LoginHint: "alice@example.com"}, title: "Sign in", message: "Sign in as alice@example.com.", email: "alice@example.com"},
		{name: "a hint is shown as it is spelt", req: abi.SignInRequest{LoginHint: "Alice@Example.com"}, title: "Sign in", message: "Sign in as Alice@Example.com.", email: "Alice@Example.com"},
		{name: "the plus of a hint is repaired", req: abi.SignInRequest{LoginHint: "user tag@example.com"}, title: "Sign in", message: "Sign in as user+tag@example.com.", email: "user+tag@example.com"},
		{name: "the plus is repaired for nobody's address too", req: abi.SignInRequest{LoginHint: "no body@example.com"}, title: "Sign in", message: "Sign in as no+body@example.com.", email: "no+body@example.com"},
		{name: "a hint that is no address keeps its spaces", req: abi.SignInRequest{LoginHint: "Alice A"}, title: "Sign in", message: "Sign in as Alice A.", email: "Alice A"},
		{name: "the operator's texts are shown", page: policy.Page{Title: "Welcome", Message: "Staff only.", Help: "Ask help@example.com."}, req: abi.SignInRequest{LoginHint: "alice@example.com", ClientName: "X"},
			title: "Welcome", message: "Sign in as alice@example.com. Staff only.", email: "alice@example.com", help: "Ask help@example.com."},
		{name: "two failed attempts are no news", req: abi.SignInRequest{Attempts: 2}, title: "Sign in"},
		{name: "after three failed attempts the page warns", req: abi.SignInRequest{Attempts: 3}, title: "Sign in", message: "After more failed attempts you will have to wait before you can try again."},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := ask(t, test.page, &test.req)
			if a.Outcome != abi.SignInPage || a.Title != test.title || a.Message != test.message {
				t.Errorf("page = %d %q %q, want %d %q %q", a.Outcome, a.Title, a.Message, abi.SignInPage, test.title, test.message)
			}
			if f := fieldOf(t, a, policy.FieldEmail); f.Kind != "email" || f.Value != test.email || f.Label == "" {
				t.Errorf("the email field is %+v, want the value %q", f, test.email)
			}
			if f := fieldOf(t, a, policy.FieldPassword); f.Kind != "password" || f.Value != "" || f.Label == "" {
				t.Errorf("the password field is %+v", f)
			}
			if test.help == "" && len(a.Fields) != 2 || test.help != "" && fieldOf(t, a, "help").Value != test.help {
				t.Errorf("the fields are %+v, want the help %q", a.Fields, test.help)
			}
		})
	}
}

func TestSubmitSignsIn(t *testing.T) {
	people(t)
	for _, test := range []struct{ name, hint, email, account string }{
		{"without a hint", "", "alice@example.com", "alice@example.com"},
		{"as the hinted account", "alice@example.com", "alice@example.com", "alice@example.com"},
		{"in any letters", "ALICE@example.com", "Alice@Example.COM", "alice@example.com"},
		{"letters beyond ASCII", "", "ŽOFIE@example.com", "žofie@example.com"},
		{"spaces around the address", "alice@example.com ", " alice@example.com\t", "alice@example.com"},
		{"a hint whose plus became a space", "user tag@example.com", "user+tag@example.com", "user+tag@example.com"},
		{"an address whose plus became a space", "user+tag@example.com", "user tag@example.com", "user+tag@example.com"},
		{"both spelt with the space", "user tag@example.com", "User tag@example.com", "user+tag@example.com"},
		{"an address that really has a space", "", "two words@example.com", "two words@example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := ask(t, policy.Page{}, submit(test.hint, test.email, secret))
			if a.Outcome != abi.SignInDone || a.Account != test.account {
				t.Errorf("answer = %+v, want %s signed in", a, test.account)
			}
		})
	}
	want := abi.SignInAnswer{Outcome: abi.SignInDone, Account: "alice@example.com", DisplayName: "Alice <A>"}
	if got := ask(t, policy.Page{}, submit("", "alice@example.com", secret)); !reflect.DeepEqual(got, want) {
		t.Errorf("answer = %+v, want %+v", got, want)
	}
}

// TestSubmitTellsNothing holds that whatever is wrong with an address or a
// password, the person reads the same page.
func TestSubmitTellsNothing(t *testing.T) {
	people(t)
	put(t, "broken@example.com", []byte(`{"password":7}`))
	long := strings.Repeat("a", 300) + "@example.com"
	for _, test := range []struct{ name, email, password string }{
		{"unknown", "nobody@example.com", secret},
		{"unknown with a space", "no body@example.com", secret},
		{"wrong password", "alice@example.com", "Wonderland"},
		{"wrong password with space around", "alice@example.com", " " + secret},
		{"disabled with the right password", "gone@example.com", secret},
		{"disabled with a wrong password", "gone@example.com", "x"},
		{"without a password yet", "new@example.com", secret},
		{"no address", "alice", secret},
		{"longer than any address", long, secret},
		{"the longest address that has a key", long[300-abi.MaxKVKey+len(policy.Prefix)+len("@example.com"):], secret},
		{"longer than any password", "alice@example.com", strings.Repeat("x", 2000)},
		{"a record that can't be read", "broken@example.com", secret},
		{"a key of the store", "../person/alice@example.com", secret},
	} {
		for _, hint := range []string{"", test.email} {
			t.Run(test.name+", hint "+hint[:min(len(hint), 8)], func(t *testing.T) {
				a := ask(t, policy.Page{}, submit(hint, test.email, test.password))
				want := ask(t, policy.Page{}, submit(hint, test.email, "another wrong one"))
				if a.Outcome != abi.SignInPage || !strings.HasPrefix(a.Message, "The email address or the password is not right.") {
					t.Errorf("answer = %d %q", a.Outcome, a.Message)
				}
				if !reflect.DeepEqual(a, want) {
					t.Errorf("the page %+v differs from that of another wrong password %+v", a, want)
				}
			})
		}
	}
}

func TestSubmitAsAnotherThanHinted(t *testing.T) {
	people(t)
	pages := map[string]bool{}
	for _, test := range []struct{ name, email, password string }{
		{"right password", "bob@example.com", secret},
		{"wrong password", "bob@example.com", "x"},
	} {
		a := ask(t, policy.Page{}, submit("alice@example.com", test.email, test.password))
		want := "That is another account than the one that this sign-in is for. Sign in as alice@example.com."
		if a.Outcome != abi.SignInPage || a.Message != want {
			t.Errorf("%s: answer = %+v, want a page that says %q", test.name, a, want)
		}
		pages[a.Message] = true
	}
	if len(pages) != 1 {
		t.Errorf("the page tells whether the other account's password was right: %v", pages)
	}
}

func TestSubmitIncomplete(t *testing.T) {
	people(t)
	for _, req := range []*abi.SignInRequest{submit("", "", secret), submit("", "alice@example.com", ""), submit("", " ", ""), {Method: abi.SignInSubmit}} {
		if a := ask(t, policy.Page{}, req); a.Outcome != abi.SignInPage || !strings.HasPrefix(a.Message, "Enter your email address and your password.") {
			t.Errorf("answer = %+v", a)
		}
	}
}

// TestPasswordStaysInside looks for the password in everything that leaves the
// policy.
func TestPasswordStaysInside(t *testing.T) {
	people(t)
	put(t, "broken@example.com", []byte(`{`))
	for _, email := range []string{"alice@example.com", "nobody@example.com", "gone@example.com", "broken@example.com", ""} {
		for _, hint := range []string{"", "alice@example.com"} {
			for _, password := range []string{secret, "wrong-" + secret} {
				a := ask(t, policy.Page{Message: "m", Help: "h"}, submit(hint, email, password))
				texts := []string{a.Account, a.DisplayName, a.Territory, a.Title, a.Message, a.HTML, a.Location, a.State}
				for _, f := range a.Fields {
					texts = append(texts, f.Name, f.Label, f.Kind, f.Value)
				}
				texts = slices.Concat(texts, a.Grants, souk.Logged())
				if i := slices.IndexFunc(texts, func(s string) bool { return strings.Contains(s, secret) }); i >= 0 {
					t.Errorf("signing in as %q the password is in %q", email, texts[i])
				}
			}
		}
	}
}

func TestBrokenRecordIsLogged(t *testing.T) {
	people(t)
	put(t, "broken@example.com", []byte(`{"name":[1]}`))
	ask(t, policy.Page{}, submit("", "broken@example.com", secret))
	got := souk.Logged()
	if len(got) != 1 || !strings.Contains(got[0], "person/broken@example.com") || !strings.Contains(got[0], "name: want a text") {
		t.Errorf("the log is %q", got)
	}
}

func TestRecordMayGrow(t *testing.T) {
	people(t)
	hash, err := souk.PasswordHash(secret)
	if err != nil {
		t.Fatal(err)
	}
	put(t, "eve@example.com", []byte(`{"email":"eve@example.com","name":null,"created":{"by":["x"]},"password":"`+hash+`"}`))
	if a := ask(t, policy.Page{}, submit("", "eve@example.com", secret)); a.Outcome != abi.SignInDone {
		t.Errorf("answer = %+v", a)
	}
}

// TestWhatTheAccountHoldsIsLeftAlone signs in with a record of an older version,
// which had more to say.
func TestWhatTheAccountHoldsIsLeftAlone(t *testing.T) {
	people(t)
	hash, err := souk.PasswordHash(secret)
	if err != nil {
		t.Fatal(err)
	}
	put(t, "eve@example.com", []byte(`{"email":"eve@example.com","territory":"AUT","grants":["sub:plus"],"password":"`+hash+`"}`))
	want := abi.SignInAnswer{Outcome: abi.SignInDone, Account: "eve@example.com"}
	if got := ask(t, policy.Page{}, submit("", "eve@example.com", secret)); !reflect.DeepEqual(got, want) {
		t.Errorf("answer = %+v, want %+v", got, want)
	}
}

func TestCancel(t *testing.T) {
	if a := ask(t, policy.Page{}, &abi.SignInRequest{Method: abi.SignInCancel}); a.Outcome != abi.SignInRefused || a.Message == "" {
		t.Errorf("answer = %+v", a)
	}
}

func TestOtherStepsAreErrors(t *testing.T) {
	for _, m := range []abi.SignInMethod{abi.SignInCallback, 99} {
		if err := (policy.Page{}).SignIn(&abi.SignInRequest{Method: m}, new(abi.SignInVerdict)); err == nil {
			t.Errorf("step %d of the sign-in has an answer", m)
		}
	}
}

func TestNew(t *testing.T) {
	p, err := policy.New([]byte(`{"title":"T","message":"M","help":"H"}`))
	if want := (policy.Page{Title: "T", Message: "M", Help: "H"}); err != nil || p != want {
		t.Errorf("New = %+v, %v, want %+v", p, err, want)
	}
	for _, test := range []struct{ config, wrong string }{
		{`{"titel":"T"}`, "titel: there is no such key"},
		{`{"title":1}`, "title: want a text, not a number"},
		{`{"help":"` + strings.Repeat("x", 2001) + `"}`, "help: the text is longer than 2000 bytes"},
		{`"T"`, "want a table"},
		{`{`, "key in quotes"},
	} {
		if _, err := policy.New([]byte(test.config)); err == nil || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("New(%.40s) = %v, want an error with %q", test.config, err, test.wrong)
		}
	}
}
