package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print writes what was measured for people.
func (r *storeReport) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "durable compare-and-sets/s\tgroup commit\tone each\tratio\taim\t")
	fmt.Fprintf(w, "64 callers\t%.0f\t%.0f\t%.1f ×\t%d ×\t\n", r.CAS64, r.CAS64Single, r.CAS64/r.CAS64Single, least64)
	fmt.Fprintf(w, "512 callers\t%.0f\t%.0f\t%.1f ×\t%d ×\t\n", r.CAS512, r.CAS512Single, r.CAS512/r.CAS512Single, least512)
	if r.CPU64 > 0 {
		fmt.Fprintln(w, "µs of processor time for one\t\t\t\t\t")
		fmt.Fprintf(w, "64 callers\t%.1f\t%.1f\t%.2f\t\t\n", r.CPU64, r.CPU64Single, r.CPU64/r.CPU64Single)
		fmt.Fprintf(w, "512 callers\t%.1f\t%.1f\t%.2f\t\t\n", r.CPU512, r.CPU512Single, r.CPU512/r.CPU512Single)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nwith %d devices, loaded in %v by a process that was then killed\n", r.Families, r.Loaded.Round(time.Millisecond))
	w = tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(what, value, means string) { fmt.Fprintf(w, "  %s\t%s\t%s\n", what, value, means) }
	row("open after the crash", fmt.Sprintf("%.0f ms", r.OpenMS), "until the store answers")
	row("on disk", fmt.Sprintf("%.0f B a device", r.BytesPerDevice), "sign-in, its list entry, an account with 15 apps, its list entry")
	row("refreshes, 64 callers", fmt.Sprintf("%.0f/s", r.Refresh64), "MAC, rules, durable write, two new tokens")
	row("refreshes, 512 callers", fmt.Sprintf("%.0f/s", r.Refresh512), "")
	row("read, p99", fmt.Sprintf("%.1f µs", r.ReadP99), fmt.Sprintf("one reader beside %.0f durable refreshes/s", r.ReadWrites))
	if r.Memory > 0 {
		row("in memory", fmt.Sprintf("%.0f MiB", r.Memory/(1<<20)), fmt.Sprintf("%.0f B a device; most is the same for any number of them", r.Memory/float64(r.Families)))
	}
	if r.LoadWrites > 0 {
		row("to the disk, loading", fmt.Sprintf("%.1f ×", r.LoadWrites), "of each byte of a record: log, tables, compaction; nothing synced")
	}
	if r.RefreshWrites > 0 {
		row("to the disk, refreshing", fmt.Sprintf("%.1f ×", r.RefreshWrites), "of each byte, each commit synced, which writes whole pages of the log; of tables what comes meanwhile, with what loading has left to merge")
	}
	return w.Flush()
}
