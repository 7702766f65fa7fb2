package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
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
	Changed      time.Time
	Secret       [32]byte // SHA-256 of the secret; of a confidential client only
	Name         string
	RedirectURIs []string
}

// CreateClient stores a client unless its id is in use; then it is ErrClientExists
// and returns the one that is there. A client that was removed may come back, with
// another epoch than it had.
func (s *Store) CreateClient(ctx context.Context, c Client) (Client, error) {
	c.State, c.Epoch, c.Created, c.Changed = ClientActive, 0, s.now(), s.now()
	if err := c.check(); err != nil {
		return Client{}, err
	}
	// No more than about so many: two at the same moment may both see the last room.
	all, err := s.Clients(ctx)
	if err != nil {
		return Client{}, err
	}
	it, err := s.engine.Update(ctx, clientKey(c.ID), func(cur *Item) (*Write, error) {
		next := c
		if cur != nil {
			before, err := decodeClient(c.ID, cur.Value)
			switch {
			case err != nil:
				return nil, err
			case before.State != ClientRemoved:
				return nil, existsError{*cur}
			}
			next.Epoch = before.Epoch
		} else if len(all) >= MaxClients {
			return nil, ErrClients
		}
		return &Write{Value: encodeClient(next)}, nil
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
// UpdateFunc; without change nothing is written.
func (s *Store) UpdateClient(ctx context.Context, id string, f func(*Client) (change bool, err error)) (Client, error) {
	it, err := s.engine.Update(ctx, clientKey(id), func(cur *Item) (*Write, error) {
		if cur == nil {
			return nil, ErrNotFound
		}
		before, err := decodeClient(id, cur.Value)
		switch {
		case err != nil:
			return nil, err
		case before.State == ClientRemoved:
			return nil, ErrNotFound
		}
		next := before
		change, err := f(&next)
		if err != nil || !change {
			return nil, err
		}
		next.ID, next.Kind, next.Epoch, next.Created, next.Changed = id, before.Kind, before.Epoch, before.Created, s.now()
		if before.State == ClientActive && next.State != ClientActive || next.Market != before.Market {
			next.Epoch++
		}
		if err := next.check(); err != nil {
			return nil, err
		}
		return &Write{Value: encodeClient(next)}, nil
	})
	if err != nil {
		return Client{}, err
	}
	return decodeClient(id, it.Value)
}

// RemoveClient writes over what a client was; only its id and its epoch stay. One
// that is absent or was removed before is ErrNotFound.
func (s *Store) RemoveClient(ctx context.Context, id string) error {
	_, err := s.UpdateClient(ctx, id, func(c *Client) (bool, error) {
		c.State, c.Secret, c.Name, c.RedirectURIs = ClientRemoved, [32]byte{}, "", nil
		return true, nil
	})
	return err
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
