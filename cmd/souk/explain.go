package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/market"
)

// explainCommand asks a running server why one device gets what it gets.
type explainCommand struct {
	adminFlags
	Account   string   `placeholder:"ACCOUNT" help:"Who is signed in; without it, nobody."`
	Client    string   `placeholder:"ID" help:"The OAuth client as policy sees it: a device's 32 hexadecimal digits, or the id of a registered client."`
	Item      []string `required:"" placeholder:"ID" help:"The appleItemId of an app; once for each app. With what is installed behind a colon: 1000002:2000021."`
	Installed string   `placeholder:"ID" help:"The appleVersionId that is installed, or on a restore asked for, of every --item that doesn't say it."`
	Purpose   string   `enum:"update,restore,install-token" default:"update" placeholder:"PURPOSE" help:"What the device asks for: update, restore or install-token. Default: update."`
	Platform  string   `enum:"ios,ipados" default:"ios" placeholder:"NAME" help:"ios or ipados. Default: ios."`
	OS        string   `name:"os" placeholder:"VERSION" help:"The device's system, like 18.1. Default: any."`
	Territory string   `placeholder:"CODE" help:"What a trusted proxy would say, like AUT; the account's own territory goes first."`
}

// Help says more than one line does.
func (c *explainCommand) Help() string {
	return `Goes the way of a request through the running server and leaves no trace: the
same candidates, plugins and rules, on copies of what the plugins keep. Says for
each app what the device gets and why: each version that is no candidate, what
each plugin answered, whose word it was, and what the shadows would change.

Example: souk explain --account alice@example.com --item 1000002:2000020 --os 18.1`
}

// Run explains.
func (c *explainCommand) Run(std *streams) error {
	api, err := c.client()
	if err != nil {
		return err
	}
	type app struct {
		Item      string `json:"item"`
		Installed string `json:"installed,omitempty"`
	}
	var apps []app
	for _, item := range c.Item {
		id, installed, given := strings.Cut(item, ":")
		if !given {
			installed = c.Installed
		}
		apps = append(apps, app{id, installed})
	}
	var x market.Explanation
	err = api.do(call{method: "POST", path: "/api/explain", body: map[string]any{
		"account": c.Account, "client": c.Client, "purpose": c.Purpose, "platform": c.Platform, "os": c.OS,
		"territory": c.Territory, "apps": apps,
	}}, &x)
	if err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(x)
	}
	return std.printExplanation(&x)
}

func (s *streams) printExplanation(x *market.Explanation) error {
	who := "nobody signed in"
	if x.Account != "" {
		who = x.Account
	}
	fmt.Fprintf(s.out, "%s  %s on %s %s  territory %s  grants %s  entitle default %s\n", printable(who), x.Purpose, x.Platform, x.OS,
		printable(orDash(x.Territory)), printable(orDash(strings.Join(x.Grants, " "))), x.EntitleDefault)
	for i := range x.Apps {
		if err := s.printExplained(&x.Apps[i]); err != nil {
			return err
		}
	}
	var rows []string
	for _, q := range x.Questions {
		name := q.Plugin
		if q.Shadow {
			name += " (shadow)"
		}
		rows = append(rows, cells(q.Hook, name, strconv.FormatUint(q.Fuel, 10), time.Duration(q.TookNS).Round(time.Microsecond).String(), q.Failure))
		for _, line := range q.Log {
			rows = append(rows, cells("", "", "", "", "log: "+line))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	return s.table("ASKED\tPLUGIN\tFUEL\tTIME\tFAILURE", rows)
}

func (s *streams) printExplained(a *market.ExplainedApp) error {
	fmt.Fprintf(s.out, "\n%d  %s  %s\n", a.Item, printable(a.Name), a.BundleID)
	fmt.Fprintf(s.out, "  %s\n", printable(a.Sentence))
	var rows []string
	for _, v := range a.Versions {
		bucket, state := "", "candidate"
		if v.Bucket != nil {
			bucket = strconv.FormatUint(uint64(*v.Bucket), 10)
		}
		if v.Why != "" {
			state = "no candidate: " + v.Why
		}
		open := "not open"
		if v.Open {
			open = "open"
		}
		rows = append(rows, cells(digits(v.ID), v.Short, percent(int(v.Share)), v.Salt, bucket, open, state))
	}
	if len(rows) > 0 {
		if err := s.table("VERSION\tSHORT\tROLLOUT\tSALT\tBUCKET\tTO IT\tSTATE", rows); err != nil {
			return err
		}
	}
	rows = nil
	for _, v := range a.Answers {
		rows = append(rows, cells(v.Hook, v.Plugin, v.Answer, strconv.FormatUint(uint64(v.Code), 10), v.Reason, ""))
	}
	for _, v := range a.Shadows {
		effect := "changes nothing"
		if v.Changes {
			effect = "would change it to " + v.Outcome
		}
		rows = append(rows, cells(v.Hook, v.Plugin+" (shadow)", v.Answer, strconv.FormatUint(uint64(v.Code), 10), v.Reason, effect))
	}
	if len(rows) == 0 {
		return nil
	}
	return s.table("HOOK\tPLUGIN\tANSWER\tCODE\tREASON\tEFFECT", rows)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
