//go:build wasip1

// Signs people in with an address and a password. The kv has the hash of each
// password under "password/" and the address, as password_hash made it.
package main

import (
	"errors"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/signin"
)

func init() { signin.Handle(step) }

func main() {}

func step(r *abi.SignInRequest, v *abi.SignInVerdict) error {
	answer := page(r.LoginHint, "")
	switch r.Method {
	case abi.SignInSubmit:
		var err error
		if answer, err = submit(r); err != nil {
			return err
		}
	case abi.SignInCancel:
		answer = abi.SignInAnswer{Outcome: abi.SignInRefused, Message: "The sign-in was cancelled."}
	}
	v.Items = append(v.Items, answer)
	return nil
}

func page(email, message string) abi.SignInAnswer {
	return abi.SignInAnswer{Outcome: abi.SignInPage, Title: "Sign in", Message: message, Fields: []abi.FormField{
		{Name: "email", Label: "Email", Kind: "email", Value: email},
		{Name: "password", Label: "Password", Kind: "password"},
	}}
}

func submit(r *abi.SignInRequest) (abi.SignInAnswer, error) {
	var email, password string
	for _, f := range r.Fields {
		switch f.Name {
		case "email":
			email = strings.ToLower(f.Value)
		case "password":
			password = f.Value
		}
	}
	hash, err := souk.KVGet("password/" + email)
	if err != nil && !errors.Is(err, souk.ErrNotFound) && !errors.Is(err, souk.ErrRefused) {
		return abi.SignInAnswer{}, err
	}
	// Without a hash it takes as long: the page doesn't tell who has an account.
	if ok, _ := souk.PasswordVerify(password, string(hash)); ok {
		return abi.SignInAnswer{Outcome: abi.SignInDone, Account: email}, nil
	}
	return page(email, "Wrong email or password."), nil
}
