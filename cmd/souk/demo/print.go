package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/souk-market/souk/core"
)

// call is one request of a device or of the operator.
type call struct {
	Method string        `json:"method"`
	Path   string        `json:"path"`
	Status int           `json:"status"`
	Took   time.Duration `json:"took_ns"`
	Note   string        `json:"note,omitempty"`
}

// printer writes what happens, for people or for machines.
type printer struct {
	out    io.Writer
	json   bool
	colour bool
	mu     sync.Mutex
}

func newPrinter(out io.Writer, json bool) *printer {
	p := &printer{out: out, json: json}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		if info, err := f.Stat(); err == nil {
			p.colour = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return p
}

func (p *printer) paint(code, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// object writes one line for machines.
func (p *printer) object(v any) {
	b, err := json.Marshal(v)
	if err == nil {
		fmt.Fprintf(p.out, "%s\n", b)
	}
}

// line writes a sentence; machines don't get it.
func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.json {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

func (p *printer) started(h *core.Host, took time.Duration) {
	if p.json {
		p.object(map[string]any{"event": "started", "public": h.PublicURL(), "admin": h.AdminURL(), "took_ns": took})
		return
	}
	p.line("public %s   admin %s   up after %s", h.PublicURL(), h.AdminURL(), round(took))
}

// journey begins a journey.
func (p *printer) journey(n int, title string) {
	if p.json {
		p.object(map[string]any{"event": "journey", "number": n, "title": title})
		return
	}
	p.line("\n%s", p.paint("1", fmt.Sprintf("%d  %s", n, title)))
}

// called writes one request.
func (p *printer) called(c call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		p.object(struct {
			Event string `json:"event"`
			call
		}{"request", c})
		return
	}
	fmt.Fprintf(p.out, "     %s\n", p.paint("2", fmt.Sprintf("%-4s %-42s %d  %8s  %s", c.Method, c.Path, c.Status, round(c.Took), c.Note)))
}

// step writes what a journey has led to.
func (p *printer) step(text string, took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		o := map[string]any{"event": "step", "text": text, "held": err == nil, "took_ns": took}
		if err != nil {
			o["error"] = err.Error()
		}
		p.object(o)
		return
	}
	if err != nil {
		fmt.Fprintf(p.out, "   %s %s\n     %s\n", p.paint("31;1", "✗"), text, strings.ReplaceAll(err.Error(), "\n", "\n     "))
		return
	}
	fmt.Fprintf(p.out, "   %s %-62s %8s\n", p.paint("32;1", "✓"), text, round(took))
}

func (p *printer) summary(steps, failed int, took time.Duration) {
	if p.json {
		p.object(map[string]any{"event": "summary", "steps": steps, "failed": failed, "took_ns": took})
		return
	}
	if failed == 0 {
		p.line("\n%s in %s", p.paint("32;1", fmt.Sprintf("All %d steps held", steps)), round(took))
		return
	}
	p.line("\n%s", p.paint("31;1", fmt.Sprintf("%d of %d steps failed", failed, steps)))
}

// stays says what a person can do now.
func (p *printer) stays(h *core.Host, dir string) {
	if p.json {
		p.object(map[string]any{"event": "serving", "public": h.PublicURL(), "admin": h.AdminURL()})
		return
	}
	curl := "curl"
	if strings.HasPrefix(h.PublicURL(), "https:") {
		curl += " --cacert " + dir + "/demo-ca.pem"
	}
	p.line(`
The server stays up. Sign in as alice@example.com (wonderland) or bob@example.com (builder). Try:
  %s %s/.well-known/marketplace-kit
  %s -i -X POST -H 'Content-Type: application/json' -d '{"apps":[{"appleItemId":"1000002","appleVersionId":"2000021"}],"platform":"iOS","osVersion":"26.1"}' %s/restore
  export SOUK_ADMIN=%s SOUK_ADMIN_TOKEN=$(cat %s/admin.token)
  go run ./cmd/souk app list
Ctrl-C stops it.`, curl, h.PublicURL(), curl, h.PublicURL(), h.AdminURL(), dir)
}

func round(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
