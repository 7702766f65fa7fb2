package catalog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
)

// Entry is an item made ready for answering. It is shared by all readers: nothing in it
// may be changed.
//
// In a large catalogue the time of a check goes into fetching memory. What nearly every
// question about an item is made of lies in its first four lines of 64 bytes: as soon as
// it is known where the entry is, all of them can be fetched at once.
type Entry struct {
	next     uint64 // the version after the few, 0 if there is none
	ID       uint64
	BundleID string // in texts
	SignIn   bool   // a request that names the app needs an access token
	Removed  bool
	Versions []Release  // newest first, withdrawn and halted ones too
	few      [2]fitting // of the newest versions
	texts    [248]byte  // that a question is made of: as many as there is room for
	*details
}

// details are what an update check that offers nothing can do without, but for more where
// a device is more than two versions behind.
type details struct {
	latest   uint64    // the highest version that an update may offer, 0 if none
	more     []fitting // of the versions after the few
	Name     string
	ShareURL string
	Reason   string

	item     Item
	digest   digest
	imported bool
}

// fitting is what choosing candidates has to know of a version. It lies apart from the
// rest of it.
type fitting struct {
	id     uint64
	minIOS uint32             // 0: does not run there, or is withdrawn
	flags  abi.CandidateFlags // critical and halted
	packed abi.PackedCandidate
}

// Release is a version made ready for answering.
type Release struct {
	ID         uint64
	Short      string
	Build      string
	Package    string // never empty
	Channel    string
	Salt       string // never empty
	ReleasedMS uint64 // Unix milliseconds, 0 if unknown
	Share      uint32 // basis points
	Critical   bool
	Halted     bool
	Withdrawn  bool

	minIOS uint32 // 0: does not run there

	// The element of an answer is head, for updates middle, a token, and tail.
	head, middle, tail string
}

// Item returns the item as the operator wrote it. The caller may change the copy.
func (e *Entry) Item() Item { return e.item.clone() }

// Version returns the version with this id, also one that is withdrawn or halted, or nil.
func (e *Entry) Version(id uint64) *Release {
	i, ok := slices.BinarySearchFunc(e.Versions, id, func(r Release, id uint64) int { return cmp.Compare(id, r.ID) })
	if !ok {
		return nil
	}
	return &e.Versions[i]
}

// Newest returns the newest version that an update may offer, nil if there is none.
func (e *Entry) Newest() *Release {
	if e.latest == 0 {
		return nil
	}
	return e.Version(e.latest)
}

// MinOS returns the oldest system of the platform that runs the version; false if none does.
func (r *Release) MinOS(p Platform) (uint32, bool) {
	switch p {
	case IOS, IPadOS: // one package serves both, and its manifest says "ios"
		return r.minIOS, r.minIOS != 0
	}
	return 0, false
}

// AppendUpdate appends the version as an element of "updates". The token must be a JWS,
// whose characters need no escaping.
//
// hot: called for every offer; no allocation when dst has room.
func (r *Release) AppendUpdate(dst, token []byte) []byte {
	dst = append(dst, r.head...)
	dst = append(dst, r.middle...)
	dst = append(dst, `,"installVerificationToken":"`...)
	dst = append(dst, token...)
	return append(dst, r.tail...)
}

// AppendRestore appends the version as an element of "restores"; see AppendUpdate.
func (r *Release) AppendRestore(dst, token []byte) []byte {
	dst = append(dst, r.head...)
	dst = append(dst, `,"installVerificationToken":"`...)
	dst = append(dst, token...)
	return append(dst, r.tail...)
}

// newEntry works out what answers need. The item must be normalised.
func newEntry(it Item, publicURL string) (*Entry, error) {
	e := &Entry{
		ID: it.ID, SignIn: it.SignIn != SignInNone, Removed: it.Removed, Versions: make([]Release, len(it.Versions)),
		details: &details{Name: it.Name, ShareURL: it.ShareURL, Reason: it.Reason, item: it},
	}
	if n := len(it.Versions) - len(e.few); n > 0 {
		e.more, e.next = make([]fitting, n), it.Versions[len(e.few)].ID
	}
	room := e.texts[:]
	keep := func(text string) string {
		if text == "" || len(text) > len(room) {
			return text
		}
		kept := unsafe.String(&room[0], copy(room, text)) // nobody writes there again
		room = room[len(text):]
		return kept
	}
	e.BundleID = keep(it.BundleID)
	id := strconv.FormatUint(it.ID, 10)
	tail := `"}`
	if it.ShareURL != "" {
		tail = `","appShareURL":` + jsonString(it.ShareURL) + `}`
	}
	for i, v := range it.Versions {
		version := strconv.FormatUint(v.ID, 10)
		r := Release{
			ID: v.ID, Short: v.Short, Build: v.Build, Channel: v.Channel,
			Package:  cmp.Or(v.Package, publicURL+"/packages/"+id+"/"+version),
			Salt:     cmp.Or(v.Rollout.Salt, id+"/"+version),
			Share:    uint32(min(max(v.Rollout.Share, 0), FullShare)),
			Critical: v.Critical, Halted: v.Rollout.Halted, Withdrawn: v.Withdrawn,
			tail: tail,
		}
		if !v.Released.IsZero() {
			r.ReleasedMS = uint64(v.Released.UnixMilli())
		}
		if text, ok := v.MinOS["ios"]; ok {
			if r.minIOS, ok = ParseOS(text); !ok {
				return nil, fmt.Errorf("catalog: version %d: min_os.ios %q is no version", v.ID, text)
			}
		}
		r.head = `{"appleItemId":"` + id + `","appleVersionId":"` + version +
			`","alternativeDistributionPackage":` + jsonString(r.Package)
		r.middle = `,"bundleVersion":` + jsonString(v.Build) + `,"shortVersionString":` + jsonString(v.Short)
		e.Versions[i] = r
		f := r.fitting()
		f.packed = abi.PackedCandidate(keep(string(f.packed)))
		*e.fitting(i) = f
		if e.latest == 0 && f.minIOS != 0 && !r.Halted && !it.Removed {
			e.latest = r.ID
		}
	}
	return e, nil
}

// fitting returns that of the version in the same place of Versions.
func (e *Entry) fitting(i int) *fitting {
	if i < len(e.few) {
		return &e.few[i]
	}
	return &e.more[i-len(e.few)]
}

func (r *Release) fitting() fitting {
	told := abi.Candidate{
		Version: r.ID, ReleasedMS: r.ReleasedMS, Rollout: r.Share, Salt: r.Salt, Short: r.Short, Build: r.Build, Channel: r.Channel,
	}
	f := fitting{id: r.ID, minIOS: r.minIOS, packed: told.Pack()}
	if r.Withdrawn {
		f.minIOS = 0
	}
	if r.Critical {
		f.flags |= abi.FlagCritical
	}
	if r.Halted {
		f.flags |= abi.FlagHalted
	}
	return f
}

// fingerprint is the entry's share of its snapshot's.
func (e *Entry) fingerprint() uint64 { return binary.BigEndian.Uint64(e.digest[:]) }

// jsonString writes s as devices like it: without escaping & < >, which URLs are full of.
func jsonString(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can be encoded and a Buffer takes it
	return strings.TrimSuffix(b.String(), "\n")
}
