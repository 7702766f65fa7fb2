// Package policy is what the five conformance guests do: they say the same in
// the same order, so that one suite runs over all of them. It uses every hook,
// every field of every request and every host function; what to do is the
// account of a question, or the login hint of a sign-in.
package policy

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
)

var errTold = errors.New("told to fail")

var config string

// Configure keeps the configuration, unless it says otherwise.
func Configure(json []byte) error {
	if strings.Contains(string(json), `"refuse"`) {
		return errors.New("told to refuse")
	}
	config = string(json)
	return nil
}

// Entitle answers who may have which app.
func Entitle(r *abi.EntitleRequest, v *abi.EntitleVerdict) error {
	if r.Account == "error" {
		return errTold
	}
	if r.Account == "abstain" {
		return nil
	}
	for i := range r.Apps {
		a := &r.Apps[i]
		d := abi.EntitleDecision{Decision: abi.Deny, Code: a.Devices}
		for _, grant := range r.Grants {
			if grant == "sub:plus" {
				d.Decision = abi.Allow
			}
		}
		switch r.Account {
		case "bucket":
			d.Code = souk.Bucket(r.Client, r.Organization)
		case "config":
			d.Reason = config
		case "log":
			souk.Log(abi.LevelWarn, r.Organization)
		case "kv_get":
			b, err := souk.KVGet(r.Client)
			d.Reason = code(err) + " " + string(b)
		case "kv_put":
			d.Reason = code(souk.KVPut(r.Client, []byte(r.Organization), time.Minute))
		case "kv_delete":
			d.Reason = code(souk.KVDelete(r.Client))
		case "kv_swap":
			d.Reason = code(souk.KVSwap(r.Client, []byte(r.Territory), []byte(r.Organization)))
		case "kv_add":
			n, err := souk.KVAdd(r.Client, -7)
			d.Reason = code(err) + " " + number(n)
		case "hash":
			hash, err := souk.PasswordHash(r.Client)
			d.Reason = code(err) + " " + hash
		case "verify":
			ok, err := souk.PasswordVerify(r.Client, r.Organization)
			if d.Reason = code(err); ok {
				d.Reason = "1"
			}
		case "hmac":
			sum, err := souk.HMACSHA256([]byte(r.Client), []byte(r.Organization))
			d.Reason = code(err) + " " + hex.EncodeToString(sum)
		case "equal":
			d.Reason = "0"
			if souk.EqualCT([]byte(r.Client), []byte(r.Organization)) {
				d.Reason = "1"
			}
		case "metric":
			d.Reason = code(souk.MetricAdd(r.Client, int64(int32(a.Devices))))
		case "secret":
			d.Reason = secret(r.Client, r.Organization)
		case "fetch":
			d.Reason = fetch(r.Client, r.Organization)
		default:
			d.Reason = head(&r.Head) + join(number(int64(a.Item)), number(int64(a.Version)), number(int64(a.DevicesItem)), a.BundleID)
		}
		v.Items = append(v.Items, d)
	}
	return nil
}

// SelectVersion answers which version a device gets.
func SelectVersion(r *abi.SelectVersionRequest, v *abi.SelectVersionVerdict) error {
	if r.Account == "error" {
		return errTold
	}
	if r.Account == "abstain" {
		return nil
	}
	for i := range r.Apps {
		a := &r.Apps[i]
		c := abi.VersionChoice{Choice: abi.Hold, Code: uint32(len(a.Candidates))}
		c.Reason = head(&r.Head) + join(number(int64(a.Item)), number(int64(a.Installed)), a.BundleID, a.Channel)
		for j := range a.Candidates {
			x := &a.Candidates[j]
			c.Reason += join(number(int64(x.Version)), number(int64(x.ReleasedMS)), number(int64(x.MinOS)), number(int64(x.Flags)),
				number(int64(x.Rollout)), x.Salt, x.Short, x.Build, x.Channel)
			if c.Choice == abi.Hold && x.MinOS <= r.OS && souk.Bucket(r.BucketKey, x.Salt) < x.Rollout {
				c.Choice = abi.Choice(j)
			}
		}
		v.Items = append(v.Items, c)
	}
	return nil
}

