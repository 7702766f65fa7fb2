package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Kind says what happened. It stays what it is for as long as anybody reads old
// segments: kinds are added, never given another meaning.
type Kind string

// The kinds of entries. Of each the fields that it has besides Seq, Time, Kind,
// Actor, Name and Address.
const (
	// SignedIn: a code was redeemed or a subject token exchanged. Subject, Client,
	// Family, Epoch.
	SignedIn Kind = "signed_in"
	// CodeBurned: somebody came with a code and a verifier that does not fit; the
	// family that the code names can't be had any more. Subject, Client, Family.
	CodeBurned Kind = "code_burned"
	// FamilyRevoked: one sign-in ended. Family, Until, and where they are known
	// Subject and Client; "why" in Detail.
	FamilyRevoked Kind = "family_revoked"
	// SignedOut: all sign-ins of an account ended. Account, Subject, and Epoch, which
	// is the account's from then on.
	SignedOut Kind = "signed_out"
	// GrantsChanged: what an account was granted. Account, Subject, Added, Removed.
	GrantsChanged Kind = "grants_changed"
	// TerritoryChanged: where an account belongs. Account, Subject; "old" and "new" in
	// Detail.
	TerritoryChanged Kind = "territory_changed"
	// PersonChanged: somebody's credentials were set. Account; "change" in Detail.
	PersonChanged Kind = "person_changed"
	// PersonRemoved: somebody's credentials were taken away. Account.
	PersonRemoved Kind = "person_removed"
	// TokenMinted: the operator was given a subject token. Account, Subject, and
	// Until, which is when it runs out.
	TokenMinted Kind = "subject_token_minted"
	// LimitReached: attempts at passwords were stopped. Account or Address; "limit" in
	// Detail.
	LimitReached Kind = "attempts_limit_reached"
	// ItemChanged: the catalogue's record of an item. Item; "change" in Detail.
	ItemChanged Kind = "item_changed"
	// ItemRemoved: an item left the catalogue. Item.
	ItemRemoved Kind = "item_removed"
	// KeyRotated: tokens are made under a new key from now on. "key" in Detail.
	KeyRotated Kind = "key_rotated"
	// KeyRetired: tokens under this key are no longer good. "key" in Detail.
	KeyRetired Kind = "key_retired"
	// PluginSwapped: another module of a plugin is asked. "plugin", "change" (swap,
	// return, sent back), "before" and "sha256" in Detail, and "signed_by" if anybody has.
	PluginSwapped Kind = "plugin_swapped"
	// PluginsReloaded: the plugins of the configuration were read again. "added",
	// "changed" and "removed" in Detail name them.
	PluginsReloaded Kind = "plugins_reloaded"
	// ClientRegistered: an OAuth client was registered. Epoch, and Added, its redirect
	// URIs; "kind", "name" and "market" in Detail. Of this kind and all others that are
	// about a client: "client" in Detail, and "unchanged_since", which is when its record
	// was written before, unless there was none.
	ClientRegistered Kind = "client_registered"
	// ClientChanged: what a client may do, or what it is called. Epoch, which goes up if
	// its sign-ins end with the change; Added and Removed, of its redirect URIs; "name"
	// and "old_name", "market" and "scope" (hexadecimal) in Detail, those that changed.
	ClientChanged Kind = "client_changed"
	// ClientDisabled: a client and its sign-ins ended. Epoch.
	ClientDisabled Kind = "client_disabled"
	// ClientEnabled: a client that was disabled may be used again. Epoch.
	ClientEnabled Kind = "client_enabled"
	// ClientSecretRotated: a client has another secret. Epoch.
	ClientSecretRotated Kind = "client_secret_rotated"
	// ClientRemoved: a client and its sign-ins ended, for good. Epoch.
	ClientRemoved Kind = "client_removed"
	// LicenseRevoked: licences for an item ended. Item, and, of those of one account,
	// Account, Subject and Removed, their ids; without these all that there were.
	LicenseRevoked Kind = "license_revoked"
	// PollingChanged: how often devices look for updates. "old" and "hours" in Detail, each
	// missing where the configuration says it, and "until".
	PollingChanged Kind = "polling_interval_changed"
	// BackupTaken: all that the store holds, or what has changed, was handed out, or began
	// to be. "backup" in Detail, and "since" of one that builds on another.
	BackupTaken Kind = "backup_taken"
	// Started: a server opened the data directory. In Detail the SHA-256 of each plugin's
	// module, by "plugin " and its name.
	Started Kind = "started"
	// Recovered: the store was restored from a backup. "backup" in Detail.
	Recovered Kind = "recovered"
	// ChainBroken: a segment is damaged where it had been synced, and the chain begins
	// anew. "segment", "offset" and "reason" in Detail.
	ChainBroken Kind = "chain_broken"
	// SegmentsDropped: the oldest segments are past their age or size. "first" and
	// "last" in Detail are their numbers, "head" is the hash of the last one's end.
	SegmentsDropped Kind = "segments_dropped"
)

