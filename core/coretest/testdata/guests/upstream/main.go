//go:build wasip1

// Upstream is a guest that lets another provider sign people in, as far as the
// core has to do with it: it sends them to the address in its configuration, and
// takes the account from the code that they bring back.
package main

import (
	"strings"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/signin"
	"github.com/souk-market/souk/sdk/go/value"
)

var location string

func init() {
	souk.Configure(func(config []byte) error {
		root, err := value.Parse(config)
		if err != nil {
			return err
		}
		return root.Table(func(_ string, v value.Value) (err error) {
			location, err = v.Text()
			return err
		})
	})
	signin.Handle(func(req *abi.SignInRequest, v *abi.SignInVerdict) error {
		v.Items = append(v.Items, answer(req))
		return nil
	})
}

func answer(req *abi.SignInRequest) abi.SignInAnswer {
	switch req.Method {
	case abi.SignInShow:
		if req.LoginHint == "page@example.com" {
			return abi.SignInAnswer{Outcome: abi.SignInPage, Title: "Go on"}
		}
		return away(req)
	case abi.SignInSubmit:
		return away(req)
	case abi.SignInCallback:
		var names []string
		code := ""
		for _, f := range req.Fields {
			names = append(names, f.Name)
			if f.Name == "code" {
				code = f.Value
			}
		}
		if req.State != "nonce of "+req.LoginHint {
			return abi.SignInAnswer{Outcome: abi.SignInRefused}
		}
		switch account, ok := strings.CutPrefix(code, "account:"); {
		case ok:
			return abi.SignInAnswer{Outcome: abi.SignInDone, Account: account, DisplayName: strings.Join(names, " ")}
		case code == "again":
			return away(req)
		case code == "page":
			return abi.SignInAnswer{Outcome: abi.SignInPage, Title: "Welcome back", Fields: []abi.FormField{{Name: "pin", Kind: "code"}}}
		}
	}
	return abi.SignInAnswer{Outcome: abi.SignInRefused}
}

func away(req *abi.SignInRequest) abi.SignInAnswer {
	return abi.SignInAnswer{Outcome: abi.SignInRedirect, Location: location, State: "nonce of " + req.LoginHint}
}

func main() {}
