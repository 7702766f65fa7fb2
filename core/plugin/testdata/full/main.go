//go:build wasip1

// Full is a guest that uses every host function and misbehaves when it is told
// to: what to do is the login hint of a sign-in, the client of an exchange and
// the account of an entitle question.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/entitle"
	"github.com/souk-market/souk/sdk/go/exchange"
	"github.com/souk-market/souk/sdk/go/signin"
)

func init() {
	entitle.Handle(decide)
	signin.Handle(signIn)
	exchange.Handle(redeem)
}

func main() {}

func decide(r *abi.EntitleRequest, v *abi.EntitleVerdict) error {
	d := abi.EntitleDecision{}
	switch {
	case strings.HasPrefix(r.Account, "kv:"):
		d.Reason = useKV(strings.TrimPrefix(r.Account, "kv:"))
	case strings.HasPrefix(r.Account, "hmac:"):
		key, data, _ := strings.Cut(strings.TrimPrefix(r.Account, "hmac:"), ":")
		k, _ := hex.DecodeString(key)
		b, _ := hex.DecodeString(data)
		mac, err := souk.HMACSHA256(k, b)
		d.Reason = hex.EncodeToString(mac) + " " + text(err)
	case strings.HasPrefix(r.Account, "equal:"):
		a, b, _ := strings.Cut(strings.TrimPrefix(r.Account, "equal:"), ":")
		d.Reason = strconv.FormatBool(souk.EqualCT([]byte(a), []byte(b)))
	case strings.HasPrefix(r.Account, "metric:"):
		d.Reason = text(souk.MetricAdd(strings.TrimPrefix(r.Account, "metric:"), 2))
	case r.Account == "secret":
		_, err := souk.Secret("client_secret")
		d.Reason = text(err) + " " + stolen
	case r.Account == "fetch":
		d.Reason = fetch("GET https://id.example.com/")
	case r.Account == "bucket":
		d.Code = souk.Bucket(r.BucketKey, "salt")
	case r.Account == "time":
		before := time.Now()
		time.Sleep(time.Hour)
		d.Reason = strconv.FormatInt(before.UnixMilli(), 10) + " " + time.Since(before).String()
	case r.Account == "random":
		b := make([]byte, 16)
		rand.Read(b)
		d.Reason = hex.EncodeToString(b)
	case r.Account == "file":
		_, err := os.ReadFile("/etc/passwd")
		d.Reason = text(err) + " " + strconv.Itoa(len(os.Args)) + " " + strconv.Itoa(len(os.Environ()))
	case r.Account == "log":
		souk.Log(abi.LevelWarn, "a line\x1b[31m with colour")
		os.Stdout.WriteString("standard output\n")
		os.Stderr.WriteString("standard error, no newline")
	case r.Account == "alloc":
		for range 100 {
			kept[next%len(kept)] = make([]byte, 2000)
			next++
		}
	case r.Account == "panic":
		panic("the guest's own panic")
	case r.Account == "exit":
		os.Exit(3)
	case r.Account == "error":
		return errors.New("no answer today")
	case r.Account == "abstain":
		return nil
	case r.Account == "hash":
		_, err := souk.PasswordHash("secret")
		d.Reason = text(err)
	}
	for range r.Apps {
		v.Items = append(v.Items, d)
	}
	return nil
}

// kept is some garbage, so that the guest's own collector runs.
var (
	kept [1000][]byte
	next int
)

func text(err error) string {
	if err == nil {
		return "good"
	}
	return err.Error()
}

func useKV(op string) string {
	switch op {
	case "get":
		b, err := souk.KVGet("key")
		return string(b) + " " + text(err)
	case "put":
		return text(souk.KVPut("key", []byte("value"), time.Minute))
	case "delete":
		return text(souk.KVDelete("key"))
	case "swap":
		return text(souk.KVSwap("key", nil, []byte("first")))
	case "add":
		n, err := souk.KVAdd("count", 5)
		return strconv.FormatInt(n, 10) + " " + text(err)
	case "large":
		return text(souk.KVPut("key", make([]byte, 64<<10+1), 0))
	case "longkey":
		return text(souk.KVPut(strings.Repeat("k", 257), nil, 0))
	}
	return "unknown"
}

