package plugin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Module is what a Swap puts in the place of another.
type Module struct {
	Wasm      []byte
	Signature []byte // the text of minisign's file; nil = none
	Expect    string // SHA-256, in hex, of the module that has to be asked now; "" = whatever is
}

// Swapped says what a Swap or a Return changed.
type Swapped struct {
	Name       string `json:"name"`
	Before     string `json:"before"` // SHA-256 of the module that was asked
	After      string `json:"after"`  // and of the one that is
	Generation int    `json:"generation"`
	Uploaded   bool   `json:"uploaded"`  // it is not the configuration's file: a restart loads that
	SignedBy   string `json:"signed_by"` // id of the trusted key; "" = nobody asked, or it came with the program
}

func swapped(from, to *generation) Swapped {
	return Swapped{to.name, hex.EncodeToString(from.hash[:]), hex.EncodeToString(to.hash[:]), to.number, to.uploaded, to.voucher.String()}
}

// BadModule is the error of a module that can't be what its plugin runs.
type BadModule struct{ cause error }

// Error returns the cause's sentence.
func (e *BadModule) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *BadModule) Unwrap() error { return e.cause }

// badModule blames the module for an error of its load, unless nobody had the
// time to look at it.
func badModule(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, errClosed) {
		return fmt.Errorf("load the module: %w", errors.Join(ctx.Err(), err))
	}
	if _, ok := errors.AsType[*untold](err); ok { // the module may be as good as any
		return err
	}
	return &BadModule{err}
}

// expected returns the generation of a plugin that is asked now, if it is the
// one that the caller means. The caller has the turn.
func (h *Host) expected(name, sha256 string) (*generation, error) {
	g := h.named(name)
	if g == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoPlugin, name)
	}
	if have := hex.EncodeToString(g.hash[:]); sha256 != "" && strings.ToLower(sha256) != have {
		return nil, fmt.Errorf("%w: its SHA-256 is %s", ErrReplaced, have)
	}
	return g, nil
}

// Module returns the module that a plugin runs now and its SHA-256 in hex. The
// bytes are the host's: they are not to be changed. The error wraps ErrNoPlugin.
func (h *Host) Module(name string) (wasm []byte, sha256 string, err error) {
	g, err := h.expected(name, "")
	if err != nil {
		return nil, "", err
	}
	return g.wasm, hex.EncodeToString(g.hash[:]), nil
}
