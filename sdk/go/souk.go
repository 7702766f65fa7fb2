// Package souk is the Go SDK for plugins. A plugin is a main package with the
// build constraint wasip1 that registers an answer for each question it wants
// to be asked:
//
//	//go:build wasip1
//
//	package main
//
//	import (
//		souk "github.com/souk-market/souk/sdk/go"
//		"github.com/souk-market/souk/sdk/go/selectversion"
//	)
//
//	func init() {
//		souk.Configure(func(json []byte) error { return souk.Decode(json, &config) })
//		selectversion.Each(choose)
//	}
//
//	func main() {}
//
// Importing a hook's package exports the hook; calling a host function imports
// it, and the operator has to allow its group. The records are those of package
// sdk/abi. Keep the policy itself in a plain package beside the main one: there
// it is tested like any Go code, with host functions that work in memory.
package souk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/souk-market/souk/sdk/abi"
)

// Errors of the host functions.
var (
	ErrNotFound = errors.New("souk: not found")
	ErrRefused  = errors.New("souk: refused by the host")
	ErrConflict = errors.New("souk: the value is another")
	ErrFailed   = errors.New("souk: the host could not do it")
)

// seconds counts a time to live as the host takes it. Rounding down would turn
// less than a second into for ever.
func seconds(ttl time.Duration) (uint32, error) {
	n := ttl / time.Second
	if ttl%time.Second > 0 {
		n++
	}
	if ttl < 0 || n > math.MaxUint32 {
		return 0, ErrRefused
	}
	return uint32(n), nil
}

// Decode reads the plugin's configuration into a struct and refuses what the
// struct has no field for, so that a misspelt key doesn't go unnoticed. It
// brings encoding/json into the module, about a megabyte; package value reads
// the same text for less.
func Decode(config []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(config))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("config: more than one JSON value")
	}
	return nil
}

// RolledOut says whether a version is open to who has the key: a share of it is,
// always the same people, nobody at 0 and all of them at abi.Buckets. One who has no
// key (nobody is signed in) gets only what is open to all.
func RolledOut(key string, c *abi.Candidate) bool {
	return c.Rollout >= abi.Buckets || c.Rollout > 0 && key != "" && Bucket(key, c.Salt) < c.Rollout
}

// OpenTo is RolledOut for a view: it says whether a version is open to who asks.
func OpenTo(q *abi.SelectVersionView, c abi.CandidateView) bool {
	return c.Rollout() > 0 && openTo(q, c)
}

// openTo stands apart so that a version that is open to nobody is told without a call.
func openTo(q *abi.SelectVersionView, c abi.CandidateView) bool {
	if c.Rollout() >= abi.Buckets {
		return true
	}
	key := q.BucketKey()
	return key != "" && Bucket(key, c.Salt()) < c.Rollout()
}
