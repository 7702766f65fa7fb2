//go:build wasip1

// Hostile is a guest that does harm if it can, each kind of it when it is told
// to: by an app with the bundle id "com.example.<as>.<hook>.<harm>", where <as>
// is what its configuration says, and by the login hint "<as>.sign_in.<harm>".
// It abstains from everything else. It exports the hooks itself, since the SDK's
// own exports return nothing but whole verdicts.
package main

import (
	"strings"
	"unsafe"

	"github.com/souk-market/souk/sdk/abi"
	souk "github.com/souk-market/souk/sdk/go"
	"github.com/souk-market/souk/sdk/go/value"
)

var prefix string // in front of the hook and the name of a harm

func init() {
	souk.Configure(func(config []byte) error {
		root, err := value.Parse(config)
		if err != nil {
			return err
		}
		return root.Table(func(key string, v value.Value) error {
			as, err := v.Text()
			prefix = as + "."
			return err
		})
	})
}

func main() {}

//go:wasmexport entitle
func entitle(length uint32) uint64 {
	var r abi.EntitleRequest
	if err := r.Read(souk.Message(length)); err != nil {
		return souk.Fail(err)
	}
	for i := range r.Apps {
		if harm, ok := strings.CutPrefix(r.Apps[i].BundleID, "com.example."+prefix+"entitle."); ok {
			return do(harm, len(r.Apps), func(items, code int, text string) uint64 {
				var v abi.EntitleVerdict
				for range items {
					v.Items = append(v.Items, abi.EntitleDecision{Decision: abi.Decision(code), Reason: text})
				}
				return souk.Answer(&v)
			})
		}
	}
	return 0
}

//go:wasmexport select_version
func selectVersion(length uint32) uint64 {
	var r abi.SelectVersionRequest
	if err := r.Read(souk.Message(length)); err != nil {
		return souk.Fail(err)
	}
	for i := range r.Apps {
		if harm, ok := strings.CutPrefix(r.Apps[i].BundleID, "com.example."+prefix+"select-version."); ok {
			return do(harm, len(r.Apps), func(items, code int, text string) uint64 {
				var v abi.SelectVersionVerdict
				for range items {
					v.Items = append(v.Items, abi.VersionChoice{Choice: abi.Choice(code), Reason: text})
				}
				return souk.Answer(&v)
			})
		}
	}
	return 0
}

//go:wasmexport sign_in
func signIn(length uint32) uint64 {
	var r abi.SignInRequest
	if err := r.Read(souk.Message(length)); err != nil {
		return souk.Fail(err)
	}
	harm, ok := strings.CutPrefix(r.LoginHint, prefix+"sign_in.")
	if !ok {
		return 0
	}
	return do(harm, 1, func(items, code int, text string) uint64 {
		var v abi.SignInVerdict
		for range items {
			v.Items = append(v.Items, abi.SignInAnswer{Outcome: abi.SignInOutcome(code), Message: text})
		}
		return souk.Answer(&v)
	})
}

// What the harms below leave behind, so that no compiler finds them useless.
var (
	grown  [][]byte
	source = make([]byte, 1<<20)
	target = make([]byte, 1<<20)
	large  = make([]byte, 1<<20)
	deep   int
	turns  int
)

// do does harm, or answers nonsense through say.
func do(harm string, items int, say func(items, code int, text string) uint64) uint64 {
	switch harm {
	case "spins":
		for {
			turns++
		}
	case "recurses":
		deep = recurse(1)
	case "grows":
		for {
			grown = append(grown, make([]byte, 1<<16))
		}
	case "writes-outside":
		*(*uint64)(unsafe.Pointer(uintptr(0xfff00000))) = 1
	case "copies":
		for {
			copy(target, source)
		}
	case "fills":
		for {
			clear(target)
		}
	case "miscounts":
		return say(items+1, 0, "one too many")
	case "chooses-wrong":
		return say(items, 77, "there are no 77 choices")
	case "points-outside":
		return 0xfff00000<<32 | 64
	case "is-not-text":
		return say(items, 0, "\xff\xfe\xfd")
	case "talks":
		return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(large))))<<32 | uint64(len(large))
	}
	return 0
}

//go:noinline
func recurse(n int) int { return recurse(n+1) + n }
