package plugin

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/souk-market/souk/sdk/abi"
)

var (
	// ErrFailed is the cause of the error of a question that a plugin could not
	// answer: the person has to try again later.
	ErrFailed = errors.New("plugin: failed")
	// ErrAbstained says that no plugin wanted to answer.
	ErrAbstained = errors.New("plugin: all abstained")
)

// Kind is what went wrong in a question.
type Kind uint8

// The kinds of failures.
const (
	KindTrap        Kind = iota // the guest trapped, panicked or ended itself
	KindFuel                    // its fuel was used up
	KindDeadline                // its deadline, or the request's own, was over
	KindMemory                  // the guest had no space for the question, or it was too large to be asked
	KindNonsense                // the verdict breaks the contract
	KindErrorCode               // the guest's own error code
	KindBusy                    // no instance became free in time
	KindUnavailable             // no instance could be started
	KindOpen                    // its breaker was open: it was not asked
	kinds
)

var kindNames = [kinds]string{"trap", "fuel", "deadline", "memory", "nonsense", "error code", "busy", "unavailable", "breaker open"}

// String returns the kind's name in log and metrics.
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return "unknown"
}

// KindNames are the names of all kinds.
func KindNames() []string { return append([]string{}, kindNames[:]...) }

// Failure is an error that wraps ErrFailed and says whose it was.
type Failure struct {
	Plugin string
	Hook   abi.Hook
	Kind   Kind
	Reason string
}

// Error returns all of the failure in one line.
func (f *Failure) Error() string {
	return fmt.Sprintf("plugin %s: %s: %s: %s", f.Plugin, f.Hook, f.Kind, f.Reason)
}

// Unwrap returns ErrFailed.
func (f *Failure) Unwrap() error { return ErrFailed }

// fault is a failure that its plugin and hook are not yet known of.
type fault struct {
	kind      Kind
	reason    string
	blameless bool // it says nothing about the plugin
}

func faultf(kind Kind, format string, args ...any) *fault {
	return &fault{kind: kind, reason: fmt.Sprintf(format, args...)}
}

func (f *fault) excused() *fault {
	f.blameless = true
	return f
}

const hookCount = len(abi.Hooks) + 1 // hooks are numbered from 1

// failures counts by hook and kind.
type failures [hookCount][kinds]atomic.Uint64