// Kinds are all there are.
var Kinds = []Kind{
	SignedIn, CodeBurned, FamilyRevoked, SignedOut, GrantsChanged, TerritoryChanged, PersonChanged, PersonRemoved, TokenMinted,
	LimitReached, ItemChanged, ItemRemoved, KeyRotated, KeyRetired, PluginSwapped, PluginsReloaded, ClientRegistered, ClientChanged,
	ClientDisabled, ClientEnabled, ClientSecretRotated, ClientRemoved, LicenseRevoked, PollingChanged, BackupTaken, Started,
	Recovered, ChainBroken, SegmentsDropped,
}

// Actor says who did it.
type Actor string

// The actors.
const (
	Device Actor = "device" // a device that nobody registers
	Client Actor = "client" // a registered app, or the install page
	Admin  Actor = "admin"  // whoever holds the admin token
	Plugin Actor = "plugin" // a policy's answer
	System Actor = "system" // the server itself
)

// ID is the id of a family, a subject or a client.
type ID [16]byte

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("audit: an id has %d hexadecimal digits, not %d", 2*len(id), len(text))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Entry is one thing that happened, or, after a crash, was about to. No token, no
// password and no key is ever in one.
type Entry struct {
	Seq     uint64            `json:"seq"`  // from 1; set by Append
	Time    time.Time         `json:"time"` // in UTC, to the millisecond; set by Append
	Kind    Kind              `json:"kind"`
	Actor   Actor             `json:"actor"`
	Name    string            `json:"name,omitempty"` // of the actor, where it has one: a plugin, a client
	Address string            `json:"address,omitempty"`
	Account string            `json:"account,omitempty"`
	Subject ID                `json:"subject,omitzero"` // of the account
	Client  ID                `json:"client,omitzero"`
	Family  ID                `json:"family,omitzero"`
	Item    uint64            `json:"item,string,omitempty"`
	Epoch   uint32            `json:"epoch,omitempty"`
	Until   time.Time         `json:"until,omitzero"`
	Added   []string          `json:"added,omitempty"`
	Removed []string          `json:"removed,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`

	// Of an entry that was read: where it stands, and the hash of the chain up to it.
	At   Position `json:"-"`
	Hash Hash     `json:"-"`
}

// Position is a place in a segment.
type Position struct {
	Segment string // the name of its file
	Offset  int64
}

// maxText bounds the texts of an entry together. JSON makes at most six bytes of
// one, so the entry stays below maxPayload.
const (
	maxText    = 160 << 10
	maxPayload = 1 << 20
)

func (e *Entry) check() error {
	if e.Kind == "" || e.Actor == "" {
		return fmt.Errorf("audit: entry of kind %q by %q: both have to be named", e.Kind, e.Actor)
	}
	if y := e.Until.Year(); y < 0 || y > 9999 { // JSON has no such time
		return fmt.Errorf("audit: entry of kind %s until the year %d: no year beyond 9999 can be written down", e.Kind, y)
	}
	if n := e.size(); n > maxText {
		return fmt.Errorf("audit: entry of kind %s has %d bytes of text, at most %d", e.Kind, n, maxText)
	}
	return nil
}

// size is how many bytes of text the entry has.
func (e *Entry) size() int {
	n := len(e.Kind) + len(e.Actor) + len(e.Name) + len(e.Address) + len(e.Account)
	for _, list := range [...][]string{e.Added, e.Removed} {
		for _, text := range list {
			n += len(text) + 1
		}
	}
	for k, v := range e.Detail {
		n += len(k) + len(v) + 1
	}
	return n
}

func encodeEntry(e *Entry) ([]byte, error) { return json.Marshal(e) }

func decodeEntry(b []byte) (e Entry, err error) {
	if err := json.Unmarshal(b, &e); err != nil {
		return Entry{}, err
	}
	return e, e.check()
}
