package main

import (
	"fmt"
	"time"
)

// session is a sign-in as the admin API shows it.
type session struct {
	ID      string    `json:"id"`
	Client  string    `json:"client"`
	Device  bool      `json:"device"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
}

type accountSessions struct {
	adminFlags
	Account string `arg:"" help:"The account, like alice@example.com."`
}

// Run lists the sign-ins of an account.
func (c *accountSessions) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var list struct {
		Sessions []session `json:"sessions"`
	}
	if err := api.do(call{method: "GET", path: path("/api/accounts/%s/sessions", c.Account)}, &list); err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(list)
	}
	rows := make([]string, 0, len(list.Sessions))
	for _, s := range list.Sessions {
		kind := "app"
		if s.Device {
			kind = "device"
		}
		rows = append(rows, cells(s.ID, kind, s.Client, s.Created.Format(time.RFC3339), s.Used.Format(time.RFC3339)))
	}
	return std.table(cells("session", "kind", "client", "signed in", "last refreshed"), rows)
}

type accountRevoke struct {
	adminFlags
	Account string `arg:"" help:"The account, like alice@example.com."`
	Session string `xor:"what" placeholder:"ID" help:"Only this sign-in; see sessions."`
	Client  string `xor:"what" placeholder:"ID" help:"Only the sign-ins of this device or app; see sessions."`
}

// Run ends sign-ins.
func (c *accountRevoke) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	target := path("/api/accounts/%s/sessions", c.Account)
	switch {
	case c.Session != "":
		target = path("/api/accounts/%s/sessions/%s", c.Account, c.Session)
	case c.Client != "":
		target = path("/api/accounts/%s/clients/%s", c.Account, c.Client)
	}
	var answer struct {
		Ended []session `json:"ended"`
	}
	if err := api.do(call{method: "DELETE", path: target}, &answer); err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(answer)
	}
	_, err = fmt.Fprintf(std.out, "ended %d sign-ins of %s\n", len(answer.Ended), printable(c.Account))
	return err
}
