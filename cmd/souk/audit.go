package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// auditCommand shows who changed what.
type auditCommand struct {
	adminFlags
	Account string `placeholder:"NAME" help:"Only what is about this account."`
	Family  string `placeholder:"ID" help:"Only what is about this sign-in; see account sessions."`
	Kind    string `placeholder:"KIND" help:"Only entries of this kind, like signed_out."`
	Since   string `placeholder:"TIME" help:"Only from then on: 2026-11-28T12:00:00Z, or 24h for the last day."`
	Limit   int    `default:"100" placeholder:"N" help:"At most so many, the newest; 0 = all. Default: 100."`
	Verify  bool   `help:"Check the whole log, without a server: is everything there, and as it was written?"`
	Head    string `placeholder:"HASH" help:"With --verify: the head that an earlier one has printed. Is all of then still there?"`
	Data    string `default:"data" placeholder:"DIR" help:"With --verify: the data directory. Default: data."`
}

// Help says more than one line does.
func (c *auditCommand) Help() string {
	return `Every sign-in, every end of one, and every change of accounts, clients, apps,
keys and plugins is written down before it is made. After a crash the newest entry
may stand without its change.

--verify reads the files of a data directory, beside a running server too, and
prints the hash of the end, the head. Keep that somewhere else now and then, and give
it back with --head: what was cut off the end since is seen by it, and by nothing
that is in the files.`
}

// auditEntry is an entry with the texts that a table shows.
type auditEntry struct{ audit.Entry }

// Run shows entries, or verifies.
func (c *auditCommand) Run(std *streams) error {
	switch {
	case c.Verify:
		return c.verify(std)
	case c.Head != "":
		return errors.New("--head: goes with --verify")
	}
	q, err := c.query(time.Now())
	if err != nil {
		return err
	}
	api, err := c.client()
	if err != nil {
		return err
	}
	all := struct {
		Entries []audit.Entry `json:"entries"`
		Damage  []string      `json:"damage,omitempty"`
	}{Entries: []audit.Entry{}}
	for more := true; more; {
		limit := 500
		if c.Limit > 0 {
			limit = min(limit, c.Limit-len(all.Entries))
		}
		q.Set("limit", strconv.Itoa(limit))
		var page struct {
			Entries []audit.Entry `json:"entries"`
			Next    string        `json:"next"`
			Damage  []string      `json:"damage"`
		}
		if err := api.do(call{method: "GET", path: "/api/audit?" + q.Encode()}, &page); err != nil {
			return err
		}
		all.Entries = append(all.Entries, page.Entries...)
		for _, d := range page.Damage {
			if !slices.Contains(all.Damage, d) { // of a file that two pages have looked at
				all.Damage = append(all.Damage, d)
			}
		}
		q.Set("before", page.Next)
		more = page.Next != "" && (c.Limit == 0 || len(all.Entries) < c.Limit)
	}
	if c.JSON {
		return std.printJSON(all)
	}
	rows := make([]string, 0, len(all.Entries))
	for _, e := range all.Entries {
		rows = append(rows, auditEntry{e}.row())
	}
	if err := std.table("ENTRY\tTIME\tWHAT\tBY\tABOUT\tDETAILS", rows); err != nil {
		return err
	}
	for _, d := range all.Damage {
		fmt.Fprintln(std.err, "souk:", printable(d))
	}
	if len(all.Damage) > 0 {
		return errReported
	}
	return nil
}

func (c *auditCommand) query(now time.Time) (url.Values, error) {
	if c.Limit < 0 {
		return nil, fmt.Errorf("--limit: %d is out of range: use 0 or more", c.Limit)
	}
	q := url.Values{}
	for key, value := range map[string]string{"account": c.Account, "family": c.Family, "kind": c.Kind} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if c.Since == "" {
		return q, nil
	}
	since, err := time.Parse(time.RFC3339, c.Since)
	if err != nil {
		ago, err := time.ParseDuration(c.Since)
		if err != nil || ago < 0 {
			return nil, fmt.Errorf("--since: %q is no time: write it like 2026-11-28T12:00:00Z, or 24h for the last day", c.Since)
		}
		since = now.Add(-ago)
	}
	q.Set("since", since.UTC().Format(time.RFC3339))
	return q, nil
}