// SignIn shows a page, and knows who registered.
func SignIn(r *abi.SignInRequest, v *abi.SignInVerdict) error {
	if r.LoginHint == "error" {
		return errTold
	}
	switch r.Method {
	case abi.SignInShow:
		v.Items = append(v.Items, abi.SignInAnswer{
			Outcome: abi.SignInPage, Title: r.ClientName, Message: head(&r.Head) + number(int64(r.Attempts)),
			HTML: "<p>hi</p><souk-form></souk-form>", State: "step 1" + r.State,
			Fields: []abi.FormField{
				{Name: "email", Label: "Email", Kind: "email", Value: r.LoginHint},
				{Name: "locale", Label: r.Locale, Kind: "note", Value: r.Address},
			},
		})
	case abi.SignInSubmit:
		var email, password string
		for _, f := range r.Fields {
			if f.Name == "email" {
				email = f.Value
			}
			if f.Name == "password" {
				password = f.Value
			}
		}
		if r.LoginHint == "register" {
			hash, err := souk.PasswordHash(password)
			if err != nil {
				return err
			}
			if err := souk.KVPut(email, []byte(hash), 0); err != nil {
				return err
			}
		}
		hash, _ := souk.KVGet(email)
		a := abi.SignInAnswer{Outcome: abi.SignInRefused, Message: "Wrong email or password."}
		if ok, _ := souk.PasswordVerify(password, string(hash)); ok {
			a = abi.SignInAnswer{Outcome: abi.SignInDone, Account: email, DisplayName: "Person", Territory: "AUT", Grants: []string{"pro", "ß"}}
		}
		v.Items = append(v.Items, a)
	case abi.SignInCancel:
		v.Items = append(v.Items, abi.SignInAnswer{Outcome: abi.SignInRedirect, Location: "https://id.example.com/" + r.State})
	}
	return nil
}

// Exchange knows two subject tokens.
func Exchange(r *abi.ExchangeRequest, v *abi.ExchangeVerdict) error {
	switch r.SubjectToken {
	case "error":
		return errTold
	case "mine":
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted, Account: "person-1", Reason: r.SubjectTokenType})
	case "bad":
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeRefused, Reason: head(&r.Head)})
	case "secret":
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeRefused, Reason: secret(r.SubjectTokenType, r.Client)})
	case "fetch":
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeRefused, Reason: fetch(r.SubjectTokenType, r.Client)})
	}
	return nil
}

// secret proves that it knows a secret without telling it.
func secret(name, data string) string {
	s, err := souk.Secret(name)
	if err != nil {
		return code(err) + " "
	}
	sum, err := souk.HMACSHA256([]byte(s), []byte(data))
	return code(err) + " " + hex.EncodeToString(sum)
}

// fetch asks another server and says what it answered.
func fetch(url, body string) string {
	q := abi.FetchRequest{Method: "POST", URL: url, Headers: []abi.FetchHeader{{Name: "accept", Value: "text/plain"}, {Name: "x-souk", Value: "ß"}}, Body: body}
	var a abi.FetchResponse
	if err := souk.Fetch(&q, &a); err != nil {
		return code(err) + " "
	}
	s := code(nil) + " " + join(number(int64(a.Status)))
	for i := range a.Headers {
		if strings.HasPrefix(a.Headers[i].Name, "x-") {
			s += join(a.Headers[i].Name, a.Headers[i].Value)
		}
	}
	return s + a.Body
}

// head says what is in the head of a request, but for the account.
func head(h *abi.Head) string {
	return join(number(int64(h.Minor)), number(int64(h.NowMS)), number(int64(h.Purpose)), number(int64(h.Flags)), number(int64(h.Seed)),
		h.Client, number(int64(h.Platform)), number(int64(h.OS)), h.Territory, h.BucketKey, h.Organization) + join(h.Grants...)
}

// join writes each part and a space behind it.
func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p)
		b.WriteByte(' ')
	}
	return b.String()
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// code is the number that the host answered.
func code(err error) string {
	n := abi.Code(0)
	switch {
	case err == nil:
	case errors.Is(err, souk.ErrNotFound):
		n = abi.CodeNotFound
	case errors.Is(err, souk.ErrRefused):
		n = abi.CodeRefused
	case errors.Is(err, souk.ErrConflict):
		n = abi.CodeConflict
	default:
		n = abi.CodeFailed
	}
	return number(int64(n))
}
