package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// clientCommands are about the apps and servers that people sign in to.
type clientCommands struct {
	List         clientList         `cmd:"" help:"List the registered clients, those of config.toml too."`
	Show         clientShow         `cmd:"" help:"Show a client."`
	Add          clientAdd          `cmd:"" help:"Register a client. Of one with a secret it prints the secret, once."`
	Set          clientSet          `cmd:"" help:"Change a client, disable it or enable it. The next request sees it."`
	Remove       clientRemove       `cmd:"" help:"End a client and all its sign-ins."`
	RotateSecret clientRotateSecret `cmd:"" help:"Give a client another secret, and print it, once. The one before is worth nothing from now on."`
}

// registered is a client as the admin API shows it.
type registered struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	Kind         string     `json:"kind"`
	RedirectURIs []string   `json:"redirect_uris"`
	Market       bool       `json:"market"`
	Scope        string     `json:"scope"`
	Disabled     bool       `json:"disabled"`
	Configured   bool       `json:"configured"`
	Created      *time.Time `json:"created,omitempty"`
	Changed      *time.Time `json:"changed,omitempty"`
	Secret       string     `json:"secret,omitempty"`
}

// state says in a word or two what becomes of a client's requests.
func (c *registered) state() string {
	switch {
	case c.Configured:
		return "config.toml"
	case c.Disabled:
		return "disabled"
	}
	return "active"
}

func (c *registered) opens() string {
	if c.Market {
		return "market"
	}
	return "apps"
}

// rows are a client as it is printed.
func (c *registered) rows() []string {
	rows := []string{cells("name", c.Name), cells("kind", c.Kind), cells("opens", c.opens()), cells("state", c.state())}
	for _, uri := range c.RedirectURIs {
		rows = append(rows, cells("redirect", uri))
	}
	if c.Created != nil {
		rows = append(rows, cells("created", c.Created.Format(time.RFC3339)), cells("changed", c.Changed.Format(time.RFC3339)))
	}
	if c.Secret != "" {
		rows = append(rows, cells("secret", c.Secret))
	}
	return rows
}

// askClient sends a request whose answer is a client, and prints that.
func (f *adminFlags) askClient(std *streams, q call) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	var c registered
	if err := api.do(q, &c); err != nil {
		return err
	}
	if f.JSON {
		return std.printJSON(c)
	}
	return std.table(cells("client", c.ID), c.rows())
}

type clientList struct{ adminFlags }

// Run lists the clients.
func (c *clientList) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	all := struct {
		Clients []registered `json:"clients"`
	}{[]registered{}}
	err = api.list("/api/clients", func(page json.RawMessage) (string, error) {
		var p struct {
			Clients []registered `json:"clients"`
			Next    string       `json:"next"`
		}
		err := json.Unmarshal(page, &p)
		all.Clients = append(all.Clients, p.Clients...)
		return p.Next, err
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(all)
	}
	rows := make([]string, 0, len(all.Clients))
	for _, one := range all.Clients {
		rows = append(rows, cells(one.ID, one.Name, one.Kind, one.opens(), one.state(), strings.Join(one.RedirectURIs, " ")))
	}
	return std.table("CLIENT\tNAME\tKIND\tOPENS\tSTATE\tREDIRECTS", rows)
}

type clientShow struct {
	adminFlags
	Client string `arg:"" help:"The client's id, like com.example.market."`
}

// Run shows a client.
func (c *clientShow) Run(std *streams) error {
	return c.askClient(std, call{method: "GET", path: path("/api/clients/%s", c.Client)})
}

type clientAdd struct {
	adminFlags
	Client       string   `arg:"" help:"The id that the client will send, like com.example.market."`
	Redirect     []string `required:"" placeholder:"URI" sep:"none" help:"Where its answers go; up to ten times."`
	Name         string   `placeholder:"TEXT" help:"What people are told that they sign in to."`
	Confidential bool     `help:"It is a server that keeps a secret. Without it: an app on somebody's device, which can't."`
	Market       bool     `help:"It is the marketplace app: its tokens open the market's endpoints."`
}

// Run registers a client.
func (c *clientAdd) Run(std *streams) error {
	kind := "native"
	if c.Confidential {
		kind = "confidential"
	}
	body := map[string]any{"id": c.Client, "name": c.Name, "kind": kind, "redirect_uris": c.Redirect, "market": c.Market}
	return c.askClient(std, call{method: "POST", path: "/api/clients", body: body})
}

type clientSet struct {
	adminFlags
	Client   string   `arg:"" help:"The client's id."`
	Name     *string  `placeholder:"TEXT" help:"What people are told that they sign in to."`
	Redirect []string `placeholder:"URI" sep:"none" help:"Where its answers go, in the place of all that there were."`
	Market   *bool    `negatable:"" help:"Its tokens open the market's endpoints, or no longer. Its sign-ins end with the change."`
	Disable  bool     `xor:"state" help:"Nobody signs in to it any more, and all its sign-ins end."`
	Enable   bool     `xor:"state" help:"Undo a disable. The sign-ins from before stay ended."`
}

// Run changes a client.
func (c *clientSet) Run(std *streams) error {
	body := map[string]any{}
	if c.Name != nil {
		body["name"] = *c.Name
	}
	if len(c.Redirect) > 0 {
		body["redirect_uris"] = c.Redirect
	}
	if c.Market != nil {
		body["market"] = *c.Market
	}
	if c.Disable || c.Enable {
		body["disabled"] = c.Disable
	}
	if len(body) == 0 {
		return errors.New("there is nothing to change: give --name, --redirect, --market, --no-market, --disable or --enable")
	}
	return c.askClient(std, call{method: "PUT", path: path("/api/clients/%s", c.Client), body: body})
}

type clientRemove struct {
	adminFlags
	Client string `arg:"" help:"The client's id. It may be registered anew; nothing from before comes back with it."`
}

// Run removes a client.
func (c *clientRemove) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	if err := api.do(call{method: "DELETE", path: path("/api/clients/%s", c.Client)}, nil); err != nil {
		return err
	}
	return std.said(c.JSON, "removed %s", c.Client)
}

type clientRotateSecret struct {
	adminFlags
	Client string `arg:"" help:"The client's id."`
}

// Run gives a client another secret.
func (c *clientRotateSecret) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	var answer registered
	if err := api.do(call{method: "POST", path: path("/api/clients/%s/secret", c.Client)}, &answer); err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(answer)
	}
	_, err = fmt.Fprintln(std.out, answer.Secret)
	return err
}
