package server_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/souk-market/souk/core/market"
	"github.com/souk-market/souk/core/server"
)

// limit is how many apps the tests' requests may name.
const limit = 4

// bodies are requests as they come and as they should not; scanned says whether
// the quick reader is meant to know the shape.
var bodies = []struct {
	name, body string
	scanned    bool
}{
	{"as the document has it", `{"apps":[{"appleItemId":"10737747186","appleVersionId":"2000004563"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"in another order", `{"osVersion":"17.4","platform":"iPadOS","apps":[{"appleVersionId":"2","appleItemId":"1"},{"appleItemId":"3","appleVersionId":"4"}]}`, true},
	{"with white space", " {\n\t\"apps\" : [ { \"appleItemId\" : \"1\" , \"appleVersionId\" : \"2\" } ] ,\r\n \"platform\" : \"iOS\" , \"osVersion\" : \"17.4\" } \n", true},
	{"without apps in the list", `{"apps":[],"platform":"iOS","osVersion":"17.4"}`, true},
	{"as many apps as may be", `{"apps":[` + strings.TrimSuffix(strings.Repeat(`{"appleItemId":"1","appleVersionId":"2"},`, limit), ",") + `],"platform":"iOS","osVersion":"17.4"}`, true},
	{"without a version", `{"apps":[{"appleItemId":"1"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"an id that is no number", `{"apps":[{"appleItemId":"x y","appleVersionId":"-1"}],"platform":"","osVersion":""}`, true},
	{"the character 0x7f", "{\"apps\":[{\"appleItemId\":\"\x7f\"}],\"platform\":\"\x7f\",\"osVersion\":\"17.4\"}", true},
	{"an id of 40 characters", `{"apps":[{"appleItemId":"` + strings.Repeat("1", 40) + `"}],"platform":"iOS","osVersion":"17.4"}`, true},

	{"the largest number of 19 digits", `{"apps":[{"appleItemId":"9999999999999999999","appleVersionId":"0"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"the largest number there is", `{"apps":[{"appleItemId":"18446744073709551615","appleVersionId":"18446744073709551616"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"zeros in front", `{"apps":[{"appleItemId":"007","appleVersionId":"00000000000000000000007"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"digits and something else", `{"apps":[{"appleItemId":"12x","appleVersionId":"1 "}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"eight digits, nine and sixteen", `{"apps":[{"appleItemId":"12345678","appleVersionId":"987654321"},{"appleItemId":"1234567890123456","appleVersionId":"7"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"what comes before and after the digits", `{"apps":[{"appleItemId":"1234567:","appleVersionId":"/2345678"},{"appleItemId":"12345;78","appleVersionId":"12345678:"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"a version that is no number", `{"apps":[{"appleItemId":"10737747186","appleVersionId":"x"},{"appleItemId":"10737747187","appleVersionId":"1x"}],"platform":"iOS","osVersion":"17.4"}`, true},
	{"white space behind a key", `{"apps":[{"appleItemId" :"1","appleVersionId": "2"}],"platform" :"iOS","osVersion": "17.4"}`, true},

	{"cut off behind a key", `{"apps":[{"appleItemId":"`, false},
	{"cut off in digits", `{"apps":[{"appleItemId":"1234567890123456789`, false},
	{"cut off behind an app's ids", `{"apps":[{"appleItemId":"10737747186","appleVersionId":"2000004563"`, false},
	{"a byte that is nearly eight digits", "{\"apps\":[{\"appleItemId\":\"1234\xfa678\",\"appleVersionId\":\"1\"}],\"platform\":\"iOS\",\"osVersion\":\"17.4\"}", false},
	{"a version twice", `{"apps":[{"appleItemId":"1","appleVersionId":"2","appleVersionId":"2"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"one app too many", `{"apps":[` + strings.TrimSuffix(strings.Repeat(`{"appleItemId":"1","appleVersionId":"2"},`, limit+1), ",") + `],"platform":"iOS","osVersion":"17.4"}`, false},
	{"an id of 41 characters", `{"apps":[{"appleItemId":"` + strings.Repeat("1", 41) + `"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"ids as numbers", `{"apps":[{"appleItemId":1,"appleVersionId":2}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"an empty version", `{"apps":[{"appleItemId":"1","appleVersionId":""}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"an empty id", `{"apps":[{"appleItemId":"","appleVersionId":"2"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"an escape", `{"apps":[{"appleItemId":"\u0031"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"an escaped key", `{"\u0061pps":[],"platform":"iOS","osVersion":"17.4"}`, false},
	{"a key in other letters", `{"Apps":[],"PLATFORM":"iOS","osversion":"17.4"}`, false},
	{"a key twice", `{"apps":[],"platform":"iOS","platform":"tvOS","osVersion":"17.4"}`, false},
	{"apps twice", `{"apps":[{"appleItemId":"1"}],"apps":[{"appleItemId":"2"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"an id twice", `{"apps":[{"appleItemId":"1","appleItemId":"2"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"a key that nobody knows", `{"apps":[],"platform":"iOS","osVersion":"17.4","more":{"a":[1]}}`, false},
	{"a key that nobody knows in an app", `{"apps":[{"appleItemId":"1","x":"y"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"letters that are not ASCII", `{"apps":[{"appleItemId":"é"}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"bytes that are not UTF-8", "{\"apps\":[{\"appleItemId\":\"\xff\"}],\"platform\":\"iOS\",\"osVersion\":\"17.4\"}", false},
	{"a control character", "{\"apps\":[{\"appleItemId\":\"\t\"}],\"platform\":\"iOS\",\"osVersion\":\"17.4\"}", false},
	{"null", `null`, false},
	{"null apps", `{"apps":null,"platform":"iOS","osVersion":"17.4"}`, false},
	{"a null app", `{"apps":[null],"platform":"iOS","osVersion":"17.4"}`, false},
	{"a null id", `{"apps":[{"appleItemId":null}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"a null platform", `{"apps":[],"platform":null,"osVersion":"17.4"}`, false},
	{"an empty app", `{"apps":[{}],"platform":"iOS","osVersion":"17.4"}`, false},
	{"no platform", `{"apps":[],"osVersion":"17.4"}`, false},
	{"no osVersion", `{"apps":[],"platform":"iOS"}`, false},
	{"no apps", `{"platform":"iOS","osVersion":"17.4"}`, false},
	{"an empty object", `{}`, false},
	{"nothing", ``, false},
	{"a comma at the end", `{"apps":[],"platform":"iOS","osVersion":"17.4",}`, false},
	{"a comma at the end of the list", `{"apps":[{"appleItemId":"1"},],"platform":"iOS","osVersion":"17.4"}`, false},
	{"a comma in front", `{,"apps":[],"platform":"iOS","osVersion":"17.4"}`, false},
	{"no comma", `{"apps":[]"platform":"iOS","osVersion":"17.4"}`, false},
	{"something behind", `{"apps":[],"platform":"iOS","osVersion":"17.4"}x`, false},
	{"NUL behind", "{\"apps\":[],\"platform\":\"iOS\",\"osVersion\":\"17.4\"}\x00", false},
	{"cut off", `{"apps":[{"appleItemId":"1`, false},
	{"deep", strings.Repeat("[", 20_000), false},
}

// agree checks that the quick reader is never of another opinion than
// encoding/json: where it answers, both answer the same.
func agree(t *testing.T, body string) (scanned bool) {
	t.Helper()
	var quick, slow market.Request
	platform, os, ok := server.ScanApps([]byte(body), limit, &quick)
	if !ok {
		return false
	}
	wantPlatform, wantOS, err := server.DecodeApps([]byte(body), limit, &slow)
	if err != nil {
		t.Errorf("the scanner takes %q, encoding/json refuses it: %v", body, err)
		return true
	}
	if platform != wantPlatform || os != wantOS || !slices.Equal(quick.Apps, slow.Apps) {
		t.Errorf("of %q the scanner reads %q %q %v, encoding/json %q %q %v", body, platform, os, quick.Apps, wantPlatform, wantOS, slow.Apps)
	}
	return true
}

func TestScannerAgreesWithJSON(t *testing.T) {
	for _, test := range bodies {
		if got := agree(t, test.body); got != test.scanned {
			t.Errorf("%s: the scanner takes it = %v, want %v", test.name, got, test.scanned)
		}
	}
}

// What an earlier request has left in the space must not be seen by a later one.
func TestSpaceIsUsedAgain(t *testing.T) {
	var q market.Request
	for _, test := range []struct {
		body string
		want int // apps; -1 = refused
	}{
		{bodies[1].body, 2}, {bodies[3].body, 0}, {bodies[4].body, limit}, {`{"apps":[{"appleItemId":"1"},{"appleItemId":""}],"platform":"iOS","osVersion":"17.4"}`, -1},
		{`{"apps":[{"appleItemId":9}],"platform":"iOS","osVersion":"17.4"}`, 1}, {bodies[0].body, 1}, {`{"apps":[],"platform":"iOS","osVersion":"x"}`, -1},
	} {
		err := server.ParseApps([]byte(test.body), limit, &q)
		if (err != nil) != (test.want < 0) || err == nil && len(q.Apps) != test.want {
			t.Errorf("%s: parseApps = %d apps, %v, want %d", test.body, len(q.Apps), err, test.want)
		}
	}
}

func FuzzParseApps(f *testing.F) {
	for _, test := range bodies {
		f.Add(test.body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		agree(t, body)
		var q market.Request
		if server.ParseApps([]byte(body), limit, &q) != nil {
			return
		}
		if len(q.Apps) > limit {
			t.Errorf("%q gave %d apps, at most %d may be named", body, len(q.Apps), limit)
		}
		// Whatever a device writes as an id comes back to it as JSON.
		var back struct {
			Failures []struct {
				Item    string `json:"appleItemId"`
				Version string `json:"appleVersionId"`
			} `json:"failures"`
		}
		answer := server.AppendFailures(q.Apps)
		if err := json.Unmarshal(answer, &back); err != nil || len(back.Failures) != len(q.Apps) {
			t.Fatalf("the answer to %q is %q: %v", body, answer, err)
		}
		for i, a := range q.Apps {
			if back.Failures[i].Item != a.ItemText || back.Failures[i].Version != a.VersionText {
				t.Errorf("the app %q %q comes back as %q", a.ItemText, a.VersionText, back.Failures[i])
			}
		}
	})
}
