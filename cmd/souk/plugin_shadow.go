package main

import (
	"fmt"
	"time"

	"github.com/souk-market/souk/core/plugin"
)

// printShadow prints what a shadow would have changed.
func (s *streams) printShadow(i *plugin.ShadowInfo) error {
	place := "as one more plugin"
	if i.InsteadOf != "" {
		place = "in the place of " + i.InsteadOf
	}
	fmt.Fprintf(s.out, "\na shadow, %s: of %d decisions in %d questions %d would be others; %d questions came too fast to be looked at\n",
		printable(place), i.Agreed+i.Differed, i.Questions, i.Differed, i.Missed)
	var rows []string
	for _, c := range i.Changes {
		rows = append(rows, cells(count(c.Count), c.Hook, c.From, c.To, c.Reason))
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	if err := s.table("COUNT\tHOOK\tLIVE\tSHADOW\tREASON", rows); err != nil {
		return err
	}
	rows = nil
	for _, d := range i.Last {
		rows = append(rows, cells(d.At.Local().Format(time.DateTime), d.Key, digits(d.Item), d.Purpose, d.Live.String(), d.Shadow.String(), whose(d.Live), whose(d.Shadow)))
	}
	fmt.Fprintln(s.out)
	return s.table("LAST\tDEVICE\tITEM\tPURPOSE\tLIVE\tSHADOW\tWHY LIVE\tWHY SHADOW", rows)
}
