package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/souk-market/souk/core/store/audit"
)

// ClientState says whether a client may be used. One that was removed keeps its
// record: a delete could come undone, and its sign-ins with it.
type ClientState byte

const (
	ClientActive   ClientState = 1
	ClientDisabled ClientState = 2
	ClientRemoved  ClientState = 3
)

// ClientKind says how a client proves who it is.
type ClientKind byte

const (
	NativeClient       ClientKind = 1 // it can't keep a secret, and has none
	ConfidentialClient ClientKind = 2
)

// The limits of a client's record, and of how many there are: all are in memory.
const (
	MaxClients   = 10_000
	MaxRedirects = 10
	maxRedirect  = 1024 // bytes
)

var (
	// ErrClientExists means that the id belongs to a client that was not removed.
	ErrClientExists = errors.New("store: client exists")
	// ErrClients means that there are MaxClients already, removed ones among them.
	ErrClients = errors.New("store: too many clients")
)

// Client is an OAuth client that an operator has registered.
type Client struct {
	ID           string
	State        ClientState
	Kind         ClientKind
	Market       bool   // its tokens open the market's endpoints
	Scope        uint32 // the most that its tokens may say
	Epoch        uint32 // goes up when its sign-ins end: those of an older epoch are worth nothing
	Created      time.Time
	Changed      time.Time // of two writes never the same
	Secret       [32]byte  // SHA-256 of the secret; of a confidential client only
	Name         string
	RedirectURIs []string
}

// CreateClient stores a client unless its id is in use; then it is ErrClientExists
// and returns the one that is there. A client that was removed may come back, with
// another epoch than it had. It is written down first.
func (s *Store) CreateClient(ctx context.Context, c Client) (Client, error) {
	c.State, c.Epoch = ClientActive, 0
	if err := c.check(); err != nil {
		return Client{}, err
	}
	// No more than about so many: two at the same moment may both see the last room.
	all, err := s.Clients(ctx)
	if err != nil {
		return Client{}, err
	}
	it, err := s.changeClient(ctx, c.ID, func(before Client, cur *Item) (*Client, error) {
		switch {
		case cur == nil && len(all) >= MaxClients:
			return nil, ErrClients
		case cur != nil && before.State != ClientRemoved:
			return nil, existsError{*cur}
		}
		next := c
		next.Epoch, next.Changed = before.Epoch, s.after(before.Changed)
		next.Created = next.Changed
		return &next, nil
	})
	if found, ok := errors.AsType[existsError](err); ok {
		existing, err := decodeClient(c.ID, found.item.Value)
		return existing, errors.Join(ErrClientExists, err)
	}
	if err != nil {
		return Client{}, err
	}
	return decodeClient(c.ID, it.Value)
}

// UpdateClient lets f change a client that was not removed and returns it as it
// then stands; ErrNotFound if there is none. The id, the kind, the epoch and the
// moment of its creation are not f's to change: the epoch goes up when the client
// is no longer active, and when its tokens are to open something else, so that
// what was issued before ends with this one write. f must be pure, as an
// UpdateFunc; without change nothing is written. A change is written down first, and
// f runs again then.
func (s *Store) UpdateClient(ctx context.Context, id string, f func(*Client) (change bool, err error)) (Client, error) {
	it, err := s.changeClient(ctx, id, func(before Client, cur *Item) (*Client, error) {
		if cur == nil || before.State == ClientRemoved {
			return nil, ErrNotFound
		}
		next := before
		change, err := f(&next)
		if err != nil || !change {
			return nil, err
		}
		next.ID, next.Kind, next.Epoch, next.Created, next.Changed = id, before.Kind, before.Epoch, before.Created, s.after(before.Changed)
		if before.State == ClientActive && next.State != ClientActive || next.Market != before.Market {
			next.Epoch++
		}
		return &next, next.check()
	})
	if err != nil {
		return Client{}, err
	}
	return decodeClient(id, it.Value)
}

// changeClient is the Update of a client's record, of which change says what becomes;
// nil = it stays. An entry names the record that it changes by when that was written,
// so whoever finds another one writes another entry: see ReplayClient.
func (s *Store) changeClient(ctx context.Context, id string, change func(before Client, cur *Item) (next *Client, err error)) (Item, error) {
	var it Item
	err := s.firstWrite(ctx, func(written []audit.Entry) (err error) {
		it, err = s.engine.Update(ctx, clientKey(id), func(cur *Item) (*Write, error) {
			var before Client
			if cur != nil {
				var err error
				if before, err = decodeClient(id, cur.Value); err != nil {
					return nil, err
				}
			}
			next, err := change(before, cur)
			if err != nil || next == nil {
				return nil, err
			}
			if s.audit != nil {
				if need := before.changes(next); !sameChanges(need, written) {
					return nil, &unwritten{need}
				}
			}
			return &Write{Value: encodeClient(*next)}, nil
		})
		return err
	})
	return it, err
}

// after is now, but later than an earlier moment of the same record: two writes of one
// never have the same.
func (s *Store) after(earlier time.Time) time.Time {
	return latest(Millis(s.now()), earlier.Add(time.Millisecond))
}

