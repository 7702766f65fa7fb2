// Package backup is the file that a store is backed up into: what is in it, how it
// is written and read, and how a full one and those that build on it make a store
// again.
//
// The file is a stream of records as package store has them, key, value and expiry,
// and knows no engine: what one engine wrote another can load. It says of itself
// whether it is whole, so that a file which was cut off, changed or mixed up is found
// out before anything is made of it. It holds no key and no secret that the store
// does not hold.
//
//	"souk backup\n" | layout 4
//	frames          kind 1 | length 4 | payload | CRC-32C 4 of all of them
//	SHA-256 32      of all that comes before
//
// The first frame is H, the header in JSON; then come R, records, each some hundred
// kilobytes; the last is E with how many records there are, and how many keys that
// are gone. A record is
//
//	what 1 | table 1 | part | sub | expiry 8, if what says so | value, unless it is gone
//
// with a uvarint before part, sub and value that is their length. Numbers are big
// endian. Nothing is compressed, see RATIONALE.md.
package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/souk-market/souk/core/store"
)

const (
	magic  = "souk backup\n"
	layout = 1

	kindHeader  = 'H'
	kindRecords = 'R'
	kindEnd     = 'E'

	frameHead = 5
	frameCRC  = 4
	fullFrame = 256 << 10 // a frame of records ends when it has so much
	maxHeader = 64 << 10
	maxFrame  = fullFrame + 1 + 1 + 3*5 + 8 + store.MaxKey + store.MaxValue
	sumSize   = 32
	endSize   = 16
	tailSize  = frameHead + endSize + frameCRC + sumSize // what each whole file ends with

	recordStays   = 1 // never expires
	recordExpires = 2
	recordGone    = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// ErrNotBackup means that the file is something else.
	ErrNotBackup = errors.New("is no backup of souk")
	// ErrNewer means that a newer program wrote the file, or the store in it.
	ErrNewer = errors.New("was written by a newer version of souk")
	// ErrCut means that the end is missing.
	ErrCut = errors.New("is cut off")
	// ErrDamaged means that the file is not as it was written.
	ErrDamaged = errors.New("is damaged")
	// ErrChain means that files do not follow each other.
	ErrChain = errors.New("does not follow")
	// ErrNoBase means that the store can't tell all that has changed since an earlier
	// backup.
	ErrNoBase = errors.New("no backup can build on that one")
)

// ID names one backup, and the mark in the store that goes with it.
type ID [16]byte

// Sum is the SHA-256 at the end of a file.
type Sum [sumSize]byte

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// MarshalText implements encoding.TextMarshaler.
func (s Sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error { return fromHex(id[:], text) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sum) UnmarshalText(text []byte) error { return fromHex(s[:], text) }

func (id ID) String() string { return hex.EncodeToString(id[:]) }
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

func fromHex(into, text []byte) error {
	if len(text) != 2*len(into) {
		return fmt.Errorf("%d hexadecimal digits are needed", 2*len(into))
	}
	_, err := hex.Decode(into, text)
	return err
}

// Ref names a file that another builds on.
type Ref struct {
	ID  ID  `json:"id"`
	Sum Sum `json:"sha256"`
}

// Header is what a file says of itself.
type Header struct {
	ID    ID        `json:"id"`
	Begun time.Time `json:"begun"` // what was acknowledged before is in it
	// Format is that of the store, see store.Format.
	Format uint32 `json:"format"`
	// Since is the file that this one builds on, nil of a full one, and SinceBegun
	// that file's Begun.
	Since      *Ref       `json:"since,omitempty"`
	SinceBegun *time.Time `json:"since_begun,omitempty"`
	// Base says that a later file can build on this one. It can't when the store
	// took no writes at that moment.
	Base bool `json:"base"`
}

// Source is what is backed up: a store.Engine, or a store.Store.
type Source interface {
	Mark(ctx context.Context, name [16]byte) error
	Dump(ctx context.Context, emit func(store.Item) error) error
	DumpSince(ctx context.Context, name [16]byte, emit func(it store.Item, gone bool) error) error
}