// useSecret does with a secret what no plugin should.
func useSecret(what string, v *abi.SignInVerdict) error {
	s, err := souk.Secret("client_secret")
	if err != nil {
		return err
	}
	stolen = s
	a := abi.SignInAnswer{Outcome: abi.SignInPage, Title: strconv.Itoa(len(s))}
	switch what {
	case "log":
		souk.Log(abi.LevelWarn, "the key is "+s+"!")
	case "cut":
		souk.Log(abi.LevelWarn, strings.Repeat("x", 4080)+s)
		os.Stderr.WriteString(strings.Repeat("x", 4080) + s + "\n")
	case "stderr":
		os.Stderr.WriteString("the key is " + s + "!\n")
	case "panic":
		panic(s)
	case "error":
		return errors.New("bad key " + s)
	case "title":
		a.Title, a.Message, a.HTML = s, "the key is "+s, "<p>"+s
		a.Fields = []abi.FormField{{Name: "key", Label: s, Kind: "hidden", Value: s}}
	case "kind":
		a.Fields = []abi.FormField{{Name: "key", Kind: s}}
	case "name":
		a.Fields = []abi.FormField{{Name: s, Kind: "text"}}
	case "state":
		a.State = s
	case "redirect":
		a.Outcome, a.Location = abi.SignInRedirect, "https://id.example.com/?key="+s
	case "elsewhere":
		a.Outcome, a.Location = abi.SignInRedirect, "https://"+s
	case "account":
		a.Outcome, a.Account = abi.SignInDone, s
	case "grant":
		a.Outcome, a.Account, a.Grants = abi.SignInDone, "person-1", []string{s}
	}
	v.Items = append(v.Items, a)
	return nil
}

var stolen string // what another question saw

func signIn(r *abi.SignInRequest, v *abi.SignInVerdict) error {
	if what, ok := strings.CutPrefix(r.LoginHint, "secret:"); ok {
		return useSecret(what, v)
	}
	if r.LoginHint == "random" {
		b := make([]byte, 32)
		rand.Read(b)
		v.Items = append(v.Items, abi.SignInAnswer{Outcome: abi.SignInPage, State: hex.EncodeToString(b)})
		return nil
	}
	if r.Method == abi.SignInShow {
		v.Items = append(v.Items, abi.SignInAnswer{
			Outcome: abi.SignInPage, Title: "Hello", State: "step 1",
			Fields: []abi.FormField{
				{Name: "email", Label: "Email", Kind: "email", Value: r.LoginHint},
				{Name: "password", Label: "Password", Kind: "password"},
			},
		})
		return nil
	}
	var email, password string
	for _, f := range r.Fields {
		switch f.Name {
		case "email":
			email = f.Value
		case "password":
			password = f.Value
		}
	}
	switch r.LoginHint {
	case "leak":
		os.Stderr.WriteString("somebody typed " + password + "\n")
	case "panic":
		panic("bad password " + password)
	case "register":
		hash, err := souk.PasswordHash(password)
		if err != nil {
			return err
		}
		if err := souk.KVPut("person/"+email, []byte(hash), 0); err != nil {
			return err
		}
	}
	hash, err := souk.KVGet("person/" + email)
	if err != nil && !errors.Is(err, souk.ErrNotFound) {
		return err
	}
	a := abi.SignInAnswer{Outcome: abi.SignInRefused, Message: "Wrong email or password."}
	if ok, err := souk.PasswordVerify(password, string(hash)); err != nil {
		return err
	} else if ok {
		a = abi.SignInAnswer{Outcome: abi.SignInDone, Account: "person-1", DisplayName: email, Grants: []string{"pro"}}
	}
	v.Items = append(v.Items, a)
	return nil
}

// fetch does what an order says, "METHOD URL", lines with headers, an empty line
// and a body, and tells what came of it.
func fetch(order string) string {
	head, body, _ := strings.Cut(order, "\n\n")
	lines := strings.Split(head, "\n")
	q := abi.FetchRequest{Body: body}
	q.Method, q.URL, _ = strings.Cut(lines[0], " ")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		q.Headers = append(q.Headers, abi.FetchHeader{Name: name, Value: value})
	}
	var a abi.FetchResponse
	if err := souk.Fetch(&q, &a); err != nil {
		return err.Error()
	}
	told := strconv.Itoa(int(a.Status))
	for _, h := range a.Headers {
		if strings.HasPrefix(h.Name, "x-") {
			told += " " + h.Name + "=" + h.Value
		}
	}
	if len(a.Body) > 1000 {
		return told + " " + strconv.Itoa(len(a.Body)) + " bytes"
	}
	return told + " " + a.Body
}

func redeem(r *abi.ExchangeRequest, v *abi.ExchangeVerdict) error {
	if order, ok := strings.CutPrefix(r.SubjectToken, "fetch "); ok {
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeRefused, Reason: fetch(order)})
		return nil
	}
	switch r.SubjectToken {
	case "secret":
		s, err := souk.Secret("client_secret")
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeRefused, Reason: s + " " + text(err)})
	case "secret account":
		s, _ := souk.Secret("client_secret")
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted, Account: s})
	case "mine":
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted, Account: "person-1"})
	case "bad":
		v.Items = append(v.Items, abi.ExchangeAnswer{Outcome: abi.ExchangeRefused, Reason: "expired"})
	}
	return nil
}
