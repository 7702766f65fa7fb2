//go:build !wasip1

package abi_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/souk-market/souk/sdk/abi"
)

// TestVerdictTextIsUTF8 has each byte of texts of all lengths that are looked at in another
// way be none of UTF-8.
func TestVerdictTextIsUTF8(t *testing.T) {
	for n := range 40 {
		text := strings.Repeat("a", n)
		v := abi.SelectVersionVerdict{Items: []abi.VersionChoice{{Reason: text}}}
		b := v.Append(nil)
		if err := v.Read(b); err != nil || v.Items[0].Reason != text {
			t.Errorf("Read of %q = %q, %v", text, v.Items[0].Reason, err)
		}
		for i := range n {
			bad := bytes.Clone(b)
			bad[len(b)-n+i] = 0x80
			if err := v.Read(bad); !errors.Is(err, abi.ErrRecord) {
				t.Errorf("Read of %q = %v, want ErrRecord", bad[len(b)-n:], err)
			}
		}
	}
}
