package main

import (
	"errors"
	"fmt"
	"time"
)

// pollingCommand is the valve for load.
type pollingCommand struct {
	adminFlags
	Hours *int          `arg:"" optional:"" help:"How many hours a device is to wait between two update checks, 24 to 720. Without it: what holds."`
	For   time.Duration `xor:"end" placeholder:"TIME" help:"How long that holds, like 36h."`
	Until time.Time     `xor:"end" placeholder:"TIME" help:"When it ends, like 2030-01-31T10:00:00Z."`
	Clear bool          `help:"Take it back: polling_interval of config.toml holds again."`
}

// Help says more than one line does.
func (c *pollingCommand) Help() string {
	return `It holds from the next device on that reads /.well-known/marketplace-kit, on
every node, also after a restart. A device that has read it before goes on as it
was told until it reads it again. Apps whose override in config.toml has a
polling_interval of its own keep that.`
}

// polling is how often devices look for updates, as the admin API shows it.
type polling struct {
	Hours      int        `json:"hours"`
	Configured int        `json:"configured"`
	Set        *time.Time `json:"set,omitempty"`
	Until      *time.Time `json:"until,omitempty"`
}

// Run shows the interval, or changes it.
func (c *pollingCommand) Run(std *streams) error {
	q, err := c.call()
	if err != nil {
		return err
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	var p polling
	if err := api.do(q, &p); err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(p)
	}
	rows := []string{}
	switch {
	case p.Set == nil:
		rows = append(rows, cells("said by", "config.toml"))
	default:
		rows = append(rows, cells("said by", "the operator, at "+p.Set.Format(time.RFC3339)), cells("config.toml", fmt.Sprintf("%d hours", p.Configured)))
	}
	if p.Until != nil {
		rows = append(rows, cells("until", p.Until.Format(time.RFC3339)))
	}
	return std.table(cells("interval", fmt.Sprintf("%d hours", p.Hours)), rows)
}

// call is the request that is asked for.
func (c *pollingCommand) call() (call, error) {
	const at = "/api/polling-interval"
	until := c.Until
	if c.For != 0 {
		until = time.Now().Add(c.For)
	}
	switch {
	case c.Clear && (c.Hours != nil || !until.IsZero()):
		return call{}, errors.New("--clear takes back what was said: leave out the hours and their end")
	case c.Clear:
		return call{method: "DELETE", path: at}, nil
	case c.Hours == nil && !until.IsZero():
		return call{}, errors.New("how many hours are to hold until then? Write them first, like \"souk polling 48 --for 36h\"")
	case c.Hours == nil:
		return call{method: "GET", path: at}, nil
	case c.For < 0:
		return call{}, fmt.Errorf("--for: %v is negative", c.For)
	}
	body := map[string]any{"hours": *c.Hours}
	if !until.IsZero() {
		body["until"] = until.UTC().Format(time.RFC3339)
	}
	return call{method: "PUT", path: at, body: body}, nil
}