// changes are the entries that a change of a client needs; the zero client is none.
func (c *Client) changes(next *Client) (entries []audit.Entry) {
	add := func(e audit.Entry) {
		e.Epoch = next.Epoch
		if e.Detail == nil {
			e.Detail = map[string]string{}
		}
		e.Detail[detailClient] = next.ID
		if !c.Changed.IsZero() {
			e.Detail[detailUnchanged] = c.Changed.Format(time.RFC3339Nano)
		}
		entries = append(entries, e)
	}
	was := c.State == ClientActive || c.State == ClientDisabled
	switch {
	case !was:
		kind := "native"
		if next.Kind == ConfidentialClient {
			kind = "confidential"
		}
		add(audit.Entry{
			Kind: audit.ClientRegistered, Added: next.RedirectURIs,
			Detail: map[string]string{"kind": kind, "name": next.Name, "market": strconv.FormatBool(next.Market)},
		})
		return entries
	case next.State == ClientRemoved:
		add(audit.Entry{Kind: audit.ClientRemoved})
		return entries
	}
	changed := audit.Entry{
		Kind: audit.ClientChanged, Added: missing(next.RedirectURIs, c.RedirectURIs), Removed: missing(c.RedirectURIs, next.RedirectURIs),
		Detail: map[string]string{},
	}
	if next.Name != c.Name {
		changed.Detail["old_name"], changed.Detail["name"] = c.Name, next.Name
	}
	if next.Market != c.Market {
		changed.Detail["market"] = strconv.FormatBool(next.Market)
	}
	if next.Scope != c.Scope {
		changed.Detail["scope"] = strconv.FormatUint(uint64(next.Scope), 16)
	}
	if len(changed.Added)+len(changed.Removed)+len(changed.Detail) > 0 {
		add(changed)
	}
	if next.Secret != c.Secret {
		add(audit.Entry{Kind: audit.ClientSecretRotated})
	}
	switch {
	case next.State == c.State:
	case next.State == ClientDisabled:
		add(audit.Entry{Kind: audit.ClientDisabled})
	default:
		add(audit.Entry{Kind: audit.ClientEnabled})
	}
	return entries
}

// The keys of an entry's Detail that ReplayClient needs.
const (
	detailClient    = "client"
	detailUnchanged = "unchanged_since"
)

// missing is what is in a list and not in another, in the order of the list.
func missing(list, other []string) (left []string) {
	for _, one := range list {
		if !slices.Contains(other, one) {
			left = append(left, one)
		}
	}
	return left
}

// RemoveClient writes over what a client was; only its id and its epoch stay. One
// that is absent or was removed before is ErrNotFound.
func (s *Store) RemoveClient(ctx context.Context, id string) error {
	_, err := s.UpdateClient(ctx, id, func(c *Client) (bool, error) {
		c.remove()
		return true, nil
	})
	return err
}

func (c *Client) remove() {
	c.State, c.Secret, c.Name, c.RedirectURIs = ClientRemoved, [32]byte{}, "", nil
}

// Clients returns all clients in the order of their ids, removed ones too.
func (s *Store) Clients(ctx context.Context) ([]Client, error) {
	var all []Client
	err := s.scanAll(ctx, tableClient, partClients, func(it Item) error {
		c, err := decodeClient(it.Key.Sub, it.Value)
		all = append(all, c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// WatchClients hints at changes of the clients, as Engine.Watch does.
func (s *Store) WatchClients(ctx context.Context) (<-chan struct{}, error) {
	return s.engine.Watch(ctx, tableClient)
}

// check refuses what can't be a client's record. What a redirect URI may be is the
// authorization server's affair.
func (c *Client) check() error {
	switch {
	case c.ID == "":
		return errors.New("store: client without an id")
	case c.State < ClientActive || c.State > ClientRemoved:
		return fmt.Errorf("store: client with the state %d", c.State)
	case c.Kind != NativeClient && c.Kind != ConfidentialClient:
		return fmt.Errorf("store: client of the kind %d", c.Kind)
	case c.State != ClientRemoved && (c.Kind == ConfidentialClient) == (c.Secret == [32]byte{}):
		return errors.New("store: client whose kind and secret don't go together")
	case len(c.RedirectURIs) > MaxRedirects:
		return fmt.Errorf("%w: client of %d redirect URIs, at most %d", ErrLimit, len(c.RedirectURIs), MaxRedirects)
	}
	for _, uri := range c.RedirectURIs {
		if err := checkText("redirect URI", uri, maxRedirect); err != nil {
			return err
		}
	}
	return errors.Join(checkText("client", c.ID, maxClient), checkText("name", c.Name, maxAccount))
}

func encodeClient(c Client) []byte {
	b := appendFlag([]byte{1, byte(c.State), byte(c.Kind)}, c.Market)
	b = binary.BigEndian.AppendUint32(b, c.Scope)
	b = binary.BigEndian.AppendUint32(b, c.Epoch)
	b = appendTime(b, c.Created)
	b = appendTime(b, c.Changed)
	b = append(b, c.Secret[:]...)
	b = appendText(b, c.Name)
	b = binary.AppendUvarint(b, uint64(len(c.RedirectURIs)))
	for _, uri := range c.RedirectURIs {
		b = appendText(b, uri)
	}
	return b
}

// decodeClient reads the record of the client with this id, which is its key.
func decodeClient(id string, b []byte) (Client, error) {
	r := readRecord(tableClient, b, 1)
	c := Client{
		ID: id, State: ClientState(r.byte()), Kind: ClientKind(r.byte()), Market: r.flag(), Scope: r.uint32(), Epoch: r.uint32(),
		Created: r.time(), Changed: r.time(), Secret: [32]byte(r.take(32)), Name: r.text(),
	}
	for range r.count() {
		c.RedirectURIs = append(c.RedirectURIs, r.text())
	}
	if r.err == nil && c.check() != nil {
		r.fail()
	}
	if err := r.end(); err != nil {
		return Client{}, err
	}
	return c, nil
}
