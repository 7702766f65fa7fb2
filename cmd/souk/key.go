package main

import (
	"fmt"
	"time"
)

// keyCommands are about the key ring that all tokens are made under.
type keyCommands struct {
	List   keyList   `cmd:"" help:"List the keys of the ring."`
	Rotate keyRotate `cmd:"" help:"Make a new key. Tokens are made under it from now on; those of the keys before stay good."`
	Retire keyRetire `cmd:"" help:"End a key: no token of it is good any more."`
}

// key is a key as the admin API shows it.
type key struct {
	ID      int        `json:"id"`
	Created time.Time  `json:"created"`
	Retired *time.Time `json:"retired,omitempty"`
	Current bool       `json:"current"`
}

// askKeys sends a request whose answer is the ring, and prints that.
func (f *adminFlags) askKeys(std *streams, q call) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	var ring struct {
		Keys []key `json:"keys"`
	}
	if err := api.do(q, &ring); err != nil {
		return err
	}
	if f.JSON {
		return std.printJSON(ring)
	}
	rows := make([]string, 0, len(ring.Keys))
	for _, k := range ring.Keys {
		state := "verifies"
		switch {
		case k.Retired != nil:
			state = "retired " + k.Retired.Format(time.RFC3339)
		case k.Current:
			state = "current"
		}
		rows = append(rows, cells(fmt.Sprint(k.ID), k.Created.Format(time.RFC3339), state))
	}
	return std.table(cells("key", "created", "state"), rows)
}

type keyList struct{ adminFlags }

// Run lists the keys.
func (c *keyList) Run(std *streams) error {
	return c.askKeys(std, call{method: "GET", path: "/api/keys"})
}

type keyRotate struct{ adminFlags }

// Run makes a new key.
func (c *keyRotate) Run(std *streams) error {
	return c.askKeys(std, call{method: "POST", path: "/api/keys"})
}

type keyRetire struct {
	adminFlags
	Key   int  `arg:"" help:"The key's number; see list."`
	Force bool `help:"Also if its refresh tokens may still be in use: their devices have to sign in again."`
}

// Run ends a key.
func (c *keyRetire) Run(std *streams) error {
	return c.askKeys(std, call{method: "POST", path: path("/api/keys/%s/retire", fmt.Sprint(c.Key)), body: map[string]bool{"force": c.Force}})
}
