package report_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/souk-market/souk/cmd/souk/sim/report"
	"github.com/souk-market/souk/core/coretest/chromium"
)

// drawn says of each plot how wide and high its canvas is, how many colours are in
// it and what it looks like; how far the page is wider than the screen, and what is
// in it that nobody put there.
const drawn = `(() => {
	window.before = document.querySelector("canvas").toDataURL();
	const plots = [...document.querySelectorAll("canvas")].map(c => {
		const copy = new OffscreenCanvas(c.width, c.height).getContext("2d", {willReadFrequently: true});
		copy.drawImage(c, 0, 0);
		const pixels = new Uint32Array(copy.getImageData(0, 0, c.width, c.height).data.buffer);
		return {ID: c.closest(".plot").id, Width: c.clientWidth, Height: c.clientHeight, Colors: new Set(pixels).size, Look: pixels.reduce((sum, p) => (sum * 31 + p) >>> 0, 0)};
	});
	return {Plots: plots, Wanted: document.querySelectorAll(".plot").length, Beyond: document.documentElement.scrollWidth - innerWidth,
		Strange: document.querySelectorAll("img, iframe, link, main script, body [onerror]").length, Legend: document.querySelector(".u-legend")?.textContent || "", Paper: getComputedStyle(document.documentElement).backgroundColor};
})()`

type seen struct {
	Plots []struct {
		ID                    string
		Width, Height, Colors int
		Look                  uint32 // a hash of all points
	}
	Wanted, Beyond, Strange int
	Paper, Legend           string
}

// complain collects what a browser has to say against a page, and what it fetches.
func complain(t *testing.T, ctx context.Context) func() []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	add := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, fmt.Sprintf(format, args...))
	}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, "file:") {
				add("fetches %s", e.Request.URL)
			}
		case *log.EventEntryAdded:
			add("logs %s", e.Entry.Text)
		case *runtime.EventConsoleAPICalled:
			add("prints %s", e.Type)
		case *runtime.EventExceptionThrown:
			add("throws %s", e.ExceptionDetails.Text)
			if e.ExceptionDetails.Exception != nil {
				add("namely %s", e.ExceptionDetails.Exception.Description)
			}
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err == nil {
		_, err = chromedp.Call(ctx, runtime.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatalf("listen to chromium: %v", err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func scheme(name string) emulation.SetEmulatedMediaParams {
	return emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}
}

// TestPageInABrowser opens the pages of a good run, of one whose texts are hostile, and of
// a growth, on a phone and on a desk, in light and in dark: nothing is fetched or
// complained about, and each plot is drawn. SOUK_SCREENSHOTS names a directory for
// pictures.
func TestPageInABrowser(t *testing.T) {
	pages := map[string]func(io.Writer) error{
		"release": func(w io.Writer) error { return report.HTML(w, release()) },
		"broken":  func(w io.Writer) error { return report.HTML(w, broken()) },
		"growth":  func(w io.Writer) error { return report.GrowthHTML(w, growth()) },
	}
	ctx := chromium.Start(t)
	complaints := complain(t, ctx)
	for name, write := range pages {
		file := filepath.Join(t.TempDir(), name+".html")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := write(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for screen, width := range map[string]int64{"phone": 390, "desk": 1280} {
			look := func(colors string) seen {
				t.Helper()
				if err := chromedp.Do(ctx, chromedp.Poll[chromedp.Void]("document.querySelector('canvas')?.toDataURL() !== window.before")); err != nil {
					t.Fatalf("%s on a %s in %s: %v; the browser says %q", name, screen, colors, err, complaints())
				}
				s, err := chromedp.Run(ctx, chromedp.Evaluate[seen](drawn))
				if err != nil {
					t.Fatalf("%s on a %s in %s: %v", name, screen, colors, err)
				}
				if len(s.Plots) == 0 || len(s.Plots) != s.Wanted {
					t.Errorf("%s on a %s in %s has %d plots, want %d", name, screen, colors, len(s.Plots), s.Wanted)
				}
				for _, p := range s.Plots {
					if p.Width < 250 || p.Height < 200 || int64(p.Width) > width || p.Colors < 8 {
						t.Errorf("%s on a %s in %s: %s has %d × %d points and %d colours", name, screen, colors, p.ID, p.Width, p.Height, p.Colors)
					}
				}
				if s.Strange > 0 || s.Legend == "" {
					t.Errorf("%s on a %s in %s: %d strange elements, the first legend is %q", name, screen, colors, s.Strange, s.Legend)
				}
				if s.Beyond > 0 {
					t.Errorf("%s on a %s is %d points wider than the screen", name, screen, s.Beyond)
				}
				if dir := os.Getenv("SOUK_SCREENSHOTS"); dir != "" {
					png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
					if err == nil {
						err = os.WriteFile(filepath.Join(dir, name+"-"+screen+"-"+colors+".png"), png, 0o600)
					}
					if err != nil {
						t.Error(err)
					}
				}
				return s
			}
			paint := func(colors string) {
				t.Helper()
				if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, scheme(colors)); err != nil {
					t.Fatal(err)
				}
			}
			paint("light")
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate("file://"+filepath.ToSlash(file))); err != nil {
				t.Fatalf("open %s: %v", name, err)
			}
			light := look("light")
			paint("dark") // while the page is open
			dark := look("dark")
			if light.Paper == dark.Paper {
				t.Errorf("%s on a %s: the paper is %s, light and dark", name, screen, dark.Paper)
			}
			for i := range min(len(light.Plots), len(dark.Plots)) {
				if light.Plots[i].Look == dark.Plots[i].Look {
					t.Errorf("%s on a %s: %s looks the same in light and dark", name, screen, dark.Plots[i].ID)
				}
			}
		}
	}
	if all := complaints(); len(all) > 0 {
		t.Errorf("the browser %s", strings.Join(all, "\nthe browser "))
	}
}
