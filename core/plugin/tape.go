package plugin

import (
	"slices"

	"github.com/souk-market/souk/sdk/abi"
)

// HostAnswer is one answer of the host to a guest, with what the guest asked:
// of all host functions those whose answers don't follow from the question.
type HostAnswer struct {
	Op    HostOp   `json:"op"`
	Key   []byte   `json:"key"`             // of a metric its name
	Old   []byte   `json:"old,omitempty"`   // of a swap; nil = there must be none
	Value []byte   `json:"value,omitempty"` // that was read, or written
	Delta int64    `json:"delta,omitempty"` // of an add, or to a metric
	TTL   int64    `json:"ttl,omitempty"`   // of a put, in seconds
	Sum   int64    `json:"sum,omitempty"`   // of an add
	Code  abi.Code `json:"code,omitempty"`  // 0 = it was done
}

// HostOp is what a guest asked of the host.
type HostOp string

// What is kept of a guest's calls.
const (
	OpGet    HostOp = "get"
	OpPut    HostOp = "put"
	OpDelete HostOp = "delete"
	OpSwap   HostOp = "swap"
	OpAdd    HostOp = "add"
	OpMetric HostOp = "metric"
)

// What a tape takes of one call, in answers and bytes. Beyond it the call is not
// recorded.
const (
	maxTape      = 1000
	maxTapeBytes = 256 << 10
)

// tape keeps what the host answers in one call.
type tape struct {
	answers []HostAnswer
	size    int
	over    bool // it was too much, or something that a recording must not have
	secrets *secrets
}

func (t *tape) add(a HostAnswer) {
	t.size += len(a.Key) + len(a.Old) + len(a.Value)
	hides := t.secrets != nil && slices.ContainsFunc([][]byte{a.Key, a.Old, a.Value}, func(b []byte) bool { return t.secrets.holds(string(b)) })
	if t.over = t.over || hides || t.size > maxTapeBytes || len(t.answers) == maxTape; !t.over {
		t.answers = append(t.answers, a)
	}
}
