package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/souk-market/souk/cmd/souk/plan"
)

// printPlan prints a forecast.
func (s *streams) printPlan(r *plan.Report, limit int) error {
	fmt.Fprintf(s.out, "%d devices, seed %d: from %s as it is, and on %s to %s both as it is and as it would be\n",
		r.Devices, r.Seed, minute(r.From), minute(r.Change), minute(r.To))
	if r.Share < 1 {
		fmt.Fprintf(s.out, "looked at: a share of %.3g of the devices, drawn by a hash, and scaled; in 999 of 1000 samples a count is within ± of what all devices come to\n", r.Share)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(s.out, "note: %s\n", printable(note))
	}
	for _, o := range r.Rollouts {
		fmt.Fprintf(s.out, "\nrollout of %d/%d, salt %s: %s -> %s\n", o.Item, o.Version, printable(o.Salt), percent(o.Before), percent(o.After))
		fmt.Fprintf(s.out, "  %d devices with the app ask by the end of the day and could have it; offered: %s before the change, %s by the end\n",
			o.Asked, outOf(o.OfferedUntilChange, o.Asked), outOf(o.Offered, o.Asked))
		fmt.Fprintf(s.out, "  on the day it is offered to %d devices, and would be to %d\n", o.OnTheDay, o.WouldBe)
		if o.Within > 0 {
			fmt.Fprintf(s.out, "  each of them ±%d devices\n", o.Within)
		}
	}
	fmt.Fprintln(s.out)
	if err := s.table("ON THE DAY\tDEVICES OFFERED\tSIGNATURES\tA SECOND\tAT THE PEAK\tFROM", []string{
		total("as it is", &r.Before), total("as it would be", &r.After),
	}); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	var rows []string
	for _, h := range r.Hours {
		rows = append(rows, cells(minute(h.At), count(h.Checks), bounded(h.Before.Devices, h.Before.DevicesWithin), bounded(h.After.Devices, h.After.DevicesWithin),
			perSecond(h.Before.Offers), perSecond(h.After.Offers)))
	}
	if err := s.table("HOUR, UTC\tCHECKS\tOFFERED\tWOULD BE\tSIGNATURES/S\tWOULD BE", rows); err != nil {
		return err
	}
	if err := s.printPlannedApps(r); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\n%s devices get another answer\n", bounded(r.Changed, r.Within))
	if rows = nil; r.Changed == 0 {
		return nil
	}
	for _, c := range r.Changes {
		rows = append(rows, cells(bounded(c.Count, c.Within), digits(c.Item), c.From, c.To, c.WhyFrom, c.WhyTo))
	}
	if err := s.table("COUNT\tITEM\tIS\tWOULD BE\tWHY IT IS\tWHY IT WOULD BE", rows); err != nil {
		return err
	}
	rows = nil
	for _, e := range r.Examples[:min(len(r.Examples), limit)] {
		bucket := ""
		if e.Bucket != nil {
			bucket = strconv.FormatUint(uint64(*e.Bucket), 10)
		}
		rows = append(rows, cells(digits(e.Device), e.Account, e.Platform+" "+e.OS, e.Territory, digits(e.Item), digits(e.Installed), bucket,
			e.Before, e.After, e.WhyBefore, e.WhyAfter))
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	return s.table("DEVICE\tACCOUNT\tSYSTEM\tTERRITORY\tITEM\tINSTALLED\tBUCKET\tIS\tWOULD BE\tWHY IT IS\tWHY IT WOULD BE", rows)
}

// printPlannedApps prints the apps of which more or less is offered than before.
func (s *streams) printPlannedApps(r *plan.Report) error {
	const most = 20
	var rows []string
	for _, a := range r.Apps {
		if a.Before == a.After || len(rows) == most {
			break // those that change are the first
		}
		rows = append(rows, cells(digits(a.Item), a.Name, bounded(a.Before.Devices, a.Before.DevicesWithin), bounded(a.After.Devices, a.After.DevicesWithin),
			bounded(a.Before.Offers, a.Before.OffersWithin), bounded(a.After.Offers, a.After.OffersWithin)))
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	return s.table("ITEM\tNAME\tDEVICES OFFERED\tWOULD BE\tSIGNATURES\tWOULD BE", rows)
}

func total(name string, t *plan.Total) string {
	at := ""
	if t.Offers > 0 {
		at = minute(t.PeakAt)
	}
	peak := rate(t.Peak)
	if t.Within > 0 {
		peak += " ±" + rate(t.Within)
	}
	return cells(name, bounded(t.Devices, t.DevicesWithin), bounded(t.Offers, t.OffersWithin), rate(t.Mean), peak, at)
}

// bounded is a count, and how far it may be from that of all devices.
func bounded(n, by uint64) string {
	if by == 0 {
		return count(n)
	}
	return count(n) + " ±" + count(by)
}

func perSecond(offers uint64) string { return rate(float64(offers) / 3600) }

func outOf(n, of uint64) string {
	return fmt.Sprintf("%d (%.2f%%)", n, 100*float64(n)/float64(max(of, 1)))
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// steps shows how far something is, on a terminal, where that is counted in steps.
func (s *streams) steps(what string) steps {
	f, ok := s.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return steps{}
	}
	return steps{progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true),
	)}
}

// steps swallows what goes wrong with it: what it shows matters to nobody else.
type steps struct{ shown *progressbar.ProgressBar }

func (b steps) at(done, of uint64) {
	if b.shown != nil {
		b.shown.ChangeMax64(int64(of))
		_ = b.shown.Set64(int64(done))
	}
}

// Close takes it off the screen.
func (b steps) Close() error {
	if b.shown != nil {
		_ = b.shown.Finish()
	}
	return nil
}
