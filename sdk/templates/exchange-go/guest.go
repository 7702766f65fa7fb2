//go:build wasip1

// Knows whose subject token it is. A token is an id, a dot and a secret. The kv has
// under "token/" and the id the account, a space and the hash of the secret, as
// password_hash made it: who reads the store has no tokens.
package main

import (
	"errors"
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/exchange"
)

func init() { exchange.Handle(whose) }

func main() {}

func whose(r *abi.ExchangeRequest, v *abi.ExchangeVerdict) error {
	id, secret, ok := strings.Cut(r.SubjectToken, ".")
	if !ok {
		return nil // it is none of ours: the next plugin may know it
	}
	record, err := souk.KVGet("token/" + id)
	switch {
	case errors.Is(err, souk.ErrNotFound), errors.Is(err, souk.ErrRefused):
		return nil
	case err != nil:
		return err
	}
	account, hash, _ := strings.Cut(string(record), " ")
	answer := abi.ExchangeAnswer{Outcome: abi.ExchangeRefused, Reason: "the secret is another"}
	if ok, _ := souk.PasswordVerify(secret, hash); ok {
		answer = abi.ExchangeAnswer{Outcome: abi.ExchangeAccepted, Account: account}
	}
	v.Items = append(v.Items, answer)
	return nil
}
