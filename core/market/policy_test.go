package market_test

import (
	"testing"

	"github.com/souk-market/souk/core/catalog"
	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/sdk/abi"
)

// candidates makes a list, newest first, of shares with their flags.
func candidates(shares []uint32, flags ...abi.CandidateFlags) []catalog.Candidate {
	all := make([]catalog.Candidate, len(shares))
	for i, share := range shares {
		all[i].Release = &catalog.Release{ID: uint64(100 - i), Share: share, Salt: string(rune('a' + i))}
		if i < len(flags) {
			all[i].Flags = flags[i]
		}
	}
	return all
}

// A device gets the newest version whose rollout is open to it.
func TestOpenChoice(t *testing.T) {
	const key = "alice@example.com"
	bucket := abi.Bucket(key, "a")
	if bucket == 0 || bucket >= abi.Buckets-1 {
		t.Fatalf("the bucket %d of the test's account is at the edge: choose another", bucket)
	}
	for _, test := range []struct {
		name   string
		shares []uint32
		key    string
		want   abi.Choice
	}{
		{"no candidate", nil, key, abi.Hold},
		{"open to everyone", []uint32{abi.Buckets}, key, 0},
		{"open to everyone, for nobody in particular", []uint32{abi.Buckets}, "", 0},
		{"open to nobody", []uint32{0}, key, abi.Hold},
		{"open up to the bucket before", []uint32{bucket}, key, abi.Hold},
		{"open up to the bucket", []uint32{bucket + 1}, key, 0},
		{"open to all but one, for nobody in particular", []uint32{abi.Buckets - 1}, "", abi.Hold},
		{"held, and an older one is open", []uint32{0, abi.Buckets}, key, 1},
		{"held, and two older ones are open", []uint32{0, abi.Buckets, abi.Buckets}, key, 1},
		{"the newest of those that are open", []uint32{abi.Buckets, abi.Buckets}, key, 0},
	} {
		if got := market.OpenChoice(candidates(test.shares), test.key); got != test.want {
			t.Errorf("%s: openChoice = %d, want %d", test.name, got, test.want)
		}
	}
}

// A restore gives the requested version, else the newest, unless policy chooses.
func TestRestoreChoice(t *testing.T) {
	none, second := candidates([]uint32{0, 0, 0}), candidates([]uint32{0, 0, 0}, 0, abi.FlagRequested)
	for _, test := range []struct {
		name       string
		choice     abi.Choice
		candidates []catalog.Candidate
		want       abi.Choice
	}{
		{"policy abstains, none was requested", abi.ChoicePass, none, 0},
		{"policy abstains, the second was requested", abi.ChoicePass, second, 1},
		{"policy holds, none was requested", abi.Hold, none, 0},
		{"policy holds, the second was requested", abi.Hold, second, 1},
		{"policy chooses the third", 2, second, 2},
		{"policy says that there is none", abi.Unavailable, second, abi.Unavailable},
	} {
		if got := market.RestoreChoice(test.choice, test.candidates); got != test.want {
			t.Errorf("%s: restoreChoice = %d, want %d", test.name, got, test.want)
		}
	}
}

// Chosen makes of the candidates of a question what the market itself makes of
// those of the catalogue.
func TestChosenIsTheMarketsChoice(t *testing.T) {
	const key = "alice@example.com"
	var config market.Config
	for _, shares := range [][]uint32{{0}, {abi.Buckets}, {0, abi.Buckets}, {abi.Bucket(key, "a"), abi.Bucket(key, "b") + 1}, {0, 0, 0}, {abi.Bucket(key, "a") + 1, 0}} {
		for requested := range len(shares) + 1 {
			flags := make([]abi.CandidateFlags, len(shares)+1)
			flags[requested] = abi.FlagRequested
			list := candidates(shares, flags...)
			var asked []abi.Candidate
			for _, c := range list {
				asked = append(asked, abi.Candidate{Version: c.Release.ID, Rollout: c.Release.Share, Salt: c.Release.Salt, Flags: c.Flags})
			}
			for choice := abi.Unavailable; int(choice) < len(shares); choice++ {
				for _, who := range []string{key, ""} {
					update := choice
					if choice == abi.ChoicePass {
						update = market.OpenChoice(list, who)
					}
					head := &abi.Head{BucketKey: who, Purpose: abi.PurposeUpdate}
					if got := config.Chosen(head, choice, asked); got != update {
						t.Errorf("update of %v for %q: Chosen(%d) = %d, want %d", shares, who, choice, got, update)
					}
					head.Purpose = abi.PurposeRestore
					if got, want := config.Chosen(head, choice, asked), market.RestoreChoice(choice, list); got != want {
						t.Errorf("restore of %v for %q: Chosen(%d) = %d, want %d", shares, who, choice, got, want)
					}
				}
			}
		}
	}
}
