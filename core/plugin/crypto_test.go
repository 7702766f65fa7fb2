package plugin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/plugin"
	"github.com/souk-market/souk/sdk/abi"
)

// fullSpec is the full guest, which may do everything.
func fullSpec(t testing.TB) plugin.Spec {
	s := spec("full", goGuest(t, fullGuest))
	s.Allow, s.Hosts = everything, []string{"id.example.com"}
	return s
}

// TestHMAC holds hmac_sha256 to the vectors of RFC 4231 §4, as a Go guest sees
// it. The RFC has truncated the fifth.
func TestHMAC(t *testing.T) {
	text := func(s string) string { return fmt.Sprintf("%x", s) }
	h := open(t, plugin.Options{Specs: []plugin.Spec{fullSpec(t)}, KV: (&store{}).open})
	for i, c := range []struct{ key, data, want string }{
		{strings.Repeat("0b", 20), text("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{text("Jefe"), text("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{strings.Repeat("aa", 20), strings.Repeat("dd", 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{"0102030405060708090a0b0c0d0e0f10111213141516171819", strings.Repeat("cd", 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
		{strings.Repeat("0c", 20), text("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"},
		{strings.Repeat("aa", 131), text("Test Using Larger Than Block-Size Key - Hash Key First"), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
		{strings.Repeat("aa", 131), text("This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm."),
			"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	} {
		got := entitle(t, h, 1, abi.Head{Account: "hmac:" + c.key + ":" + c.data})[0].Reason
		if mac, rest, _ := strings.Cut(got, " "); rest != "good" || !strings.HasPrefix(mac, c.want) || len(mac) != 64 {
			t.Errorf("case %d: %s, want %s", i+1, got, c.want)
		}
	}
	for _, c := range []struct{ texts, want string }{{"a:a", "true"}, {"a:b", "false"}, {":", "true"}, {"a:aa", "false"}} {
		if got := entitle(t, h, 1, abi.Head{Account: "equal:" + c.texts})[0].Reason; got != c.want {
			t.Errorf("equal_ct of %s = %s, want %s", c.texts, got, c.want)
		}
	}
}

func TestMetricsAreCountedAndFew(t *testing.T) {
	other := fullSpec(t)
	other.Name = "other"
	h := open(t, plugin.Options{Specs: []plugin.Spec{fullSpec(t), other}, KV: (&store{}).open})
	add := func(name, want string) {
		t.Helper()
		if got := entitle(t, h, 1, abi.Head{Account: "metric:" + name})[0].Reason; got != want {
			t.Errorf("metric_add(%q) = %q, want %q", name, got, want)
		}
	}
	add("denied", "good")
	add("denied", "good")
	for _, name := range []string{"", "Denied", "denied_total{a=\"b\"}", "a b", "1st", "_a", "ä", strings.Repeat("a", abi.MaxMetricName+1)} {
		add(name, "souk: refused by the host")
	}
	add(strings.Repeat("a", abi.MaxMetricName), "good")
	for i := range abi.MaxMetrics - 2 {
		add(fmt.Sprintf("m%d", i), "good")
	}
	add("one_more", "souk: refused by the host")
	add("denied", "good")
	for _, p := range h.Plugins() {
		if len(p.Metrics) != abi.MaxMetrics || p.Metrics["denied"] != 6 {
			t.Errorf("%s has %d counters, denied = %d; want %d and 6", p.Name, len(p.Metrics), p.Metrics["denied"], abi.MaxMetrics)
		}
	}
}
