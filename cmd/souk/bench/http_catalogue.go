package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/souk-market/souk/core/catalog"
)

// The catalogue has apps with three versions each. Of every fourth app the rollout of
// the newest has not begun: it is a candidate, and nobody is offered it.
const (
	firstItem    = 1_500_000_000
	firstVersion = 800_000_000
	newest       = 3
	heldEvery    = 4
)

func itemID(i int) uint64 { return firstItem + uint64(i) }

// versionID is the id of the nth version of an app, from 1 on.
func versionID(i, n int) uint64 { return firstVersion + uint64(i)*10 + uint64(n) }

// isHeld says whether the newest version of an app is offered to nobody yet.
func isHeld(i int) bool { return i%heldEvery == heldEvery-1 }

func bundleID(i int) string { return fmt.Sprintf("com.example.app%d", i) }
func shortOf(n int) string  { return fmt.Sprintf("%d.0", n) }
func buildOf(n int) string  { return fmt.Sprint(100 + n) }
func shareURL(i int) string { return fmt.Sprintf("https://market.example.com/apps/%d", itemID(i)) }
func packageOf(i, n int) string {
	return fmt.Sprintf("https://packages.example.com/%d/%d/manifest.json", itemID(i), versionID(i, n))
}

// catalogue is one of so many apps.
func catalogue(items int) []catalog.Item {
	all := make([]catalog.Item, items)
	for i := range all {
		it := catalog.Item{
			ID: itemID(i), BundleID: bundleID(i), Name: fmt.Sprint("App ", i), SignIn: catalog.SignInRequired, ShareURL: shareURL(i),
		}
		for n := newest; n > 0; n-- {
			share := catalog.FullShare
			if n == newest && isHeld(i) {
				share = 0
			}
			it.Versions = append(it.Versions, catalog.Version{
				ID: versionID(i, n), Short: shortOf(n), Build: buildOf(n), Package: packageOf(i, n),
				Released: time.Date(2026, time.Month(n), 1+i%28, 12, 0, 0, 0, time.UTC),
				MinOS:    map[string]string{"ios": "17.4"}, Rollout: catalog.Rollout{Share: share},
			})
		}
		all[i] = it
	}
	return all
}

// draw chooses so many apps from all over a catalogue, each with the same chance: a
// cache is of the least use. A popular app would be in it always.
func draw(r *rand.Rand, items, count int, held bool) []int {
	chosen := make([]int, 0, count)
	for len(chosen) < count {
		if i := r.IntN(items); isHeld(i) == held && !slices.Contains(chosen, i) {
			chosen = append(chosen, i)
		}
	}
	return chosen
}

// drawReleased chooses an app that came out just now, and that isn't chosen yet.
func drawReleased(r *rand.Rand, items int, chosen []int) int {
	for all := released(items); ; {
		if i := all[r.IntN(len(all))]; !slices.Contains(chosen, i) {
			return i
		}
	}
}

// drawable is how many apps there are to draw from a catalogue, held or not.
func drawable(items int, held bool) int {
	if held {
		return items / heldEvery
	}
	return items - items/heldEvery
}
