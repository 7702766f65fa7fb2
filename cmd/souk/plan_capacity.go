package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/souk-market/souk/cmd/souk/plan"
	"github.com/souk-market/souk/cmd/souk/sim/population"
)

// planCapacity says how many cores are needed.
type planCapacity struct {
	Devices   uint64        `required:"" placeholder:"N" help:"Devices of the market."`
	Bench     string        `type:"existingfile" xor:"figures" placeholder:"FILE" help:"What \"souk bench --json\" has printed on a machine like those that are to carry it."`
	CheckUS   float64       `name:"check-us" xor:"figures" placeholder:"US" help:"Instead of --bench: processor time of an update check with nothing newer, in microseconds."`
	OfferUS   float64       `name:"offer-us" placeholder:"US" help:"With --check-us: of one offer more, signature included."`
	RefreshUS float64       `name:"refresh-us" placeholder:"US" help:"With --check-us: of a refresh."`
	TLSUS     float64       `name:"tls-us" placeholder:"US" help:"With --check-us: of a check on a new TLS connection, with the connection."`
	TLS       bool          `name:"tls" xor:"way" help:"Devices come directly: a new TLS connection for each check."`
	KeepAlive bool          `xor:"way" help:"Devices come through a proxy that ends TLS. Without either: both."`
	Offers    float64       `default:"0.13" placeholder:"N" help:"Offers a check on a usual day. Default: 0.13."`
	Release   float64       `default:"0.8" placeholder:"N" help:"Offers a check on the day of a release of an app that most have. Default: 0.8."`
	TokenLife time.Duration `default:"72h" placeholder:"D" help:"[token] access_device: how often a check needs a refresh. Default: 72h."`
	Use       float64       `default:"0.5" placeholder:"SHARE" help:"How busy a core may be. Default: 0.5, since a request costs up to twice as much where few come."`
	Cores     int           `default:"2" placeholder:"N" help:"Cores of a machine. Default: 2."`
	JSON      bool          `name:"json" help:"Print JSON, for machines."`
}

// Validate refuses what doesn't go together.
func (c *planCapacity) Validate() error {
	switch {
	case c.Bench == "" && c.CheckUS == 0:
		return errors.New("what a check costs is missing: give --bench FILE with what \"souk bench --json\" prints, or --check-us and the others")
	case c.Bench != "" && (c.OfferUS != 0 || c.RefreshUS != 0 || c.TLSUS != 0):
		return errors.New("--bench has what an offer, a refresh and TLS cost: leave the flags in microseconds out")
	case c.Cores < 1:
		return errors.New("--cores has to be 1 or more")
	}
	return nil
}

// Run works it out.
func (c *planCapacity) Run(std *streams) error {
	f := plan.Figures{Check: c.CheckUS, Offer: c.OfferUS, Refresh: c.RefreshUS, TLS: c.TLSUS}
	if c.Bench != "" {
		text, err := os.ReadFile(c.Bench)
		if err != nil {
			return fmt.Errorf("--bench: %w", err)
		}
		var cases []plan.Case
		if err := json.Unmarshal(text, &cases); err != nil {
			return fmt.Errorf("--bench: %s: is not what \"souk bench --json\" prints: %w", c.Bench, err)
		}
		if f, err = plan.FiguresOf(cases); err != nil {
			return fmt.Errorf("--bench: %s: %w", c.Bench, err)
		}
	}
	if c.TLS && f.TLS == 0 {
		return errors.New("--tls: what a check on a new TLS connection costs is missing: it is case g of \"souk bench\", or --tls-us")
	}
	if c.KeepAlive {
		f.TLS = 0
	}
	d := plan.Demand{Population: population.Default(), Offers: c.Offers, Release: c.Release, TokenLife: c.TokenLife, Use: c.Use}
	d.Population.Devices = c.Devices
	capacity, err := d.Capacity(f)
	if err != nil {
		return err
	}
	if c.JSON {
		return std.printJSON(capacity)
	}
	return std.printCapacity(capacity, c)
}

func (s *streams) printCapacity(c *plan.Capacity, flags *planCapacity) error {
	f := &c.Figures
	fmt.Fprintf(s.out, "%d devices, machines of %d cores, of which %.0f%% may be busy\n\n", c.Devices, flags.Cores, 100*c.Use)
	way := func(name string, connection, total float64) {
		fmt.Fprintf(s.out, "a check, %s: %.1f µs + %g offers × %.1f µs + %.2f × (%.1f µs refused and %.1f µs for a refresh) = %.1f µs\n",
			name, connection, flags.Offers, f.Offer, c.Refreshes, f.Check, f.Refresh, total)
	}
	if !flags.TLS {
		way("kept-alive", f.Check, c.Usual.KeepAlive)
	}
	if f.TLS > 0 {
		way("new TLS connection", f.TLS, c.Usual.TLS)
	}
	fmt.Fprintf(s.out, "on the day of a release, with %g offers a check:", flags.Release)
	if !flags.TLS {
		fmt.Fprintf(s.out, " %.1f µs", c.Release.KeepAlive)
	}
	if f.TLS > 0 {
		fmt.Fprintf(s.out, " %.1f µs with TLS", c.Release.TLS)
	}
	fmt.Fprintf(s.out, "\ncores = checks/s × µs a check ÷ 1000000 ÷ %g\n\n", c.Use)

	heading := cells("load", "checks/s")
	if !flags.TLS {
		heading += "\t" + cells("cores", "on a release", "machines")
	}
	if f.TLS > 0 {
		heading += "\t" + cells("tls cores", "on a release", "machines")
	}
	heading += "\t" + cells("how")
	var rows []string
	for _, l := range c.Loads {
		row := cells(l.Name, rate(l.Checks))
		if !flags.TLS {
			row += "\t" + cells(cores(l.Cores.KeepAlive), cores(l.Worst.KeepAlive), machines(l.Worst.KeepAlive, flags.Cores))
		}
		if f.TLS > 0 {
			row += "\t" + cells(cores(l.Cores.TLS), cores(l.Worst.TLS), machines(l.Worst.TLS, flags.Cores))
		}
		rows = append(rows, row+"\t"+cells(l.How))
	}
	if err := s.table(heading, rows); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	if !flags.TLS {
		fmt.Fprintf(s.out, "a core carries %s devices through the busiest hour of a release, and %s with nothing shed in its spike\n", million(c.PerCore.KeepAlive), million(c.PerSpike.KeepAlive))
	}
	if f.TLS > 0 {
		fmt.Fprintf(s.out, "a core carries %s devices that come directly, each check on a new TLS connection, and %s with nothing shed\n", million(c.PerCore.TLS), million(c.PerSpike.TLS))
	}
	_, err := fmt.Fprintln(s.out, "what a spike or a wave has beyond the cores is shed, and those devices ask again a day later")
	return err
}

// rate writes requests a second.
func rate(r float64) string {
	if r < 100 {
		return strconv.FormatFloat(r, 'f', 2, 64)
	}
	return strconv.FormatFloat(r, 'f', 0, 64)
}

func cores(n float64) string { return strconv.FormatFloat(n, 'f', 3, 64) }

func machines(n float64, each int) string {
	return strconv.FormatFloat(math.Ceil(n/float64(each)), 'f', 0, 64)
}

func million(n float64) string {
	if n < 1e6 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	return strconv.FormatFloat(n/1e6, 'f', 1, 64) + " million"
}
