package sim

import (
	"strings"
	"testing"
)

const anOffer = `{"appleItemId":"1000002","appleVersionId":"2000022","alternativeDistributionPackage":"https://market.example.com/p","bundleVersion":"7","shortVersionString":"3.2","installVerificationToken":"a.b.c","appShareURL":"https://market.example.com/s"}`

// What the quick reader takes, encoding/json reads the same way.
func TestParse(t *testing.T) {
	failure := `{"appleItemId":"9","appleVersionId":"1","failure":{"code":404,"description":"App unavailable."}}`
	restore := strings.Replace(anOffer, `,"bundleVersion":"7","shortVersionString":"3.2"`, "", 1)
	for _, test := range []struct {
		name, body, list string
		quick            bool
		offers, failures int
		err              string
	}{
		{"nothing", `{"updates":[]}`, listUpdates, true, 0, 0, ""},
		{"one", `{"updates":[` + anOffer + `]}`, listUpdates, true, 1, 0, ""},
		{"two and a failure", `{"updates":[` + anOffer + `,` + anOffer + `],"failures":[` + failure + `,` + failure + `]}`, listUpdates, true, 2, 2, ""},
		{"a restore", `{"restores":[` + restore + `],"failures":[` + failure + `]}`, listRestores, true, 1, 1, ""},
		{"with blanks", `{ "updates": [ ` + anOffer + ` ] }`, listUpdates, false, 1, 0, ""},
		{"an escape", `{"updates":[` + strings.Replace(anOffer, "3.2", `3\u002e2`, 1) + `]}`, listUpdates, false, 1, 0, ""},
		{"a control character", `{"updates":[` + strings.Replace(anOffer, "/s", "/\x00", 1) + `]}`, listUpdates, false, 0, 0, "can't be read"},
		{"no UTF-8", `{"updates":[` + strings.Replace(anOffer, "/s", "/\xff", 1) + `]}`, listUpdates, false, 1, 0, ""},
		{"another list", `{"restores":[]}`, listUpdates, false, 0, 0, "no list updates"},
		{"null", `{"updates":null}`, listUpdates, false, 0, 0, "no list updates"},
		{"no bundle version", `{"updates":[` + restore + `]}`, listUpdates, false, 0, 0, "lacks a key"},
		{"no token", `{"updates":[{"appleItemId":"1","appleVersionId":"2","alternativeDistributionPackage":"x","bundleVersion":"7","shortVersionString":"1"}]}`, listUpdates, false, 0, 0, "lacks a key"},
		{"cut off", `{"updates":[` + anOffer, listUpdates, false, 0, 0, "can't be read"},
		{"something behind it", `{"updates":[]}x`, listUpdates, false, 0, 0, "can't be read"},
		{"another failure", `{"updates":[],"failures":[` + strings.Replace(failure, "404", "500", 1) + `]}`, listUpdates, false, 0, 0, "not the 404"},
		{"no comma", `{"updates":[` + anOffer + anOffer + `]}`, listUpdates, false, 0, 0, "can't be read"},
	} {
		var a answer
		if got := a.scan([]byte(test.body), test.list); got != test.quick {
			t.Errorf("%s: the quick reader takes it: %v, want %v", test.name, got, test.quick)
		}
		for how, read := range map[string]func([]byte, string) error{"parse": a.parse, "decode": a.decode} {
			a = answer{}
			err := read([]byte(test.body), test.list)
			if test.err == "" && (err != nil || len(a.offers) != test.offers || len(a.failures) != test.failures) ||
				test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("%s: %s = %v, %+v, want %d offers, %d failures, %q", test.name, how, err, a, test.offers, test.failures, test.err)
			}
			for _, o := range a.offers {
				numbers := "7 3.2"
				if test.list == listRestores {
					numbers = " "
				}
				if string(o.pack) != "https://market.example.com/p" || string(o.build)+" "+string(o.short) != numbers {
					t.Errorf("%s: %s reads package %s, build %s, version %s", test.name, how, o.pack, o.build, o.short)
				}
				if o.item != 1000002 || o.version != 2000022 || string(o.token) != "a.b.c" {
					t.Errorf("%s: %s reads %+v", test.name, how, o)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"updates":[` + anOffer + `]}`))
	f.Add([]byte(`{"updates":[],"failures":[{"appleItemId":"9","appleVersionId":"1","failure":{"code":404,"description":"x"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var quick, slow answer
		if !quick.scan(body, listUpdates) {
			return
		}
		if err := slow.decode(body, listUpdates); err != nil {
			t.Fatalf("%q: the quick reader takes it, and encoding/json says %v", body, err)
		}
		if quick.text() != slow.text() || len(quick.failures) != len(slow.failures) {
			t.Errorf("%q: %s, and by encoding/json %s", body, quick.text(), slow.text())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := []byte(`{"updates":[` + anOffer + `]}`)
	var a answer
	b.ReportAllocs()
	for b.Loop() {
		if err := a.parse(body, listUpdates); err != nil {
			b.Fatal(err)
		}
	}
}
