package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// accountCommands are about people: those who can sign in with a password, and
// what the accounts hold.
type accountCommands struct {
	List      accountList      `cmd:"" help:"List everybody who has an account or can sign in."`
	Show      accountShow      `cmd:"" help:"Show an account, its grants and the apps it was given."`
	Add       accountAdd       `cmd:"" help:"Let somebody sign in with an address and a password."`
	Passwd    accountPasswd    `cmd:"" help:"Give somebody a new password, and sign the account out everywhere."`
	Totp      accountTOTP      `cmd:"" help:"Ask somebody for a code of an authenticator app, after the password."`
	Disable   accountDisable   `cmd:"" help:"Keep somebody from signing in, until enable, and sign the account out everywhere. What it holds stays."`
	Enable    accountEnable    `cmd:"" help:"Undo a disable."`
	Remove    accountRemove    `cmd:"" help:"Nobody signs in with this address any more, and the account is signed out everywhere. What it holds stays."`
	Sessions  accountSessions  `cmd:"" help:"List the sign-ins of an account."`
	Revoke    accountRevoke    `cmd:"" help:"End one sign-in of an account, those of one device or app, or all. The next request sees it."`
	Grant     accountGrant     `cmd:"" help:"Give an account something more: a subscription, a purchase, a role. The next request sees it."`
	Ungrant   accountUngrant   `cmd:"" help:"Take something away from an account."`
	Territory accountTerritory `cmd:"" help:"Say where an account is at home."`
	Link      accountLink      `cmd:"" help:"Print a token for an install link, which signs one device in to the account. Good for ten minutes."`
}

// account is an account as the admin API shows it.
type account struct {
	Account   string   `json:"account"`
	Name      string   `json:"name"`
	Territory string   `json:"territory"`
	Grants    []string `json:"grants"`
	Items     int      `json:"items"`
	History   []string `json:"history,omitempty"`
	Devices   []device `json:"devices,omitempty"`
}

// device is a device of an account and what it holds.
type device struct {
	Device string   `json:"device"`
	Items  []string `json:"items"`
}

// person is someone with a password, as the admin API shows one.
type person struct {
	Email    string `json:"email"`
	Name     string `json:"name"`
	Disabled bool   `json:"disabled"`
	TOTP     bool   `json:"totp,omitempty"`
	TOTPURI  string `json:"totp_uri,omitempty"`
}

type accountList struct{ adminFlags }

// Run lists the accounts, and those who could sign in and have not yet.
func (c *accountList) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	all := struct {
		Accounts []account `json:"accounts"`
		People   []person  `json:"people"`
	}{[]account{}, []person{}}
	err = api.list("/api/accounts", func(page json.RawMessage) (string, error) {
		var p struct {
			Accounts []account `json:"accounts"`
			Next     string    `json:"next"`
		}
		err := json.Unmarshal(page, &p)
		all.Accounts = append(all.Accounts, p.Accounts...)
		return p.Next, err
	})
	if err != nil {
		return err
	}
	err = api.list("/api/people", func(page json.RawMessage) (string, error) {
		var p struct {
			People []person `json:"people"`
			Next   string   `json:"next"`
		}
		err := json.Unmarshal(page, &p)
		all.People = append(all.People, p.People...)
		return p.Next, err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(all)
	}
	return std.table("ACCOUNT\tNAME\tTERRITORY\tGRANTS\tAPPS\tPASSWORD", accountRows(all.Accounts, all.People))
}

// accountRows has a row for each account and for each person without one yet.
func accountRows(accounts []account, people []person) []string {
	byName := map[string]account{}
	for _, a := range accounts {
		byName[a.Account] = a
	}
	passwords := map[string]string{}
	for _, p := range people {
		name := strings.ToLower(p.Email)
		passwords[name] = "yes"
		if p.Disabled {
			passwords[name] = "disabled"
		}
		a := byName[name]
		a.Account, a.Name = name, cmp.Or(a.Name, p.Name) // the account learns the name at the first sign-in
		byName[name] = a
	}
	var rows []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		a := byName[name]
		rows = append(rows, cells(a.Account, a.Name, a.Territory, strings.Join(a.Grants, " "), fmt.Sprint(a.Items), passwords[name]))
	}
	return rows
}

// askAccount sends a request whose answer is an account, and prints that.
func (f *adminFlags) askAccount(std *streams, q call) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	var a account
	if err := api.do(q, &a); err != nil {
		return err
	}
	if f.JSON {
		return std.printJSON(a)
	}
	return std.table(cells("account", a.Account), a.rows())
}

// rows are an account as it is printed.
func (a *account) rows() []string {
	rows := []string{
		cells("name", a.Name), cells("territory", a.Territory), cells("grants", strings.Join(a.Grants, " ")), cells("apps", fmt.Sprint(a.Items)),
	}
	if len(a.History) > 0 {
		rows = append(rows, cells("", strings.Join(a.History, " ")))
	}
	for _, d := range a.Devices {
		rows = append(rows, cells("device", d.Device+"  "+strings.Join(d.Items, " ")))
	}
	return rows
}

type accountShow struct {
	adminFlags
	Account string `arg:"" help:"The account, like alice@example.com."`
}

// Run shows an account.
func (c *accountShow) Run(std *streams) error {
	return c.askAccount(std, call{method: "GET", path: path("/api/accounts/%s", c.Account)})
}

type accountGrant struct {
	adminFlags
	Account string   `arg:"" help:"The account, like alice@example.com."`
	Grants  []string `arg:"" name:"grant" help:"What it gets, like sub:plus."`
}

// Run adds grants.
func (c *accountGrant) Run(std *streams) error {
	return c.askAccount(std, call{method: "PUT", path: path("/api/accounts/%s/grants", c.Account), body: map[string]any{"add": c.Grants}})
}

type accountUngrant struct {
	adminFlags
	Account string   `arg:"" help:"The account, like alice@example.com."`
	Grants  []string `arg:"" name:"grant" help:"What it loses, like sub:plus."`
}

// Run removes grants.
func (c *accountUngrant) Run(std *streams) error {
	return c.askAccount(std, call{method: "PUT", path: path("/api/accounts/%s/grants", c.Account), body: map[string]any{"remove": c.Grants}})
}

type accountTerritory struct {
	adminFlags
	Account   string `arg:"" help:"The account, like alice@example.com."`
	Territory string `arg:"" help:"Three capital letters of ISO 3166-1, like AUT, or none."`
}

// Run sets the territory.
func (c *accountTerritory) Run(std *streams) error {
	territory := c.Territory
	if territory == "none" {
		territory = ""
	}
	return c.askAccount(std, call{method: "PUT", path: path("/api/accounts/%s/territory", c.Account), body: map[string]string{"territory": territory}})
}

type accountLink struct {
	adminFlags
	Account string `arg:"" help:"The account, like alice@example.com. It need not have signed in before."`
}

// Run mints a subject token.
func (c *accountLink) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var minted struct {
		Token     string `json:"token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := api.do(call{method: "POST", path: path("/api/accounts/%s/subject-token", c.Account)}, &minted); err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(minted)
	}
	fmt.Fprintln(std.out, minted.Token)
	return nil
}
