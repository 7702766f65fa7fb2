package report

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// What is drawn and what is written of a long run: a screen has no more pixels, and
// a person reads no more lines.
const (
	drawn   = 1500
	written = 32
)

// plots are the figures of a run, those without data left out.
func (r *Result) plots() []*plot {
	run := *r
	run.Ticks = even(r.Ticks)
	r = &run
	var plots []*plot
	add := func(p *plot) {
		if p != nil {
			plots = append(plots, p)
		}
	}
	if len(r.Ticks) > 0 {
		add(r.latencyPlot())
	}
	add(r.spectrumPlot())
	if len(r.Ticks) > 0 {
		add(r.cpuPlot())
		add(r.ratePlot())
		add(r.classPlot("answers", "Answers by class", r.classNames()))
		if names := r.rareNames(); len(names) > 0 {
			add(r.classPlot("rare", "Answers other than “"+ClassNone+"”", names))
		}
	}
	add(r.adoptionPlot())
	return pair(plots)
}

// pair has two plots that are not wide stand beside each other, and makes one wide
// that would stand alone.
func pair(plots []*plot) []*plot {
	alone := -1
	for i, p := range plots {
		switch {
		case p.Wide && alone >= 0:
			plots[alone].Wide, alone = true, -1
		case p.Wide:
		case alone >= 0:
			alone = -1
		default:
			alone = i
		}
	}
	if alone >= 0 {
		plots[alone].Wide = true
	}
	return plots
}

// series is a line of a plot over time, and how it comes of a tick.
type series struct {
	name, style string
	color       int
	of          func(Tick) float64
}

// overTime is a plot along the simulated clock: a line and a column for each series.
func (r *Result) overTime(id, title string, y axis, ticks []Tick, all []series) *plot {
	p := &plot{ID: id, Title: title, Y: y, X: r.timeAxis(), Marks: r.marks()}
	shown := merge(ticks, drawn)
	for _, t := range shown {
		p.Xs = append(p.Xs, seconds(t.At))
	}
	rows := merge(ticks, written)
	p.Table.Columns = []column{{Name: "from"}}
	at := clock(r.Start, r.Simulated)
	for _, t := range rows {
		p.Table.Rows = append(p.Table.Rows, row(at(t.At)))
	}
	for _, s := range all {
		l := line{Name: s.name, Style: s.style, Color: s.color}
		for _, t := range shown {
			l.Ys = append(l.Ys, s.of(t))
		}
		p.Lines = append(p.Lines, l)
		p.Table.Columns = append(p.Table.Columns, column{s.name, true})
		for i, t := range rows {
			p.Table.Rows[i] = append(p.Table.Rows[i], cell{Text: y.write(s.of(t))})
		}
	}
	return p
}

// seconds is a time as an axis has it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }

func (r *Result) timeAxis() axis {
	return axis{Unit: "time", Label: "simulated time, UTC", Long: long(r.Start, r.Simulated), Fine: fine(r.Simulated)}
}

// marks are the places of the run's marks, numbered from 1 in their order.
func (r *Result) marks() (places []numbers) {
	for i, m := range r.Marks {
		places = append(places, numbers{seconds(m.At), float64(i + 1)})
	}
	return places
}