// row is the entry's line in a table.
func (e auditEntry) row() string {
	return cells(strconv.FormatUint(e.Seq, 10), e.Time.Format(time.RFC3339), string(e.Kind), e.by(), e.about(), e.details())
}

func (e auditEntry) by() string {
	return strings.Join(filled(string(e.Actor), e.Name, e.Address), " ")
}

// about is what the entry is about: an account by its name, where that is known.
func (e auditEntry) about() string {
	subject, item, client := e.Account, "", ""
	if subject == "" && e.Subject != (audit.ID{}) {
		subject = "subject " + e.Subject.String()
	}
	if e.Item != 0 {
		item = "app " + strconv.FormatUint(e.Item, 10)
	}
	if id := e.Detail["client"]; id != "" {
		client = "client " + id
	}
	return strings.Join(filled(subject, item, client), " ")
}

// details are all else that the entry says.
func (e auditEntry) details() string {
	var parts []string
	say := func(key, value string) {
		if value != "" {
			parts = append(parts, key+"="+value)
		}
	}
	if e.Family != (audit.ID{}) {
		say("family", e.Family.String())
	}
	if e.Client != (audit.ID{}) {
		say("client", e.Client.String())
	}
	if e.Epoch != 0 {
		say("epoch", strconv.FormatUint(uint64(e.Epoch), 10))
	}
	if !e.Until.IsZero() {
		say("until", e.Until.Format(time.RFC3339))
	}
	say("added", strings.Join(e.Added, ","))
	say("removed", strings.Join(e.Removed, ","))
	for _, key := range slices.Sorted(maps.Keys(e.Detail)) {
		if key == "client" { // what it is about
			continue
		}
		say(key, e.Detail[key])
	}
	return strings.Join(parts, " ")
}

func filled(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}

// verify checks a log that lies in a directory.
func (c *auditCommand) verify(std *streams) error {
	dir := filepath.Join(c.Data, "audit")
	var kept []audit.Hash
	if c.Head != "" {
		kept = make([]audit.Hash, 1)
		if err := kept[0].UnmarshalText([]byte(c.Head)); err != nil {
			return fmt.Errorf("--head: %.80q is none: it is the 64 hexadecimal digits that an earlier --verify has printed", c.Head)
		}
	}
	r, err := audit.Verify(dir, kept...)
	if err != nil && !errors.Is(err, audit.ErrDamaged) {
		return err
	}
	if err == nil && r.Segments == 0 && r.Torn == 0 {
		return fmt.Errorf("--data: there is no audit log in %s: name store.dir of the server's config.toml", dir)
	}
	if c.JSON {
		if err := std.printJSON(r); err != nil {
			return err
		}
	} else {
		c.tell(std, &r)
	}
	if r.Damaged > 0 || len(r.Missing) > 0 {
		return errReported
	}
	return nil
}

func (c *auditCommand) tell(std *streams, r *audit.Report) {
	say := func(format string, args ...any) { fmt.Fprintf(std.out, format+"\n", args...) }
	for _, d := range r.Damage {
		say("damaged: %s, byte %d: %s", d.Segment, d.Offset, printable(d.Reason))
	}
	if more := r.Damaged - len(r.Damage); more > 0 {
		say("damaged: %d more places", more)
	}
	say("entries %d to %d, %d of them, in %d files", r.First, r.Last, r.Entries, r.Segments)
	if r.From != (audit.Hash{}) {
		say("older ones were dropped; the chain goes on from %s", r.From)
	}
	if r.Breaks > 0 {
		say("%d times a start found the newest file damaged and began a new chain: look for %s", r.Breaks, audit.ChainBroken)
	}
	if r.Torn > 0 {
		say("%d bytes at the end were never finished: nobody was told that they were written", r.Torn)
	}
	say("newest  %s", r.Time.Format(time.RFC3339))
	say("head    %s", r.Head)
	for _, h := range r.Missing {
		say("missing %s: the end was cut off since that was the head, or all was written anew, or the file with it was dropped", h)
	}
	if r.Damaged == 0 && len(r.Missing) == 0 {
		say("the chain holds")
	}
}
