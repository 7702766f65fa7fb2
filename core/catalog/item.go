package catalog

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Item is an app as the operator writes it: in the catalogue file, over the admin API,
// and in the store, always with the same names.
type Item struct {
	ID       uint64    `json:"id,string"`           // Apple item id
	BundleID string    `json:"bundle_id"`           // as the app is signed with
	Name     string    `json:"name,omitempty"`      // for people
	SignIn   string    `json:"sign_in"`             // SignInRequired (also when empty) or SignInNone
	ShareURL string    `json:"share_url,omitempty"` // the app's page
	Removed  bool      `json:"removed,omitempty"`   // taken down: nobody is offered any version
	Reason   string    `json:"reason,omitempty"`    // why it was taken down
	Versions []Version `json:"versions"`            // newest first once stored
}

// Whether a device has to send an access token to be told about the app.
const (
	SignInRequired = "required"
	SignInNone     = "none"
)

// Version is one version of an app. Version ids only go up, so the higher is the newer.
type Version struct {
	ID        uint64            `json:"id,string"`          // Apple version id
	Short     string            `json:"short"`              // shortVersionString
	Build     string            `json:"build"`              // bundleVersion
	Released  time.Time         `json:"released,omitzero"`  // tells policies and people; holds nothing back
	MinOS     map[string]string `json:"min_os"`             // by platform in lower case; one that is missing can't run it
	Package   string            `json:"package,omitempty"`  // alternative distribution package; empty: on this server
	Channel   string            `json:"channel,omitempty"`  // for policies, such as "beta"
	Critical  bool              `json:"critical,omitempty"` // for policies
	Withdrawn bool              `json:"withdrawn,omitempty"`
	Rollout   Rollout           `json:"rollout"`
}

// Rollout is the state of a phased release.
type Rollout struct {
	Share  int    `json:"share"`            // basis points that are open now; in a file that doesn't say, all 10000
	Salt   string `json:"salt,omitempty"`   // empty: "<item>/<version>"; the salt of another version reuses its cohort
	Halted bool   `json:"halted,omitempty"` // no new offers; who has the version keeps it
}

// FullShare is a rollout that is open to everyone.
const FullShare = 10_000

// UnmarshalJSON reads an item strictly: unknown keys, keys given twice and values of the
// wrong kind are Invalid, with their paths. Whether the values make sense is for Validate.
func (it *Item) UnmarshalJSON(text []byte) error {
	tree, err := jsonTree(text)
	if err != nil {
		return err
	}
	var d decoder
	read := d.item("", tree)
	if len(d.problems) > 0 {
		return d.problems
	}
	*it = read
	return nil
}

// clone returns a copy that shares nothing with it.
func (it Item) clone() Item {
	it.Versions = slices.Clone(it.Versions)
	for i := range it.Versions {
		it.Versions[i].MinOS = maps.Clone(it.Versions[i].MinOS)
	}
	return it
}

// normalise brings a valid item into the one form in which it is stored, so that equal
// content has equal bytes.
func (it *Item) normalise() {
	it.SignIn = cmp.Or(it.SignIn, SignInRequired)
	if it.Versions == nil {
		it.Versions = []Version{}
	}
	for i := range it.Versions {
		v := &it.Versions[i]
		if v.Released.IsZero() {
			v.Released = time.Time{}
		} else {
			v.Released = v.Released.UTC().Truncate(time.Millisecond)
		}
	}
	slices.SortFunc(it.Versions, func(a, b Version) int { return cmp.Compare(b.ID, a.ID) })
}

// version returns the version with this id, to be changed in place.
func (it *Item) version(id uint64) (*Version, error) {
	for i := range it.Versions {
		if it.Versions[i].ID == id {
			return &it.Versions[i], nil
		}
	}
	return nil, ErrNoVersion
}