// after names the mark that a time comes shortly after, as a half-sentence.
func (r *Result) after(t time.Time) string {
	best := -1
	for i, m := range r.Marks {
		if d := t.Sub(m.At); d >= 0 && d <= r.Simulated/20 && (best < 0 || !m.At.Before(r.Marks[best].At)) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	return fmt.Sprintf(", shortly after mark %d (%s)", best+1, r.Marks[best].What)
}

// highest returns the tick in which something is the most; ok is false when it is
// nowhere known.
func (r *Result) highest(of func(Tick) float64) (best Tick, value float64, ok bool) {
	for _, t := range r.Ticks {
		if x := of(t); !math.IsNaN(x) && (!ok || x > value) {
			best, value, ok = t, x, true
		}
	}
	return best, value, ok
}

// answered makes a gap of where nothing was answered.
func answered(of func(Tick) float64) func(Tick) float64 {
	return func(t Tick) float64 {
		if t.Answered == 0 {
			return math.NaN()
		}
		return of(t)
	}
}

func perSecondOf(of func(Tick) uint64) func(Tick) float64 {
	return func(t Tick) float64 {
		if t.Length <= 0 {
			return math.NaN()
		}
		return float64(of(t)) / t.Length.Seconds()
	}
}

func (r *Result) latencyPlot() *plot {
	p99 := answered(func(t Tick) float64 { return us(t.P99) })
	p := r.overTime("latency", "Latency over time", axis{Unit: "us", Label: "latency", Log: true}, r.Ticks, []series{
		{"p50", "line", 1, answered(func(t Tick) float64 { return us(t.P50) })},
		{"p99", "dash", 2, p99},
		{"longest", "dot", 4, answered(func(t Tick) float64 { return us(t.Max) })},
	})
	p.Wide = true
	p.Table.Caption = "In a row p50 is the middle one of its stretches, p99 and longest are the highest."
	p.Caption = "Measured from when a request was due, so waiting counts."
	if t, worst, ok := r.highest(p99); ok {
		p.Caption += fmt.Sprintf(" The highest p99 is %s, at %s%s.", micros(worst), clock(r.Start, r.Simulated)(t.At), r.after(t.At))
	}
	return p
}

func (r *Result) spectrumPlot() *plot {
	p := &plot{
		ID: "spectrum", Title: "Latency as a spectrum",
		X: axis{Unit: "percentile", Label: "percentile", Log: true}, Y: axis{Unit: "us", Label: "latency", Log: true},
		Table: table{Columns: []column{{Name: "answer"}, {"answers", true}}},
	}
	for _, q := range quantiles {
		p.Table.Columns = append(p.Table.Columns, column{percentile(q), true})
	}
	p.Table.Columns = append(p.Table.Columns, column{"longest", true})
	end := 0
	for i, c := range r.classes() {
		if c.Latency == nil || c.Latency.TotalCount() == 0 {
			continue
		}
		ys := along(c.Latency)
		for n, y := range ys {
			if !math.IsNaN(y) {
				end = max(end, n+1)
			}
		}
		p.Lines = append(p.Lines, line{Name: c.Name, Style: lineStyles[i/4%len(lineStyles)], Color: i%8 + 1, Ys: ys})
		cells := row(c.Name, count(uint64(c.Latency.TotalCount())))
		for _, q := range quantiles {
			cells = append(cells, cell{Text: micros(at(c.Latency, q))})
		}
		p.Table.Rows = append(p.Table.Rows, append(cells, cell{Text: micros(slowest(c.Latency))}))
	}
	if len(p.Lines) == 0 {
		return nil
	}
	p.Xs = spectrum[:end]
	for i := range p.Lines {
		p.Lines[i].Ys = p.Lines[i].Ys[:end]
	}
	p.Caption = "How long the slowest tenth, hundredth, thousandth of each class took. A line ends where its class has too few answers to know."
	p.Table.Caption = p.Caption
	return p
}

// lineStyles tell lines apart for those who see few colours.
var lineStyles = []string{"line", "dash", "dot"}

func (r *Result) ratePlot() *plot {
	due := perSecondOf(func(t Tick) uint64 { return t.Offered })
	all := []series{
		{"due", "area", 6, due},
		{"answered", "line", 1, perSecondOf(func(t Tick) uint64 { return t.Answered })},
	}
	if r.Shed > 0 {
		all = append(all, series{"shed", "dash", 2, perSecondOf(func(t Tick) uint64 { return t.Shed })})
	}
	if r.Failed > 0 {
		all = append(all, series{"no answer", "dot", 4, perSecondOf(func(t Tick) uint64 { return t.Failed })})
	}
	p := r.overTime("rate", "Offered and achieved rate", axis{Unit: "rate", Label: "requests a second"}, r.Ticks, all)
	for i := 2; i < len(p.Lines); i++ {
		p.Lines[i].Rare = true
	}
	p.Wide = true
	p.Caption = "Requests that were due, and the answers to them: below the area the server falls behind, above it it catches up."
	if t, most, ok := r.highest(due); ok {
		p.Caption += fmt.Sprintf(" The peak is %s, at %s%s.", rate(most), clock(r.Start, r.Simulated)(t.At), r.after(t.At))
	}
	p.Table.Caption = "Means of each stretch, by our clock."
	return p
}

// classNames are the names of the classes that have answers, in their order.
func (r *Result) classNames() (names []string) {
	for _, c := range r.classes() {
		if c.Count > 0 {
			names = append(names, c.Name)
		}
	}
	return names
}

// rareNames are the classes but for "no update", if that hides the others.
func (r *Result) rareNames() []string {
	names := r.classNames()
	i := slices.Index(names, ClassNone)
	if i < 0 || len(names) < 2 {
		return nil
	}
	for _, c := range r.Classes {
		if c.Name == ClassNone && c.Count < r.Answered/2 {
			return nil
		}
	}
	return slices.Delete(names, i, i+1)
}

func (r *Result) classPlot(id, title string, names []string) *plot {
	if len(names) == 0 {
		return nil
	}
	var all []series
	for _, name := range names {
		i := slices.IndexFunc(r.classes(), func(c *Class) bool { return c.Name == name })
		all = append(all, series{name, "area", i%8 + 1, perSecondOf(func(t Tick) uint64 { return t.Classes[name] })})
	}
	p := r.overTime(id, title, axis{Unit: "rate", Label: "answers a second"}, r.Ticks, all)
	p.Stacked = true
	p.Table.Caption = "Means of each stretch, by our clock."
	if id == "rare" {
		p.Caption = "The same without the largest class, so that the others can be seen."
		return p
	}
	p.Caption = fmt.Sprintf("One upon the other; the top is the achieved rate. %s of the answers had an offer, and each offer is signed for its device.", part(r.offers(), r.Answered))
	return p
}

func (r *Result) adoptionPlot() *plot {
	if len(r.Adoption) == 0 {
		return nil
	}
	p := &plot{ID: "adoption", Title: "The release", X: r.timeAxis(), Y: axis{Unit: "share", Label: "of the devices with the app"}, Marks: r.marks()}
	points := thin(r.Adoption, drawn)
	for _, a := range points {
		p.Xs = append(p.Xs, seconds(a.At))
	}
	p.Table.Columns = []column{{Name: "at"}}
	at := clock(r.Start, r.Simulated)
	rows := thin(r.Adoption, written)
	for _, a := range rows {
		p.Table.Rows = append(p.Table.Rows, row(at(a.At)))
	}
	for _, s := range []struct {
		name, style string
		color       int
		of          func(Adoption) float64
	}{
		{"open to", "step", 2, func(a Adoption) float64 { return a.Open }},
		{"offered", "dash", 1, func(a Adoption) float64 { return a.Offered }},
		{"installed", "line", 3, func(a Adoption) float64 { return a.Installed }},
	} {
		l := line{Name: s.name, Style: s.style, Color: s.color}
		for _, a := range points {
			l.Ys = append(l.Ys, s.of(a))
		}
		p.Lines = append(p.Lines, l)
		p.Table.Columns = append(p.Table.Columns, column{s.name, true})
		for i, a := range rows {
			p.Table.Rows[i] = append(p.Table.Rows[i], cell{Text: share(s.of(a))})
		}
	}
	last := r.Adoption[len(r.Adoption)-1]
	p.Caption = fmt.Sprintf("In the end the rollout is open to %s, %s of the devices that asked were offered the release, and %s have it. A device asks once a day, so a step takes that long to arrive.",
		share(last.Open), share(last.Offered), share(last.Installed))
	return p
}

func (r *Result) cpuPlot() *plot {
	if r.CPU <= 0 {
		return nil
	}
	per := answered(func(t Tick) float64 { return us(t.CPU) / float64(t.Answered) })
	// Systems account in steps of up to 10 ms.
	ticks := enough(r.Ticks, func(t Tick) bool { return t.CPU >= 100*time.Millisecond && t.Answered > 0 })
	p := r.overTime("cpu", "CPU per request", axis{Unit: "us", Label: "CPU of the server"}, ticks, []series{{"CPU per request", "line", 3, per}})
	p.Caption = fmt.Sprintf("%s a request in the mean, by what the system accounts to the server's process. Where few ask, what the server does on its own weighs more.", micros(r.perCheck()))
	p.Table.Caption = "Means of each stretch."
	return p
}
